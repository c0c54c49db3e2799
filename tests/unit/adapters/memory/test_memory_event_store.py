"""What the memory event store does beyond the contract of its ports, or can show more exactly than that contract."""

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

import anyio
import anyio.lowlevel
import pytest

from inventory_es.adapters.memory import MemoryEventLog, MemoryEventStore, open_memory
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import EventFeed, EventStore, GroupCommit, NewEvent, StreamCatalogue, StreamWrite
from inventory_es.ports.errors import AppendTooLargeError, ConcurrencyError, EventIdCollisionError, StoreClosedError

STREAM = StreamId("inventory", "85123A", "berlin")
OTHER = StreamId("inventory", "85123A", "paris")
T0 = datetime(2026, 1, 5, 9, tzinfo=UTC)


def event(number: int, *, data: bytes = b"{}") -> NewEvent:
    return NewEvent(UUID(int=number), "TestedEvent", 1, T0, data)


def write(expected: int, *numbers: int, stream: StreamId = STREAM) -> list[StreamWrite]:
    return [StreamWrite(stream, expected, [event(number) for number in numbers])]


def test_it_is_all_four_ports() -> None:
    store = MemoryEventStore()

    for port in (EventStore, EventFeed, GroupCommit, StreamCatalogue):
        assert isinstance(store, port)
    assert store.capabilities.unique_event_ids
    assert store.capabilities.durability == "none"


def test_positions_run_over_all_streams_and_versions_in_each(backend: str) -> None:
    async def scenario() -> None:
        store = MemoryEventStore()
        both = await store.append([*write(0, 1, 2), *write(0, 3, stream=OTHER)])
        last = await store.append(write(2, 4))

        assert (both.position, both.versions, both.replayed) == (3, {STREAM: 2, OTHER: 1}, False)
        assert (last.position, last.versions) == (4, {STREAM: 3})
        feed = await store.read_all(after=0, limit=10)
        assert [(each.position, each.stream, each.version) for each in feed.events] == [
            (1, STREAM, 1),
            (2, STREAM, 2),
            (3, OTHER, 1),
            (4, STREAM, 3),
        ]

    anyio.run(scenario, backend=backend)


def test_a_list_that_its_owner_changes_later_is_not_the_stored_one(backend: str) -> None:
    async def scenario() -> None:
        store = MemoryEventStore()
        events = [event(1)]
        result = await store.append([StreamWrite(STREAM, 0, events)])
        events.append(event(2))
        page = await store.read_stream(STREAM, limit=10)
        assert isinstance(page.events, list)
        page.events.clear()

        assert result.versions == {STREAM: 1}
        assert [each.event_id for each in (await store.read_stream(STREAM, limit=10)).events] == [UUID(int=1)]
        assert len((await store.read_all(after=0, limit=10)).events) == 1

    anyio.run(scenario, backend=backend)


def test_the_same_append_again_is_answered_as_the_first_time_was(backend: str) -> None:
    async def scenario() -> None:
        store = MemoryEventStore()
        first = await store.append([*write(0, 1, 2), *write(0, 3, stream=OTHER)])
        await store.append(write(2, 4))
        again = await store.append([*write(0, 1, 2), *write(0, 3, stream=OTHER)])

        assert (again.position, again.versions, again.replayed) == (first.position, first.versions, True)
        assert await store.head() == 4

    anyio.run(scenario, backend=backend)


@pytest.mark.parametrize("numbers", [(1, 9), (2, 1), (1, 3)], ids=["partly stored", "reordered", "with a gap"])
def test_ids_stored_otherwise_collide_and_leave_no_trace(backend: str, numbers: Sequence[int]) -> None:
    async def scenario() -> None:
        store = MemoryEventStore()
        await store.append(write(0, 1, 2, 3))
        with pytest.raises(EventIdCollisionError):
            await store.append(write(3, *numbers))

        assert await store.head() == 3

    anyio.run(scenario, backend=backend)


def test_an_append_in_which_one_stream_conflicts_writes_to_none(backend: str) -> None:
    async def scenario() -> None:
        store = MemoryEventStore()
        await store.append(write(0, 1))
        with pytest.raises(ConcurrencyError) as caught:
            await store.append([*write(0, 2, stream=OTHER), *write(0, 3)])

        assert (caught.value.stream, caught.value.expected, caught.value.actual) == (STREAM, 0, 1)
        assert (await store.read_stream(OTHER, limit=1)).version == 0
        assert (await store.streams(limit=10)).heads[0].stream == STREAM
        assert await store.head() == 1

    anyio.run(scenario, backend=backend)


def test_limits_are_as_given(backend: str) -> None:
    async def scenario() -> None:
        store = MemoryEventStore(max_event_bytes=10, max_append_events=2, max_append_bytes=16)
        with pytest.raises(AppendTooLargeError, match="event bytes 14"):
            await store.append([StreamWrite(STREAM, 0, [event(1, data=b'{"a":"1234"}')])])
        with pytest.raises(AppendTooLargeError, match="events 3"):
            await store.append(write(0, 1, 2, 3))
        with pytest.raises(AppendTooLargeError, match=r"\bbytes 18"):
            await store.append([StreamWrite(STREAM, 0, [event(1, data=b'{"a":1}'), event(2, data=b'{"a":2}')])])

        assert await store.head() == 0

    anyio.run(scenario, backend=backend)


def test_each_group_has_its_own_outcome(backend: str) -> None:
    async def scenario() -> None:
        store = MemoryEventStore()
        outcomes = await store.append_group([write(0, 1), write(0, 2), [], write(1, 3), write(0, 1)])

        assert [type(outcome).__name__ for outcome in outcomes] == [
            "AppendResult",
            "ConcurrencyError",
            "ValueError",
            "AppendResult",
            "AppendResult",
        ]
        assert [each.event_id.int for each in (await store.read_stream(STREAM, limit=9)).events] == [1, 3]

    anyio.run(scenario, backend=backend)


def test_pages_are_never_longer_than_the_page_size(backend: str) -> None:
    async def scenario() -> None:
        store = MemoryEventStore(page_size=2)
        await store.append(write(0, 1, 2, 3))
        await store.append(write(0, 4, stream=OTHER))
        await store.append(write(0, 5, stream=StreamId("inventory", "x")))

        first = await store.read_stream(STREAM, limit=9)
        rest = await store.read_stream(STREAM, after=2, limit=9)
        assert ([each.version for each in first.events], first.is_end) == ([1, 2], False)
        assert ([each.version for each in rest.events], rest.is_end, rest.version) == ([3], True, 3)
        back = await store.read_stream_backwards(STREAM, limit=9)
        front = await store.read_stream_backwards(STREAM, before=2, limit=9)
        assert ([each.version for each in back.events], back.is_end) == ([3, 2], False)
        assert ([each.version for each in front.events], front.is_end) == ([1], True)
        feed = await store.read_all(after=1, limit=9)
        assert ([each.position for each in feed.events], feed.next_after, feed.is_end) == ([2, 3], 3, False)
        assert not (await store.streams(limit=9)).is_end

    anyio.run(scenario, backend=backend)


def test_the_catalogue_is_ordered_by_text_and_starts_where_asked(backend: str) -> None:
    async def scenario() -> None:
        store = MemoryEventStore()
        names = [StreamId("inventory", part) for part in ("b", "a", "ab", "é", "c")] + [StreamId("zone", "a")]
        for number, stream in enumerate(names):
            await store.append(write(0, number, stream=stream))
        everything = await store.streams(limit=10)
        some = await store.streams("inventory-a", limit=10)
        first = await store.streams("inventory-", limit=2)
        after = await store.streams("inventory-", after=first.heads[-1].stream, limit=9)

        assert [str(head.stream) for head in everything.heads] == sorted(str(each) for each in names)
        assert [str(head.stream) for head in some.heads] == ["inventory-a", "inventory-ab"]
        assert (len(first.heads), first.is_end, after.is_end) == (2, False, True)
        assert [str(head.stream) for head in after.heads] == ["inventory-b", "inventory-c", "inventory-é"]
        assert all(head.version == 1 for head in everything.heads)

    anyio.run(scenario, backend=backend)


def test_two_stores_over_one_log_see_and_refuse_each_other(backend: str) -> None:
    async def scenario() -> None:
        log = MemoryEventLog()
        async with MemoryEventStore(log) as one, MemoryEventStore(log) as two:
            await one.append(write(0, 1))
            with pytest.raises(ConcurrencyError):
                await two.append(write(0, 2))
            await two.append(write(1, 2))
        async with MemoryEventStore(log) as later:
            assert await later.head() == 2

    anyio.run(scenario, backend=backend)


def test_a_cancelled_append_was_never_begun(backend: str) -> None:
    async def scenario() -> None:
        store = MemoryEventStore()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await store.append(write(0, 1))
        with anyio.CancelScope() as group_scope:
            group_scope.cancel()
            await store.append_group([write(0, 1)])

        assert scope.cancelled_caught
        assert group_scope.cancelled_caught
        assert await store.head() == 0
        await store.aclose()

    anyio.run(scenario, backend=backend)


def test_waiting_ends_when_the_position_is_there_and_not_before(backend: str) -> None:
    async def scenario() -> None:
        store = MemoryEventStore()
        answers: list[bool] = []

        async def wait() -> None:
            answers.append(await store.wait_for_position(2, timeout=60))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            await store.append(write(0, 1))
            await anyio.wait_all_tasks_blocked()
            assert answers == []
            await store.append(write(1, 2))
        assert answers == [True]
        assert await store.wait_for_position(2, timeout=0)
        assert not await store.wait_for_position(3, timeout=0)
        for timeout in (-1.0, float("nan")):
            with pytest.raises(ValueError, match="timeout"):
                await store.wait_for_position(1, timeout=timeout)

    anyio.run(scenario, backend=backend)


def test_a_waiter_that_gave_up_leaves_nothing_behind(backend: str) -> None:
    async def scenario() -> None:
        log = MemoryEventLog()
        store = MemoryEventStore(log)
        assert not await store.wait_for_position(1, timeout=0)

        assert not log._waiters
        assert not store._waiters

    anyio.run(scenario, backend=backend)


def test_closing_wakes_its_own_waiters_and_nobody_elses(backend: str) -> None:
    async def scenario() -> None:
        log = MemoryEventLog()
        closing, staying = MemoryEventStore(log), MemoryEventStore(log)
        seen: list[str] = []

        async def wait(store: MemoryEventStore, name: str) -> None:
            try:
                await store.wait_for_position(1, timeout=60)
            except StoreClosedError:
                seen.append(f"{name} closed")
            else:
                seen.append(f"{name} arrived")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait, closing, "closing")
            tasks.start_soon(wait, staying, "staying")
            await anyio.wait_all_tasks_blocked()
            await closing.aclose()
            await anyio.wait_all_tasks_blocked()
            assert seen == ["closing closed"]
            await staying.append(write(0, 1))
        assert seen == ["closing closed", "staying arrived"]

    anyio.run(scenario, backend=backend)


def test_no_append_lands_after_closing_has_returned(backend: str) -> None:
    async def scenario() -> None:
        log = MemoryEventLog()
        store = MemoryEventStore(log)
        outcomes: list[str] = []

        async def append(number: int) -> None:
            try:
                await store.append(write(0, number, stream=StreamId("inventory", str(number))))
            except StoreClosedError:
                outcomes.append("refused")
            else:
                outcomes.append("stored")

        async with anyio.create_task_group() as tasks:
            for number in range(8):
                tasks.start_soon(append, number)
            while not (store._appends_in_flight or outcomes):
                await anyio.lowlevel.checkpoint()
            await store.aclose()
            at_closing = log.head
        assert log.head == at_closing == outcomes.count("stored") >= 1
        assert len(outcomes) == 8

    anyio.run(scenario, backend=backend)


def test_every_call_after_closing_is_refused(backend: str) -> None:
    async def scenario() -> None:
        store = MemoryEventStore()
        await store.aclose()
        await store.aclose()
        calls = [
            store.append(write(0, 1)),
            store.append_group([write(0, 1)]),
            store.read_stream(STREAM, limit=1),
            store.read_stream_backwards(STREAM, limit=1),
            store.find_events(STREAM, []),
            store.read_all(after=0, limit=1),
            store.head(),
            store.wait_for_position(1, timeout=0),
            store.streams(limit=1),
        ]
        for call in calls:
            with pytest.raises(StoreClosedError, match="open it again"):
                await call

    anyio.run(scenario, backend=backend)


def test_a_memory_url_names_no_place(backend: str) -> None:
    async def scenario() -> None:
        assert await (await open_memory("")).head() == 0
        with pytest.raises(ValueError, match="'memory:'"):
            await open_memory("stock")

    anyio.run(scenario, backend=backend)
