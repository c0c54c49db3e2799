"""Orders under the simulation, seed by seed, and the checks at the end of a run.

Deep run: ``python -m tests.simulation.order_simulation 2000``. A second number is the first seed: ``… 2000 5000``.
"""

import logging
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime

import anyio

from inventory_es.application.service import InventoryService
from inventory_es.domain.command_identity import fingerprint
from inventory_es.domain.commands import Command, ReserveStock
from inventory_es.domain.events import Recorded, StockCommittedEvent, StockReleasedEvent, StockReservedEvent
from inventory_es.domain.inventory import Inventory
from inventory_es.domain.processes.lines import OrderLine
from inventory_es.domain.reasons import ReleaseReason
from inventory_es.errors import RejectionError
from inventory_es.processes import OrderReservation, Orders, OrderStatus
from inventory_es.testing.domain.history import check_history
from inventory_es.testing.simulation.referee import StreamReferee
from tests.simulation.order_world import CODEC, OrderWorld

S = OrderStatus
RESTING = {S.NEW, S.FIRM, S.DONE, S.REJECTED, S.CANCELLED, S.EXPIRED, S.NEEDS_REFUND, S.NEEDS_ATTENTION}


def simulate_orders(seed: int, *, backend: str = "asyncio", open_orders: Callable[[InventoryService], Orders] = Orders) -> OrderWorld:
    """Play one seed, check it, and return the world after it.

    Raises:
        AssertionError: a check fails. The note says how to repeat the run.
    """
    worlds: list[OrderWorld] = []

    async def play() -> None:
        world = OrderWorld(seed, open_orders)
        worlds.append(world)
        await world.scheduler.run("script", _play_and_judge(world))

    try:
        anyio.run(play, backend=backend)
    except Exception as problem:
        tail = "\n".join(worlds[0].trace[-25:]) if worlds else ""
        problem.add_note(f"repeat with: python -m tests.simulation.order_simulation 1 {seed}\n{tail}")
        raise
    return worlds[0]


async def _play_and_judge(world: OrderWorld) -> None:
    await world.play()
    await judge(world, RESTING | {S.HELD})
    await _again(world)
    await world.pass_time()
    await judge(world, RESTING)
    await world.resolve_all()
    await judge(world, RESTING - {S.NEEDS_REFUND, S.NEEDS_ATTENTION})
    world.is_over = True


async def _again(world: OrderWorld) -> None:
    """Send every accepted command once more, and check that nothing changes."""
    head = world.log.head
    for command in world.taken:
        order = await world.nodes[0].orders.order(command.order_id)
        try:
            again = await world.nodes[0].orders.execute(command)
        except RejectionError:
            again = order
        if again != order:
            msg = f"{command} once more made {again.status} of {order.status}"
            raise AssertionError(msg)
    assert world.log.head == head, f"{world.log.head - head} events more when everything was sent again"


async def judge(world: OrderWorld, resting: set[OrderStatus]) -> None:
    """Check everything that must hold once no task is left.

    Raises:
        AssertionError: a check fails.
    """
    referees = {}
    for shelf in world.plan.shelves:
        referees[shelf] = StreamReferee(shelf, world.log, CODEC)
        sent: dict[tuple[str | None, str | None], Command] = {
            (one.command_id, fingerprint(one)): one for one in sorted(world.sent, key=_patience) if one.inventory_id == shelf
        }
        referees[shelf]._check_serial(sent)  # every accepted command as if they had come one after the other
        check_history([one.recorded for one in referees[shelf].entries])
    now = world.clock.now()
    for place in world.plan.orders:
        order = await world.nodes[0].orders.order(place.order_id)
        world.counts[f"order {order.status}"] += 1
        assert order.status in resting, f"{order.order_id} rests as {order.status}"
        assert order.step is None, f"{order.order_id} is {order.status} and has still to {order.step}"
        for line in order.lines:
            _judge_line(order, line, referees[line.inventory_id], now)


def _judge_line(order: OrderReservation, line: OrderLine, referee: StreamReferee, now: object) -> None:
    prefix = f"{order.order_id}:{line.line}"
    inventory = Inventory(line.inventory_id)
    committed = bumped = 0
    for one in referee.entries:
        inventory.apply(Recorded(one.event, one.stored.version, one.stored.recorded_at))
        event = one.event
        if isinstance(event, StockCommittedEvent | StockReleasedEvent | StockReservedEvent) and _is_of(event.reservation_id, prefix):
            committed += event.quantity if isinstance(event, StockCommittedEvent) else 0
            bumped += event.quantity if isinstance(event, StockReleasedEvent) and event.reason is ReleaseReason.SHORTFALL else 0
    holds = [one for one in inventory.reservations() if _is_of(one.reservation_id, prefix) and not one.is_due(now)]  # type: ignore[arg-type]  # an instant
    held = sum(one.remaining for one in holds)
    shipped = order.shipped.get(line.line, 0)
    what = f"{order.order_id} line {line.line}: {order.status}, {committed} committed, {held} held, {bumped} bumped of {line.quantity}"
    assert committed <= line.quantity, f"{what}: oversold"
    match order.status:
        case S.DONE:
            assert (committed, held) == (line.quantity, 0), what
        case S.FIRM:
            assert committed == shipped, what
            assert all(one.is_firm for one in holds), what
            assert bumped or committed + held == line.quantity, f"{what}: not all, not nothing"
        case S.HELD:
            assert (committed, bumped or held) == (0, bumped or line.quantity), f"{what}: not all, not nothing"
        case S.NEW | S.REJECTED | S.EXPIRED | S.NEEDS_REFUND:
            assert (committed, held) == (0, 0), f"{what}: a leak, or sold in part"
        case S.CANCELLED:
            assert held == 0, f"{what}: a leak"
            assert committed <= shipped, what
        case _:
            assert committed <= shipped, what
            number, code = order.attention or (0, "")
            reasons = dict.fromkeys(("quantity_exceeds_reservation", "reservation_already_released"), bumped)
            reasons["reservation_already_committed"] = shipped
            assert number != line.line or reasons.get(code), f"{what}: a person was asked for nothing: {code}"


def _patience(command: Command) -> datetime:
    """Return the longest time to live of a reservation, because a repetition by another clock has another deadline."""
    not_after = command.not_after if isinstance(command, ReserveStock) else None
    return datetime.max.replace(tzinfo=UTC) if not_after is None else not_after


def _is_of(reservation_id: str, prefix: str) -> bool:
    return reservation_id == prefix or reservation_id.startswith(f"{prefix}:g")


def main(seeds: int, first: int) -> int:
    """Play many seeds, and return the exit code."""
    logging.disable(logging.WARNING)
    total: Counter[str] = Counter()
    broken = 0
    started = time.monotonic()
    for seed in range(first, first + seeds):
        try:
            total.update(simulate_orders(seed).counts)
        except Exception as problem:  # noqa: BLE001  # every seed is told
            broken += 1
            print(f"seed {seed}: {problem!r}")
            print("\n".join(getattr(problem, "__notes__", ())) if seeds == 1 else "")
    print(f"{seeds:,} seeds: {', '.join(f'{number:,} {name}' for name, number in sorted(total.items()))}")
    print(f"{broken:,} violations in {time.monotonic() - started:,.0f} s")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0))
