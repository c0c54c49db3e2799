"""P1–P13 and P15–P19: every drawn history keeps these properties, and the checks find histories that don't."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import attrs
import pytest
from hypothesis import assume, event, given, seed, settings, target
from hypothesis import strategies as st

from inventory_es.domain.events import (
    Recorded,
    ReservationExtendedEvent,
    StockAddedEvent,
    StockAdjustedEvent,
    StockCommittedEvent,
    StockReleasedEvent,
    StockReservedEvent,
)
from inventory_es.domain.quantity import MAX_QUANTITY
from inventory_es.domain.reasons import AddReason, AdjustReason, CommitReason, Purpose, ReleaseReason
from inventory_es.testing.domain.features import FEATURES, features_of
from inventory_es.testing.domain.history import HISTORY_PROPERTIES, PropertyError, check_history, violations
from inventory_es.testing.domain.program import Program, play
from inventory_es.testing.domain.scenarios import START
from inventory_es.testing.domain.strategies import histories, programs

_EXPLORATIONS = 5
REFUSALS = {
    "clock_skew",
    "command_expired",
    "command_id_reused",
    "count_superseded",
    "insufficient_stock",
    "negative_stock",
    "quantity_exceeds_reservation",
    "quantity_overflow",
    "reservation_already_committed",
    "reservation_already_released",
    "reservation_expired",
    "reservation_id_taken",
    "reservation_not_found",
    "would_break_reservations",
}


@settings(max_examples=200)
@given(histories(max_steps=40))
def test_every_history_keeps_the_properties(history: tuple[Recorded, ...]) -> None:
    assert check_history(history) == len(history)


def test_the_generator_reaches_every_corner() -> None:
    """Try a few runs, because the constants that hypothesis tries depend on the imported modules, and one run may miss a corner."""
    corners, reached = {*FEATURES, *(f"refused: {code}" for code in REFUSALS)}, set[str]()

    @settings(max_examples=800)
    @given(programs(max_steps=50))
    def explore(program: Program) -> None:
        found = features_of(play(program).answers)
        for feature in sorted(found - reached):
            event(feature)
        target(float(len(found)))
        reached.update(found)

    for number in range(_EXPLORATIONS):
        if corners - reached:
            seed(number)(explore)()
    assert corners - reached == set()


@given(st.data())
def test_a_history_with_a_wrong_event_is_refused(data: st.DataObject) -> None:
    history = list(data.draw(histories(max_steps=15)))
    place = data.draw(st.integers(0, len(history) - 1))
    one = history[place]
    assume(one.event.on_hand < MAX_QUANTITY)
    history[place] = one._replace(event=attrs.evolve(one.event, on_hand=one.event.on_hand + 1))
    with pytest.raises(PropertyError) as refused:
        check_history(history)
    assert "P6" in refused.value.broken


def second(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def added(quantity: int, on_hand: int, reserved: int) -> StockAddedEvent:
    return StockAddedEvent("p", "s", quantity, AddReason.RECEIVED, on_hand, reserved)


def reserved(quantity: int, on_hand: int, in_all: int, *, held: str = "R", until: float | None = 600) -> StockReservedEvent:
    expires_at = None if until is None else second(until)
    return StockReservedEvent("p", "s", quantity, held, Purpose.ORDER, None, expires_at, on_hand, in_all)


def released(
    quantity: int, remaining: int, on_hand: int, in_all: int, *, held: str = "R", reason: ReleaseReason = ReleaseReason.CANCELLED
) -> StockReleasedEvent:
    return StockReleasedEvent("p", "s", quantity, held, remaining, reason, on_hand, in_all)


def committed(quantity: int, remaining: int, on_hand: int, in_all: int) -> StockCommittedEvent:
    return StockCommittedEvent("p", "s", quantity, "R", remaining, CommitReason.SOLD, on_hand, in_all)


def lost(units: int, on_hand: int, in_all: int = 0) -> StockAdjustedEvent:
    return StockAdjustedEvent("p", "s", -units, AdjustReason.LOSS, None, None, on_hand, in_all)


def counted(delta: int, on_hand: int, in_all: int, found: int, observed: int) -> StockAdjustedEvent:
    return StockAdjustedEvent("p", "s", delta, AdjustReason.COUNT, found, observed, on_hand, in_all)


def extended(previous: float, until: float | None) -> ReservationExtendedEvent:
    return ReservationExtendedEvent("p", "s", "R", second(previous), None if until is None else second(until), 10, 4)


def at(*events: tuple[float, Any]) -> list[Recorded]:
    return [Recorded(one, number, second(seconds)) for number, (seconds, one) in enumerate(events, start=1)]


def with_less_on_hand_than_reserved() -> list[Recorded]:
    broken = reserved(4, 10, 4)
    object.__setattr__(broken, "on_hand", 3)
    return at((0, added(10, 10, 0)), (0, broken))


def with_versions(*versions: int) -> list[Recorded]:
    return [Recorded(added(1, number, 0), version, second(0)) for number, version in enumerate(versions, start=1)]


ADD, RESERVE = (0, added(10, 10, 0)), (0, reserved(4, 10, 4))
EXPIRED, SHORTFALL = ReleaseReason.EXPIRED, ReleaseReason.SHORTFALL
BROKEN: dict[str, list[Callable[[], list[Recorded]]]] = {
    "P1": [with_less_on_hand_than_reserved],
    "P2": [lambda: at(ADD, RESERVE, (1, released(1, 3, 10, 2)))],
    "P3": [lambda: at(ADD, RESERVE, (1, released(1, 2, 10, 3))), lambda: at(ADD, RESERVE, (1, committed(1, 2, 9, 3)))],
    "P4": [lambda: at(ADD, (1, added(2, 13, 0))), lambda: at(ADD, (1, lost(2, 9)))],
    "P5": [lambda: at(ADD, (0, reserved(4, 10, 5)))],
    "P6": [lambda: at(ADD, (1, added(2, 13, 0))), lambda: at(ADD, RESERVE, (1, extended(599, 900)))],
    "P7": [lambda: with_versions(1, 2, 4), lambda: with_versions(0, 1), lambda: with_versions(1, 1)],
    "P8": [lambda: at((5, added(1, 1, 0)), (4.999999, added(1, 2, 0)))],
    "P9": [lambda: at(ADD, RESERVE, (600, added(1, 11, 4))), lambda: at(ADD, RESERVE, (1, extended(600, 700)), (700, added(1, 11, 4)))],
    "P10": [lambda: at(ADD, RESERVE, (1, committed(1, 3, 10, 3))), lambda: at(ADD, RESERVE, (1, committed(1, 3, 9, 4)))],
    "P11": [lambda: at(ADD, RESERVE, (1, released(1, 3, 9, 3))), lambda: at(ADD, RESERVE, (1, released(1, 3, 10, 4)))],
    "P12": [lambda: at(ADD, (0, reserved(4, 9, 4))), lambda: at(ADD, (0, reserved(4, 10, 3)))],
    "P13": [lambda: at(ADD, RESERVE, (1, added(1, 11, 5))), lambda: at(ADD, (1, added(1, 12, 0)))],
    "P15": [lambda: at(ADD, RESERVE, (1, committed(4, 1, 6, 0)), (2, released(1, 0, 6, 0)))],
    "P16": [
        lambda: at(ADD, RESERVE, (600, released(1, 3, 10, 3, reason=EXPIRED))),
        lambda: at(ADD, RESERVE, (600, released(4, 0, 9, 0, reason=EXPIRED))),
    ],
    "P17": [
        lambda: at(ADD, RESERVE, (1, released(4, 0, 10, 0)), (2, released(1, 0, 10, 0))),
        lambda: at(ADD, RESERVE, (1, released(4, 0, 10, 0)), (2, reserved(4, 10, 4))),
        lambda: at(ADD, (1, committed(1, 0, 9, 0))),
    ],
    "P18": [
        lambda: at(ADD, RESERVE, (599.999999, released(4, 0, 10, 0, reason=EXPIRED))),
        lambda: at(ADD, RESERVE, (1, extended(600, None)), (600, released(4, 0, 10, 0, reason=EXPIRED))),
        lambda: at(ADD, (0, reserved(4, 10, 4, until=None)), (600, released(4, 0, 10, 0, reason=EXPIRED))),
    ],
    "P19": [lambda: at(ADD, RESERVE, (1, extended(600, 599))), lambda: at(ADD, RESERVE, (1, extended(600, 600)))],
    "P34": [
        lambda: at(ADD, (0, counted(-3, 7, 0, 7, 1)), (1, counted(-1, 6, 0, 9, 1))),  # an older count that wins
        lambda: at(ADD, (0, added(5, 15, 0)), (1, counted(-5, 10, 0, 10, 1))),  # the events since the count are ignored
        lambda: at(ADD, RESERVE, (1, released(2, 2, 10, 2, reason=SHORTFALL)), (1, lost(7, 3, 2))),  # one unit more than the shortfall
        lambda: at(ADD, RESERVE, (1, released(2, 2, 10, 2, reason=SHORTFALL)), (1, added(1, 11, 2))),
        lambda: at(ADD, RESERVE, (0, reserved(2, 10, 6, held="S")), (1, released(2, 2, 10, 4, reason=SHORTFALL)), (1, lost(6, 4, 4))),
        lambda: at(ADD, RESERVE, (0, reserved(2, 10, 6, held="Q")), (600, released(4, 0, 10, 2, reason=EXPIRED))),
        lambda: at(ADD, RESERVE, (1, released(4, 0, 10, 0, reason=ReleaseReason.REMAINDER))),
        lambda: at(ADD, RESERVE, (1, committed(1, 3, 9, 3)), (1, released(1, 2, 9, 2, reason=ReleaseReason.REMAINDER))),
    ],
}  # fmt: skip


@pytest.mark.parametrize("property_id", sorted(HISTORY_PROPERTIES))
def test_a_history_that_breaks_the_property_is_found(property_id: str) -> None:
    for make in BROKEN[property_id]:
        history = make()
        found = HISTORY_PROPERTIES[property_id].violations(history)
        assert found
        assert {violation.id for violation in found} == {property_id}
        with pytest.raises(PropertyError, match=f"{property_id}  ") as refused:
            check_history(history)
        assert property_id in refused.value.broken


def test_the_report_names_property_event_and_problem() -> None:
    with pytest.raises(PropertyError) as refused:
        check_history(BROKEN["P9"][0](), only=["P9"])
    assert str(refused.value) == (
        "P9  Whenever anything but an expiry is appended, nothing due by then is left open.\n"
        "  at        version 3: StockAddedEvent(quantity=1, reason=RECEIVED, on_hand=11, reserved=4)\n"
        "  problem   reservation 'R' is still open, due since 2026-01-05 09:10:00+00:00"
    )


def test_a_long_report_is_cut() -> None:
    history = [Recorded(added(1, 5, 0), 70, START) for _ in range(30)]
    with pytest.raises(PropertyError, match="and 20 more"):
        check_history(history, only=["P7"])


def test_an_unknown_property_is_no_property() -> None:
    with pytest.raises(KeyError):
        list(violations([], only=["P31"]))
