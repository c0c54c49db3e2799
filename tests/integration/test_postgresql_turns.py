"""What callers of one PostgreSQL store share: turns over streams, and the statements that read them."""

import threading
import time
from collections.abc import Collection, Iterator, Sequence
from typing import LiteralString

import anyio
import pytest
from anyio.lowlevel import checkpoint

from inventory_es.adapters.postgresql import open_postgresql_event_store
from inventory_es.adapters.postgresql.connections import PageAsked
from inventory_es.adapters.postgresql.event_store import PostgresqlStore
from inventory_es.domain.stream_id import StreamId
from inventory_es.errors import CorruptStoreError
from inventory_es.ports import AppendResult, StreamPage
from tests.integration.test_postgresql_store import answer, execute, opened, write
from tests.servers.postgresql import Server, server


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    with server({"fsync": "on"}) as one:
        yield one


def test_a_turn_ends_with_an_append_to_each_of_its_streams(running: Server) -> None:
    with opened(running, "turn_ends") as one, opened(running, "turn_ends") as other:
        one.take_turn([StreamId("test", "x"), StreamId("test", "y")])
        found: list[bool] = []
        for name in "yx":
            answer(one, *write(name, 0, f"turn-{name}"))
            found.append(one.has_turn)
        assert found == [True, False]
        other.take_turn([StreamId("test", "x")])
        assert other.has_turn


def test_a_turn_that_is_not_left_ends_after_a_second_and_its_owner_goes_on(running: Server) -> None:
    with opened(running, "turn_stays") as one, opened(running, "turn_stays") as other:
        one.take_turn([StreamId("test", "x")])
        other.take_turn([StreamId("test", "x")])
        answer(other, *write("x", 0, "stays-other"))
        assert isinstance(answer(one, *write("x", 1, "stays-one")), AppendResult)
        one.take_turn([StreamId("test", "x")])
        assert one.has_turn


def test_a_turn_leaves_no_setting_and_no_lock_behind(running: Server) -> None:
    with opened(running, "turn_clean") as store:
        store.take_turn([StreamId("test", "x")])
        locks: LiteralString = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = 'turn_clean.streams'::regclass"
        assert execute(running, locks) == [(1,)]
        store.give_turn_back()
        assert execute(running, locks) == [(0,)]
        with store._turns.lend(time.monotonic() + 5) as link:
            assert link.execute("SELECT current_setting('lock_timeout')").fetchall() == [("0",)]


def test_tasks_that_wait_for_different_streams_share_a_turn(running: Server, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[set[StreamId]] = []
    take = PostgresqlStore.take_turn

    def noted(store: PostgresqlStore, streams: Collection[StreamId]) -> None:
        taken.append(set(streams))
        take(store, streams)

    async def case() -> None:
        async with open_postgresql_event_store(f"{running.url}?schema=turn_shared") as store:
            inside: list[str] = []

            async def wait_for(name: str) -> None:
                async with store.turn(StreamId("test", name)):
                    inside.append(name)

            async with anyio.create_task_group() as tasks, store.turn(StreamId("test", "first")):
                for name in "abcab":
                    tasks.start_soon(wait_for, name)
                await anyio.wait_all_tasks_blocked()
                assert inside == []
            assert sorted(inside) == ["a", "a", "b", "b", "c"]
            with pytest.raises(ValueError, match="name at least one"):
                store.turn()

    monkeypatch.setattr(PostgresqlStore, "take_turn", noted)
    anyio.run(case, backend=backend)
    assert [sorted(stream.text[5:] for stream in streams) for streams in taken] == [["first"], ["a", "b", "c"], ["a", "b"]]


def test_a_caller_that_is_cancelled_while_it_waits_for_a_turn_leaves_the_others_theirs(running: Server, backend: str) -> None:
    async def case() -> None:
        async with open_postgresql_event_store(f"{running.url}?schema=turn_left") as store:
            inside: list[str] = []

            async def wait_for(name: str, scope: anyio.CancelScope) -> None:
                with scope:
                    async with store.turn(StreamId("test", name)):
                        inside.append(name)

            scopes = [anyio.CancelScope() for _ in "abc"]
            async with anyio.create_task_group() as tasks, store.turn(StreamId("test", "first")):
                for name, scope in zip("abc", scopes, strict=True):
                    tasks.start_soon(wait_for, name, scope)
                await anyio.wait_all_tasks_blocked()
                scopes[0].cancel()
                await anyio.wait_all_tasks_blocked()
            assert sorted(inside) == ["b", "c"]

    anyio.run(case, backend=backend)


def test_an_append_is_told_of_others_turns_over_its_streams_and_waits_for_none(running: Server) -> None:
    with opened(running, "turn_told") as one, opened(running, "turn_told") as other:
        other.take_turn([StreamId("test", "x")])
        told = one.commit([write("x", 0, "told-x"), write("y", 0, "told-y")])
        assert [outcome.is_contested for outcome in told if isinstance(outcome, AppendResult)] == [True, False]
        other.give_turn_back()
        one.take_turn([StreamId("test", "x")])
        own, after = (answer(one, *write("x", version, f"told-{version}")) for version in (1, 2))
        assert isinstance(own, AppendResult)
        assert isinstance(after, AppendResult)
        assert (own.is_contested, after.is_contested) == (False, False)


def test_reads_that_wait_for_a_connection_share_a_statement(running: Server, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    read = PostgresqlStore.read_streams
    begin = threading.Event()

    def noted(store: PostgresqlStore, streams: Sequence[PageAsked]) -> Sequence[StreamPage | Exception]:
        asked.append(len(streams))
        if len(asked) <= 2:  # both connections are busy until everybody waits
            assert begin.wait(30)
        return read(store, streams)

    async def case() -> None:
        async with open_postgresql_event_store(f"{running.url}?schema=shared_reads_{backend}") as store:
            await store.append(write("x", 0, *"abc"))
            await store.append(write("y", 0, *"de"))
            found: dict[int, StreamPage | Exception] = {}

            async def ask(number: int, name: str, after: int, limit: int) -> None:
                try:
                    found[number] = await store.read_stream(StreamId("test", name), after=after, limit=limit)
                except CorruptStoreError as problem:
                    found[number] = problem

            asks = [("x", 0, 9), ("y", 0, 9), ("x", 1, 1), ("y", 2, 9), ("none", 0, 9), ("x", 0, 2), ("broken", 0, 9), ("x", 2, 9)]
            execute(running, f"INSERT INTO shared_reads_{backend}.streams VALUES (0, 9, 'test-broken', sha256('test-broken'))")
            async with anyio.create_task_group() as tasks:
                for number, one in enumerate(asks):
                    tasks.start_soon(ask, number, *one)
                    await anyio.wait_all_tasks_blocked()
                    with anyio.fail_after(30):
                        while len(asked) < min(2, number + 1):
                            await checkpoint()
                begin.set()
        assert asked == [1, 1, 6]
        pages = [found[number] for number in range(len(asks))]
        shown = [([event.version for event in page.events], page.version, page.is_end) for page in pages if isinstance(page, StreamPage)]
        whole, part = ([1, 2, 3], 3, True), ([1, 2], 2, True)
        assert shown == [whole, part, ([2], 3, False), ([], 2, True), ([], 0, True), ([1, 2], 3, False), ([3], 3, True)]
        assert "stream test-broken has no events" in str(pages[6])

    monkeypatch.setattr(PostgresqlStore, "read_streams", noted)
    anyio.run(case, backend=backend)


def test_a_reader_that_is_cancelled_leaves_the_others_their_pages(running: Server, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    begin = threading.Event()
    read = PostgresqlStore.read_streams

    def held(store: PostgresqlStore, streams: Sequence[PageAsked]) -> Sequence[StreamPage | Exception]:
        assert begin.wait(30)
        return read(store, streams)

    async def case() -> None:
        async with open_postgresql_event_store(f"{running.url}?schema=left_reads_{backend}") as store:
            await store.append(write("x", 0, "a"))
            versions: list[int] = []

            async def ask(scope: anyio.CancelScope) -> None:
                with scope:
                    versions.append((await store.read_stream(StreamId("test", "x"), limit=1)).version)

            scopes = [anyio.CancelScope() for _ in range(6)]
            async with anyio.create_task_group() as tasks:
                for scope in scopes:
                    tasks.start_soon(ask, scope)
                    await anyio.wait_all_tasks_blocked()
                scopes[2].cancel()  # it waits to read for those behind it
                await anyio.wait_all_tasks_blocked()
                begin.set()
            assert versions == [1] * 5

    monkeypatch.setattr(PostgresqlStore, "read_streams", held)
    anyio.run(case, backend=backend)
