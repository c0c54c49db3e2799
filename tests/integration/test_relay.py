"""The relay: whatever is cancelled or away, every event is published, in order, and none is skipped."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from inventory_es import open_inventory
from inventory_es.adapters.memory import MemoryEventBus, MemoryEventStore, MemoryReadModel
from inventory_es.application.following.relay import Relay, rewind_relay
from inventory_es.application.following.subscription import EventFilter, Pace
from inventory_es.ports import EventFeed, ProjectionId, RecordedEvent
from inventory_es.ports.errors import AppendTooLargeError, EventBusUnavailableError, FeedRewoundError
from inventory_es.testing import ManualClock
from inventory_es.testing.contracts.core.schedule import PLAIN, Schedule
from tests.integration.read_side import LEASE, trade, whole_feed
from tests.integration.test_projections import kind, stores

__all__ = ["kind"]


class Notes(MemoryEventBus):
    """Writes down what it took; away for the first ``away`` calls."""

    def __init__(self, clock: ManualClock, *, away: int = 0) -> None:
        super().__init__(clock=clock)
        self.taken: list[RecordedEvent] = []
        self.away = away

    async def publish(self, events: Sequence[RecordedEvent], /) -> None:
        await anyio.lowlevel.checkpoint()
        self.away -= 1
        if self.away >= 0:
            raise EventBusUnavailableError(bus="notes", reason="away")
        self.taken += events
        await anyio.lowlevel.checkpoint()


def relay(feed: Any, bus: Any, model: Any, clock: ManualClock, **settings: Any) -> Relay:
    given: dict[str, Any] = {"owner": "one", "pace": Pace(batch_size=4, longest_wait=0.05, first_pause=0.01), "lease": LEASE}
    return Relay("to_bus", feed=feed, bus=bus, read_model=model, clock=clock, **(given | settings))


async def until_at(relayed: Relay, position: int) -> None:
    with anyio.fail_after(10):
        while (await relayed.checkpoint()).position < position:
            await anyio.lowlevel.checkpoint()
    relayed.stop()


def test_everything_is_published_once_in_order_also_to_a_bus_that_was_away(backend: str, kind: str, tmp_path: Path) -> None:
    async def body() -> None:
        clock = ManualClock()
        async with stores(kind, tmp_path) as (store, model):
            await trade(store, clock, steps=20)
            bus = Notes(clock, away=2)
            first = relay(store, bus, model, clock)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(first.run)
                await trade(store, clock, seed=2, steps=20)
                await until_at(first, len(await whole_feed(store)))
            assert bus.taken == await whole_feed(store)
            await trade(store, clock, seed=3, steps=10)
            second = relay(store, bus, model, clock, owner="two", wanted=EventFilter(types={"StockAddedEvent"}))
            count = len(bus.taken)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(second.run)
                await until_at(second, len(await whole_feed(store)))
            later = (await whole_feed(store))[count:]
            assert bus.taken[count:] == [event for event in later if event.event_type == "StockAddedEvent"]

    anyio.run(body, backend=backend)


def test_cancelled_at_every_await_it_skips_nothing_and_repeats_at_most_a_batch(backend: str) -> None:
    async def body() -> None:
        clock = ManualClock()
        async with MemoryEventStore() as store:
            await trade(store, clock, steps=25)
            events = await whole_feed(store)
            for nth in range(1, 31):
                bus, model = Notes(clock), MemoryReadModel()
                await cancelled_at(nth, relay(store, bus, model, clock))
                done = (await relay(store, bus, model, clock).checkpoint()).position
                assert {event.position for event in bus.taken} >= set(range(1, done + 1))
                again = relay(store, bus, model, clock, owner="two")
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(again.run)
                    await until_at(again, events[-1].position)
                assert len(bus.taken) <= len(events) + 4
                assert list(dict.fromkeys(bus.taken)) == events

    anyio.run(body, backend=backend)


async def cancelled_at(nth: int, relayed: Relay) -> None:
    left = nth

    def count() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            scope.cancel()

    with anyio.CancelScope() as scope:
        await Schedule(PLAIN, "").drive(relayed.run(), count)


def test_a_checkpoint_of_another_store_is_told(backend: str) -> None:
    async def body() -> None:
        clock, model = ManualClock(), MemoryReadModel()
        async with MemoryEventStore() as store, MemoryEventStore() as other:
            await trade(store, clock, steps=5)
            first = relay(store, Notes(clock), model, clock)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(first.run)
                await until_at(first, len(await whole_feed(store)))
            with pytest.raises(FeedRewoundError, match="another event store"):
                await relay(other, Notes(clock), model, clock).run()

    anyio.run(body, backend=backend)


def test_an_event_that_the_bus_can_never_take_is_not_skipped(backend: str) -> None:
    async def body() -> None:
        clock, model = ManualClock(), MemoryReadModel()
        async with MemoryEventStore() as store:
            await trade(store, clock, steps=5)

            class Small(Notes):
                async def publish(self, events: Sequence[RecordedEvent], /) -> None:
                    raise AppendTooLargeError(limit_name="max_event_bytes", limit=1, actual=len(events[0].data))

            with pytest.raises(AppendTooLargeError):
                await relay(store, Small(clock), model, clock).run()
            seen = await relay(store, Notes(clock), model, clock).checkpoint()
            assert (seen.position, seen.owner) == (0, None)

    anyio.run(body, backend=backend)


async def publish_all(store: Any, model: Any, clock: ManualClock, owner: str) -> list[RecordedEvent]:
    """Run a relay to the end of the feed, and return what it published."""
    bus = Notes(clock)
    one = relay(store, bus, model, clock, owner=owner)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one.run)
        await until_at(one, len(await whole_feed(store)))
    return bus.taken


@pytest.mark.parametrize("to", [0, 1, 7])
def test_a_rewound_relay_publishes_the_events_after_a_position_again(to: int, backend: str, kind: str, tmp_path: Path) -> None:
    async def body() -> None:
        clock = ManualClock()
        async with stores(kind, tmp_path) as (store, model):
            await trade(store, clock, steps=20)
            events = await whole_feed(store)
            assert isinstance(store, EventFeed)
            assert await publish_all(store, model, clock, "one") == events
            before = await model.checkpoint(ProjectionId("to_bus", 1))
            await rewind_relay("to_bus", feed=store, read_model=model, to=to)
            after = await model.checkpoint(ProjectionId("to_bus", 1))
            assert (after.position, after.epoch, after.mark is None) == (to, before.epoch + 1, to == 0)
            assert await publish_all(store, model, clock, "two") == events[to:]

    anyio.run(body, backend=backend)


def test_a_relay_that_runs_goes_on_from_where_it_is_rewound_to(backend: str) -> None:
    async def body() -> None:
        clock, model = ManualClock(), MemoryReadModel()
        async with MemoryEventStore() as store:
            await trade(store, clock, steps=20)
            events = await whole_feed(store)
            bus = Notes(clock)
            one = relay(store, bus, model, clock)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(one.run)
                with anyio.fail_after(10):
                    while len(bus.taken) < len(events):
                        await anyio.lowlevel.checkpoint()
                    await rewind_relay("to_bus", feed=store, read_model=model, to=3)
                    await trade(store, clock, seed=2, steps=5)
                    everything = await whole_feed(store)
                    while len(set(bus.taken[len(events) :])) < len(everything) - 3:
                        await anyio.lowlevel.checkpoint()
                one.stop()
            assert set(bus.taken[len(events) :]) >= set(everything[3:])

    anyio.run(body, backend=backend)


def test_a_rewind_interrupted_anywhere_skips_nothing(backend: str) -> None:
    async def body() -> None:
        clock = ManualClock()
        async with MemoryEventStore() as store:
            await trade(store, clock, steps=10)
            events = await whole_feed(store)
            for nth in range(1, 12):
                model = MemoryReadModel()
                await publish_all(store, model, clock, "one")
                left = nth

                def count() -> None:
                    nonlocal left
                    left -= 1
                    if left == 0:
                        scope.cancel()

                with anyio.CancelScope() as scope:
                    await Schedule(PLAIN, "").drive(rewind_relay("to_bus", feed=store, read_model=model, to=4), count)
                done = await publish_all(store, model, clock, "two")
                assert done in ([], events[4:], events)

    anyio.run(body, backend=backend)


def test_a_relay_is_not_rewound_beyond_its_checkpoint_or_the_feed(backend: str) -> None:
    async def body() -> None:
        clock, model = ManualClock(), MemoryReadModel()
        async with MemoryEventStore() as store, MemoryEventStore() as restored:
            await trade(store, clock, steps=10)
            events = await publish_all(store, model, clock, "one")
            for to in (-1, len(events) + 1):
                with pytest.raises(ValueError, match=f"to_bus is at position {len(events)}: rewind it to a position from 0"):
                    await rewind_relay("to_bus", feed=store, read_model=model, to=to)
            with pytest.raises(FeedRewoundError, match="the feed ends at 0"):
                await rewind_relay("to_bus", feed=restored, read_model=model, to=1)
            assert (await model.checkpoint(ProjectionId("to_bus", 1))).position == len(events), "a refused call changes nothing"
            with pytest.raises(FeedRewoundError):
                await relay(restored, Notes(clock), model, clock).run()
            await trade(restored, clock, seed=9, steps=5)
            await rewind_relay("to_bus", feed=restored, read_model=model, to=0)
            assert await publish_all(restored, model, clock, "two") == await whole_feed(restored)

    anyio.run(body, backend=backend)


def test_the_relay_of_a_service_is_rewound(backend: str) -> None:
    async def body() -> None:
        clock = ManualClock()
        bus = Notes(clock)
        async with open_inventory("memory:", read_models="memory:", clock=clock, bus=bus) as inventory:
            await inventory.add_stock("tea", "berlin", 3)
            with anyio.fail_after(10):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(lambda: inventory.followers.run(on_failure="stop"))
                    while len(bus.taken) < 1:
                        await anyio.lowlevel.checkpoint()
                    await inventory.followers.rewind_relay(to=0)
                    await inventory.add_stock("tea", "berlin", 4)
                    while [event.version for event in bus.taken].count(1) < 2:
                        await anyio.lowlevel.checkpoint()
                    inventory.followers.stop()

    anyio.run(body, backend=backend)
