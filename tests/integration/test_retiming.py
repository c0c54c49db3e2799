"""A way back for a store that a clock in the future has written to: a copy with its times set back."""

import random
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest

from inventory_es.adapters.serialization import JsonEventCodec
from inventory_es.application.results import HistoryEntry
from inventory_es.application.retiming import Retiming
from inventory_es.application.service import InventoryService
from inventory_es.application.store_copy import CopyOutcome, copy_store
from inventory_es.domain.events import Recorded
from inventory_es.domain.identifiers import InventoryId
from inventory_es.domain.inventory import Inventory
from inventory_es.errors import ClockSkewError, NotACopyError, RejectionError
from inventory_es.processes import Orders
from inventory_es.testing import ManualClock
from inventory_es.testing.domain import check_history
from inventory_es.wiring import open_inventory
from tests.integration.command_side import P, S, ref

YEARS = timedelta(days=3_650)
MINUTES = timedelta(minutes=1)
RIGHT = datetime(2026, 1, 5, 9, tzinfo=UTC)
BEYOND = datetime(2030, 1, 1, tzinfo=UTC)


async def spoilt(service: InventoryService, clock: ManualClock) -> None:
    """Write under a right clock, for ten minutes under one that stands ten years ahead, and under the right one again."""
    await service.add_stock(P, S, 100, command_id="first")
    await service.reserve(P, S, 2, ttl=timedelta(days=4_000), reservation_id="before")
    clock.at += YEARS
    await service.reserve(P, S, 3, ttl=15 * MINUTES, reservation_id="ahead")
    clock.advance(5 * MINUTES)
    await service.extend(ref("ahead"), ttl=30 * MINUTES)
    await service.reserve(P, S, 1, ttl=None, reservation_id="firm")
    await Orders(service).reserve("O1", [(P, S, 4)], ttl=20 * MINUTES)
    clock.at -= YEARS - 5 * MINUTES
    with pytest.raises(ClockSkewError):
        await service.add_stock(P, S, 1)
    await service.add_stock("another", S, 1)


async def copied(source: InventoryService, target: InventoryService, *, after: datetime = BEYOND, by: timedelta = YEARS) -> CopyOutcome:
    return await copy_store(source.store, target.store, retiming=Retiming(JsonEventCodec(), after=after, by=by))


async def entries(service: InventoryService) -> list[HistoryEntry]:
    return [entry async for entry in service.history(P, S)]


@pytest.mark.parametrize("kind", ["memory:", "file:copy", "sqlite:copy.db"])
def test_a_copy_with_its_times_set_back_goes_on_now(kind: str, tmp_path: Path, backend: str) -> None:
    scheme, _, place = kind.partition(":")

    async def case() -> None:
        clock = ManualClock(RIGHT)
        async with (
            open_inventory("memory:", clock=clock) as source,
            open_inventory(f"{scheme}:{tmp_path / place}" if place else kind, clock=clock) as target,
        ):
            await spoilt(source, clock)
            outcome = await copied(source, target)
            assert outcome.events == outcome.events_now == (await source.store.head())  # type: ignore[attr-defined]  # it has a feed
            told = await entries(target)
            assert max(entry.recorded_at for entry in told) == RIGHT + 5 * MINUTES
            assert [entry.event_id for entry in told] == [entry.event_id for entry in await entries(source)]
            check_history(told)
            ends = {one.reservation_id: one.expires_at for one in (await target.explain(P, S)).holds}
            assert ends["before"] == RIGHT + timedelta(days=4_000)
            assert ends["ahead"] == RIGHT + 35 * MINUTES
            assert ends["firm"] is None
            assert (await Orders(target).order("O1")).expires_at == RIGHT + 25 * MINUTES
            assert (await target.add_stock(P, S, 100, command_id="first")).replayed
            assert (await target.add_stock(P, S, 1)).at == clock.now()

    anyio.run(case, backend=backend)


def test_a_copy_goes_on_where_it_was_left_and_is_held_against_the_same_times(backend: str) -> None:
    async def case() -> None:
        clock = ManualClock(RIGHT)
        async with open_inventory("memory:", clock=clock) as source, open_inventory("memory:", clock=clock) as target:
            await spoilt(source, clock)
            await copied(source, target)
            await source.add_stock("another", S, 1)
            assert (await copied(source, target)).events_now == 1
            assert (await copied(source, target)).events_now == 0
            with pytest.raises(NotACopyError, match="is not that of the source"):
                await copied(source, target, by=YEARS - MINUTES)
            with pytest.raises(NotACopyError, match="is not that of the source"):
                await copy_store(source.store, target.store)

    anyio.run(case, backend=backend)


@pytest.mark.parametrize(
    "by, problem",
    [
        (YEARS + 6 * MINUTES, "would come before the event before it: set the times back by 3650 days, 0:00:00 at most"),
        (timedelta(days=1), "would still be later than 2030-01-01T00:00:00[+]00:00: set the times back by more"),
    ],
)
def test_a_span_that_does_not_fit_is_told_before_a_wrong_time_is_written(by: timedelta, problem: str, backend: str) -> None:
    async def case() -> None:
        clock = ManualClock(RIGHT)
        async with open_inventory("memory:", clock=clock) as source, open_inventory("memory:", clock=clock) as target:
            await spoilt(source, clock)
            with pytest.raises(ValueError, match=problem):
                await copied(source, target, by=by)
            assert await target.store.head() == 0  # type: ignore[attr-defined]  # it has a feed

    anyio.run(case, backend=backend)


@pytest.mark.parametrize("seed", range(16))
def test_whatever_a_clock_ahead_recorded_still_folds_and_a_hold_ends_after_it_was_made(seed: int, backend: str) -> None:
    draw = random.Random(seed)

    async def case() -> None:
        clock = ManualClock(RIGHT)
        by = draw.choice([31 * MINUTES, 61 * MINUTES, YEARS])
        async with open_inventory("memory:", clock=clock) as source, open_inventory("memory:", clock=clock) as target:
            await source.add_stock(P, S, 100)
            await wander(source, clock, draw, "before")
            clock.at += by
            after = clock.now()
            await wander(source, clock, draw, "ahead")
            await copied(source, target, after=after, by=by)
            told = await entries(target)
            folded = Inventory.replay(InventoryId(P, S), [Recorded(one.event, one.version, one.recorded_at) for one in told])
            assert folded.version == (await source.stock(P, S)).version
            ends = [(getattr(one.event, "expires_at", None), one.recorded_at) for one in told]
            assert all(end > recorded_at for end, recorded_at in ends if end is not None)
            for order_id in ("before", "ahead"):
                order = await Orders(target).order(order_id)
                assert order.expires_at is None or order.placed_at is None or order.expires_at > order.placed_at

    anyio.run(case, backend=backend)


async def wander(service: InventoryService, clock: ManualClock, draw: random.Random, order_id: str) -> None:
    """Reserve, extend, confirm, release and expire as it comes, with an order in the middle."""
    for step in range(20):
        clock.advance(timedelta(seconds=draw.randrange(1, 90)))
        if step == 10:
            await Orders(service).reserve(order_id, [(P, S, 2)], ttl=draw.randrange(1, 90) * MINUTES)
        hold, ttl = ref(f"R{draw.randrange(6)}"), draw.randrange(1, 90) * MINUTES
        with suppress(RejectionError):
            match draw.randrange(7):
                case 0 | 1:
                    await service.reserve(P, S, 2, ttl=ttl, reservation_id=hold.reservation_id)
                case 2 | 3:
                    await service.extend(hold, ttl=ttl)
                case 4:
                    await service.confirm(hold)
                case 5:
                    await service.release(hold, 1)
                case _:
                    await service.expire(P, S)


@pytest.mark.parametrize(
    "after, by, problem",
    [
        (BEYOND.replace(tzinfo=None), YEARS, "aware datetime in UTC"),
        (BEYOND, timedelta(0), "more than zero"),
        (BEYOND, -YEARS, "more than zero"),
    ],
)
def test_bounds_that_make_no_sense_are_refused(after: datetime, by: timedelta, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Retiming(JsonEventCodec(), after=after, by=by)
