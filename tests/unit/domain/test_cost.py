"""What a decision, an event and a rollback cost does not grow with the number of open reservations.

Work is counted, not timed: every line that Python executes, with the heap in Python too, so that its comparisons count.
"""

import importlib
import sys
from collections.abc import Callable
from datetime import timedelta
from functools import cache
from types import FrameType, ModuleType
from typing import Any

import attrs
import pytest

from inventory_es.domain import reservation_book
from inventory_es.domain.commands import (
    AddStock,
    AdjustStock,
    Command,
    CommitStock,
    ConfirmReservation,
    ExpireReservations,
    ExtendReservation,
    RecordCount,
    ReleaseStock,
    ReserveStock,
)
from inventory_es.domain.errors import RejectionError
from inventory_es.domain.events import Recorded
from inventory_es.domain.inventory import Inventory
from inventory_es.domain.reasons import AdjustReason, Shortfall
from inventory_es.domain.reservation_book import HoldQueue, InventorySnapshot, Key, OpenReservation
from inventory_es.testing.domain.scenarios import SHELF, START

FEW, MANY = 10, 100_000
FACTOR = 3  # a heap of 100,000 is 17 deep, one of 10 is 4: a walk over all would be a factor of thousands
SECOND = timedelta(seconds=1)


@pytest.fixture(autouse=True)
def heap_in_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reservation_book, "heapq", python_heapq())


@cache
def python_heapq() -> ModuleType:
    fast = {name: sys.modules.pop(name) for name in ("heapq", "_heapq")}
    sys.modules["_heapq"] = None  # type: ignore[assignment]  # how an import is blocked
    try:
        slow = importlib.import_module("heapq")
    finally:
        sys.modules.update(fast)
    assert slow.heappush.__module__ == "heapq"
    return slow


def lines_of(work: Callable[[], object]) -> int:
    """How many lines Python executes for ``work``."""
    lines = 0

    def trace(_frame: FrameType, what: str, _argument: Any) -> Any:
        nonlocal lines
        lines += what == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return lines


def with_open(count: int) -> Inventory:
    """Half dated, half firm; three units each; all of them made long before anything is due."""
    holds = tuple(
        OpenReservation(
            f"R{number}", 3, 3, 0, PURPOSE, None, START, START + number * SECOND + timedelta(days=1) if number % 2 else None, number + 1
        )
        for number in range(count)
    )
    empty = Inventory(SHELF).snapshot()
    return Inventory.from_snapshot(
        attrs.evolve(empty, version=count + 1, on_hand=4 * count, reserved=3 * count, last_time=START, open=holds)
    )


PURPOSE = ReserveStock(inventory_id=SHELF, reservation_id="R", quantity=1, ttl=None).purpose


def named(name: str) -> dict[str, Any]:
    return {"inventory_id": SHELF, "command_id": name}


def loss(units: int, shortfall: Shortfall) -> AdjustStock:
    return AdjustStock(**named("loss"), delta=-units, reason=AdjustReason.LOSS, shortfall=shortfall)


def reserve(quantity: int, ttl: timedelta | None) -> ReserveStock:
    return ReserveStock(inventory_id=SHELF, reservation_id="new", quantity=quantity, ttl=ttl)


def reserve_as(reservation_id: str) -> ReserveStock:
    return ReserveStock(inventory_id=SHELF, reservation_id=reservation_id, quantity=1, ttl=timedelta(minutes=1))


# Each is sent to an inventory with `count` open reservations; a command may depend on the count, its work may not.
COMMANDS: dict[str, Callable[[int], Command]] = {
    "add": lambda _: AddStock(**named("add"), quantity=1),
    "reserve dated": lambda _: reserve(1, SECOND),
    "reserve firm": lambda _: reserve(1, None),
    "reserve too many": lambda count: reserve(count + 1, None),
    "reserve a taken id": lambda _: ReserveStock(inventory_id=SHELF, reservation_id="R1", quantity=1, ttl=None),
    "commit in part": lambda _: CommitStock(**named("commit"), reservation_id="R3", quantity=1),
    "commit all, dated": lambda _: CommitStock(**named("commit"), reservation_id="R1"),
    "commit all, firm": lambda _: CommitStock(**named("commit"), reservation_id="R0"),
    "release all": lambda _: ReleaseStock(**named("release"), reservation_id="R5"),
    "release of nobody's": lambda _: ReleaseStock(**named("release"), reservation_id="nobody's"),
    "extend the first": lambda _: ExtendReservation(**named("extend"), reservation_id="R1", ttl=timedelta(days=30)),
    "confirm the first": lambda _: ConfirmReservation(**named("confirm"), reservation_id="R1"),
    "adjust": lambda _: loss(1, Shortfall.REJECT),
    "adjust below the promises": lambda count: loss(count + 1, Shortfall.REJECT),
    "bump three": lambda count: loss(count + 8, Shortfall.BUMP),
    "count": lambda count: RecordCount(**named("count"), counted=4 * count - 1, observed_version=count + 1),
    "sweep, nothing due": lambda _: ExpireReservations(**named("sweep")),
}


@cache
def snapshot_with_open(count: int) -> InventorySnapshot:
    return with_open(count).snapshot()


@cache
def shared(count: int) -> Inventory:
    """Its order of bumps is asked for once: what opened since the last time is put in order then, each reservation once."""
    inventory = with_open(count)
    next(inventory.bump_candidates())
    return inventory


def work_of(count: int, command: Command, *, at_day: float = 0) -> tuple[int, int]:
    """Lines for deciding and applying, and for rolling back. The inventory is as before after it."""
    inventory = shared(count)
    at = START + timedelta(days=at_day)
    before = inventory.version

    def decide_and_apply() -> None:
        try:
            for event in inventory.decide(command, at=at):
                inventory.apply(Recorded(event, inventory.version + 1, at))
        except RejectionError:
            pass

    place = inventory.savepoint()
    done = lines_of(decide_and_apply)
    undone = lines_of(lambda: inventory.rollback(place))
    inventory.settle()
    assert inventory.version == before
    return done, undone


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_work_of_a_command_and_its_rollback_stay_the_same(name: str) -> None:
    make = COMMANDS[name]
    few, few_back = work_of(FEW, make(FEW))
    many, many_back = work_of(MANY, make(MANY))
    assert 0 < many <= FACTOR * few
    assert 0 < many_back <= FACTOR * max(few_back, 20)


def test_after_all_that_the_state_is_untouched() -> None:
    for count in (FEW, MANY):
        for make in COMMANDS.values():
            work_of(count, make(count))
        assert shared(count).snapshot() == snapshot_with_open(count)


def test_a_bump_costs_in_proportion_to_what_it_bumps() -> None:
    small, _ = work_of(MANY, loss(MANY + 30, Shortfall.BUMP))
    large, _ = work_of(MANY, loss(MANY + 300, Shortfall.BUMP))
    assert 5 * small <= large <= 15 * small


def test_a_sweep_costs_what_its_limit_allows_however_many_are_due() -> None:
    sweep = ExpireReservations(**named("sweep"), limit=4)
    few, few_back = work_of(FEW, sweep, at_day=50)
    many, many_back = work_of(MANY, sweep, at_day=50)
    assert many <= FACTOR * few
    assert many_back <= FACTOR * few_back


def test_the_order_of_bumps_is_made_once() -> None:
    """The first bump after many reservations pays for them, the same for each; the next ones don't pay again."""
    few, many = with_open(FEW), with_open(100 * FEW)
    paid = [lines_of(lambda inventory=inventory: next(inventory.bump_candidates())) for inventory in (few, many)]  # type: ignore[misc]  # the loop's own
    assert paid[1] <= 100 * FACTOR * paid[0]
    assert lines_of(lambda: next(many.bump_candidates())) <= FACTOR * lines_of(lambda: next(few.bump_candidates()))


def test_a_hold_that_is_extended_again_and_again_leaves_nothing_behind() -> None:
    """What waits to be put in order is bounded by what is open, though nobody ever asks for the order."""
    inventory = Inventory(SHELF)
    extensions: list[Command] = [
        ExtendReservation(**named(f"e{number}"), reservation_id="old", ttl=timedelta(minutes=number + 2)) for number in range(1_000)
    ]
    for command in (AddStock(**named("add"), quantity=5), reserve_as("old"), *extensions):
        for event in inventory.decide(command, at=START):
            inventory.apply(Recorded(event, inventory.version + 1, START))
    assert len(inventory._book._unordered) < 100
    assert lines_of(lambda: list(inventory.bump_candidates())) < 10_000


def test_a_due_hold_above_many_dead_keys_costs_no_walk_over_them() -> None:
    """One abandoned hold is due, below it lie the keys of thousands that were confirmed; nothing is accepted, questions repeat."""
    inventory = Inventory(SHELF)

    def send(command: Command, at: float) -> None:
        for event in inventory.decide(command, at=START + at * SECOND):
            inventory.apply(Recorded(event, inventory.version + 1, START + at * SECOND))

    send(AddStock(**named("add"), quantity=5_000), 0)
    send(ReserveStock(inventory_id=SHELF, reservation_id="abandoned", quantity=1, ttl=10 * SECOND), 0)
    for number in range(2_000):
        send(ReserveStock(inventory_id=SHELF, reservation_id=f"R{number}", quantity=1, ttl=20 * SECOND), 0)
        send(ConfirmReservation(**named(f"c{number}"), reservation_id=f"R{number}"), 0)
    late = START + 30 * SECOND
    questions = [lines_of(lambda: inventory.available_at(late)) for _ in range(10)]
    assert int(inventory.available_at(late)) == 3_000
    assert max(questions[1:]) < 100


def test_a_hold_that_ships_piece_by_piece_leaves_nothing_behind() -> None:
    """A thousand partial commits of one hold must not make the next bump, or the next question about what is due, walk a thousand keys."""
    inventory = Inventory(SHELF)

    def send(command: Command) -> None:
        for event in inventory.decide(command, at=START):
            inventory.apply(Recorded(event, inventory.version + 1, START))

    send(AddStock(**named("add"), quantity=5_000))
    send(ReserveStock(inventory_id=SHELF, reservation_id="old", quantity=9, ttl=10 * SECOND))
    send(ReserveStock(inventory_id=SHELF, reservation_id="new", quantity=1_100, ttl=10 * SECOND))
    fresh = lines_of(lambda: inventory.decide(loss(4_990, Shortfall.BUMP), at=START))
    for number in range(1_000):
        send(CommitStock(**named(f"c{number}"), reservation_id="new", quantity=1))
    assert lines_of(lambda: inventory.decide(loss(3_998, Shortfall.BUMP), at=START)) <= 2 * fresh
    assert lines_of(lambda: inventory.due(START + 10 * SECOND)) < 100


def test_holds_that_ended_leave_nothing_in_memory_but_how_they_ended() -> None:
    inventory = Inventory(SHELF)

    def send(command: Command) -> None:
        for event in inventory.decide(command, at=START):
            inventory.apply(Recorded(event, inventory.version + 1, START))

    send(AddStock(**named("add"), quantity=1_000))
    send(ReserveStock(inventory_id=SHELF, reservation_id="early", quantity=1, ttl=SECOND, owner_id="early"))
    assert inventory.reserved_for("early") == 1
    for number in range(1_000):
        name = f"R{number}"
        send(ReserveStock(inventory_id=SHELF, reservation_id=name, quantity=1, ttl=timedelta(days=1), owner_id=name))
        next(inventory.bump_candidates())
        send(ReleaseStock(**named(name), reservation_id=name))
    assert inventory._book._by_owner == {"early": 1}
    assert (
        max(len(inventory._book._due), len(inventory._book._bump_order._heap), len(inventory._book._unordered))
        <= 2 * inventory.open_count + 65
    )


def test_holds_that_came_and_went_before_a_bump_leave_those_that_stay() -> None:
    inventory = Inventory(SHELF)

    def send(command: Command) -> None:
        for event in inventory.decide(command, at=START):
            inventory.apply(Recorded(event, inventory.version + 1, START))

    send(AddStock(**named("add"), quantity=1_000))
    for name in ("firm later", "dated"):
        send(ReserveStock(inventory_id=SHELF, reservation_id=name, quantity=1, ttl=timedelta(days=1)))
    for number in range(1_000):
        send(ReserveStock(inventory_id=SHELF, reservation_id=f"R{number}", quantity=1, ttl=timedelta(days=1)))
        send(ReleaseStock(**named(f"R{number}"), reservation_id=f"R{number}"))
    assert len(inventory._book._unordered) <= 2 * inventory.open_count + 65
    assert [hold.reservation_id for hold in inventory.bump_candidates()] == ["dated", "firm later"]
    send(ConfirmReservation(**named("confirm dated"), reservation_id="dated"))
    assert [hold.reservation_id for hold in inventory.bump_candidates()] == ["firm later", "dated"]


def test_a_key_is_dropped_once() -> None:
    """Over a whole churn the queue asks about each key a bounded number of times: amortised, not only at a lucky moment."""
    live: set[Key] = set()
    asked = 0

    def is_live(key: Key) -> bool:
        nonlocal asked
        asked += 1
        return key in live

    queue = HoldQueue(is_live)
    pushed = largest = 0
    for number in range(4_000):
        for key in ((number, "a"), (9_000 - number, "b")):
            live.add(key)
            queue.push(key)
            pushed += 1
        if number % 40:
            live.discard((9_000 - number, "b"))
            queue.trim(len(live))
        if number % 3 == 0:
            live.discard((number, "a"))
            queue.trim(len(live))
        largest = max(largest, len(queue._heap) - 2 * len(live))
    assert asked <= 6 * pushed
    assert 0 < largest <= 66, "dead keys beyond the live ones are dropped in bulk, soon but not at once"
    assert len(list(queue.walk())) == len(live) < pushed // 2, "dead keys were the most, so they were dropped in bulk at times"
    assert list(queue.walk()) == sorted(live)
