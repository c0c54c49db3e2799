"""What each refusal says: the condition, the figures, and what to do; with its facts and its code."""

import json
import pickle
from datetime import timedelta
from enum import Enum
from typing import Any
from uuid import UUID

import attrs
import pytest

from inventory_es.domain.errors import (
    ClockSkewError,
    CommandExpiredError,
    CommandIdReusedError,
    CommandsRejectedError,
    ConflictError,
    CorruptStreamError,
    CountSupersededError,
    FaultError,
    InsufficientStockError,
    InvalidIdentifierError,
    InvalidQuantityError,
    InvalidTtlError,
    InventoryError,
    NegativeStockError,
    PolicyRejectedError,
    ProcessIdReusedError,
    ProcessNotFoundError,
    ProcessStateError,
    QuantityExceedsProcessError,
    QuantityExceedsReservationError,
    QuantityOverflowError,
    RejectionError,
    ReservationAlreadyCommittedError,
    ReservationAlreadyReleasedError,
    ReservationExpiredError,
    ReservationIdTakenError,
    ReservationNotFoundError,
    WouldBreakReservationsError,
)
from inventory_es.domain.stream_id import StreamId
from inventory_es.testing.domain.scenarios import START

WHERE = StreamId("inventory", "p", "s")
ORDER = StreamId("order", "o")

SAID: list[tuple[InventoryError, str, str]] = [
    (InvalidQuantityError(name="quantity", problem="must be 1 or more, not 0"), "invalid_quantity", "quantity must be 1 or more, not 0"),
    (QuantityOverflowError(name="on_hand", limit=9), "quantity_overflow", "on_hand would be above 9: use a larger smallest unit"),
    (InvalidIdentifierError(name="owner_id", problem="must be a text"), "invalid_identifier", "owner_id must be a text"),
    (InvalidTtlError(problem="must be above zero"), "invalid_ttl", "ttl must be above zero"),
    (
        InsufficientStockError(inventory=WHERE, requested=3, available=2),
        "insufficient_stock",
        "inventory-p-s has 2 available, 3 were asked for: 1 short",
    ),
    (
        InsufficientStockError(inventory=WHERE, requested=3, available=2, keep_available=4),
        "insufficient_stock",
        "inventory-p-s has 2 available, 3 were asked for with 4 to stay: 5 short",
    ),
    (
        ReservationNotFoundError(inventory=WHERE, reservation_id="R"),
        "reservation_not_found",
        "inventory-p-s knows no reservation 'R': check the id",
    ),
    (
        ReservationIdTakenError(inventory=WHERE, reservation_id="R"),
        "reservation_id_taken",
        "reservation id 'R' was used before in inventory-p-s for something else: choose a new id",
    ),
    (
        ReservationExpiredError(inventory=WHERE, reservation_id="R", expired_at=START),
        "reservation_expired",
        "reservation 'R' of inventory-p-s expired at 2026-01-05T09:00:00+00:00: reserve again under a new id",
    ),
    (
        ReservationAlreadyReleasedError(inventory=WHERE, reservation_id="R"),
        "reservation_already_released",
        "reservation 'R' of inventory-p-s was released: reserve again under a new id",
    ),
    (
        ReservationAlreadyCommittedError(inventory=WHERE, reservation_id="R"),
        "reservation_already_committed",
        "reservation 'R' of inventory-p-s was committed, its goods have left; goods that come back are added as RETURNED",
    ),
    (
        QuantityExceedsReservationError(inventory=WHERE, reservation_id="R", requested=3, remaining=2),
        "quantity_exceeds_reservation",
        "reservation 'R' of inventory-p-s still holds 2, not 3: ask for less",
    ),
    (
        WouldBreakReservationsError(inventory=WHERE, shortfall=2),
        "would_break_reservations",
        "inventory-p-s has promised 2 more units than would be left: release reservations first, or adjust with shortfall BUMP",
    ),
    (
        NegativeStockError(inventory=WHERE, on_hand=2, delta=-3),
        "negative_stock",
        "inventory-p-s has 2 on hand, an adjustment of -3 would go below 0: count again",
    ),
    (
        CommandExpiredError(inventory=WHERE, command_id="R", not_after=START),
        "command_expired",
        "command 'R' for inventory-p-s was not wanted after 2026-01-05T09:00:00+00:00: nothing was held, send a new one",
    ),
    (
        CountSupersededError(inventory=WHERE, observed_version=2, last_count_version=4),
        "count_superseded",
        "inventory-p-s was counted at version 4, after the observed version 2: count again",
    ),
    (
        CommandIdReusedError(inventory=WHERE, command_id="c"),
        "command_id_reused",
        "command id 'c' was used before in inventory-p-s for something else: choose a new id",
    ),
    (
        CommandsRejectedError(rejections=(InvalidTtlError(problem="a"), InvalidTtlError(problem="b")), indexes=(0, 2)),
        "commands_rejected",
        "nothing was accepted, 2 of the commands were refused: ttl a; ttl b",
    ),
    (PolicyRejectedError("one_per_customer"), "one_per_customer", "a policy of the host refused this: one_per_customer"),
    (PolicyRejectedError("cap", limit=3, of="p"), "cap", "a policy of the host refused this: cap (limit=3, of='p')"),
    (ProcessNotFoundError(process=ORDER), "process_not_found", "order-o was never begun: check the id"),
    (
        ProcessStateError(process=ORDER, status="DONE", command="CancelOrder"),
        "process_state",
        "order-o is DONE, which leaves no room for CancelOrder: read its state, and decide again",
    ),
    (
        ProcessIdReusedError(process=ORDER, reused_id="X1"),
        "process_id_reused",
        "id 'X1' was used before in order-o for something else: choose a new id",
    ),
    (
        QuantityExceedsProcessError(process=ORDER, inventory=WHERE, requested=3, remaining=2),
        "quantity_exceeds_process",
        "order-o has 2 of inventory-p-s left, not 3: ask for less",
    ),
    (
        CorruptStreamError(stream=WHERE, version=3, problem="time runs backwards"),
        "corrupt_stream",
        "stream inventory-p-s does not fold at version 3: time runs backwards; check the store with 'inventory-es verify'",
    ),
    (
        ClockSkewError(stream=WHERE, now=START, last_time=START + timedelta(seconds=90.5), max_clock_skew=timedelta(seconds=60)),
        "clock_skew",
        (
            "the last event of inventory-p-s is 90.5 s ahead of this machine's clock (allowed: 60 s): set the clock right if it is behind, "
            "and send the command again; if the event was recorded by a clock that stood ahead, copy the store with its times set back"
        ),
    ),
]  # fmt: skip
NUMBERS = range(len(SAID))


@pytest.mark.parametrize("error, code, message", SAID, ids=NUMBERS)
def test_what_it_says(error: InventoryError, code: str, message: str) -> None:
    assert (error.code, str(error), error.message) == (code, message, message)
    told = error.to_dict()
    assert (told["code"], told["message"], told["retryable"]) == (code, message, error.retryable)
    assert list(told)[:3] == ["code", "message", "retryable"]
    assert set(error.facts()) <= set(told)
    json.dumps(told)


@pytest.mark.parametrize("error", [error for error, _, _ in SAID], ids=NUMBERS)
def test_it_is_a_value(error: InventoryError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert (copy, hash(copy), copy.code, str(copy)) == (error, hash(error), error.code, str(error))
    assert {error: 1}[copy] == 1
    assert [other for other, _, _ in SAID if other == error] == [error]
    assert error != str(error)
    assert (error == "another thing") is False


def test_all_that_the_domain_refuses_is_here() -> None:
    kinds = [one for kind in RejectionError.__subclasses__() for one in kind.__subclasses__()]
    refusals = {kind for kind in kinds if kind.__module__.startswith("inventory_es.domain")}
    assert refusals == {type(error) for error, _, _ in SAID if isinstance(error, RejectionError)}


def test_retryable_is_what_another_try_can_mend() -> None:
    assert [type(error).__name__ for error, _, _ in SAID if error.retryable] == ["ClockSkewError"]
    assert (InventoryError.retryable, RejectionError.retryable, ConflictError.retryable, FaultError.retryable) == (
        False,
        False,
        True,
        False,
    )
    assert [kind.code for kind in (InventoryError, RejectionError, ConflictError, FaultError)] == [
        "inventory_error",
        "rejected",
        "conflict",
        "fault",
    ]


def test_a_branch_says_its_code() -> None:
    assert str(RejectionError()) == "rejected"
    assert RejectionError().facts() == {}
    assert RejectionError() == RejectionError()
    assert RejectionError() != FaultError()


def test_a_policys_details_never_hide_the_condition() -> None:
    told = PolicyRejectedError("cap", code="mine", message="mine", retryable=True, limit=3).to_dict()
    assert told == {
        "code": "cap",
        "message": "a policy of the host refused this: cap (code='mine', message='mine', retryable=True, limit=3)",
        "retryable": False,
        "limit": 3,
    }
    assert PolicyRejectedError.code == "policy_rejected"
    assert PolicyRejectedError("a", x=1) != PolicyRejectedError("a", x=2)
    assert PolicyRejectedError("a") != PolicyRejectedError("b")


class Colour(Enum):
    RED = "red"


@attrs.frozen
class Detail:
    _hidden: int
    when: object


PLAIN: list[tuple[Any, Any]] = [
    (None, None),
    (True, True),
    (1.5, 1.5),
    ("text", "text"),
    (Colour.RED, "red"),
    (START, "2026-01-05T09:00:00+00:00"),
    (timedelta(minutes=2), 120.0),
    (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (WHERE, "inventory-p-s"),
    ({1: START}, {"1": "2026-01-05T09:00:00+00:00"}),
    ((1, WHERE), [1, "inventory-p-s"]),
    ([UUID(int=1)], ["00000000-0000-0000-0000-000000000001"]),
    (frozenset({2}), [2]),
    ({3}, [3]),
    (Detail(1, Colour.RED), {"hidden": 1, "when": "red"}),
    (1 + 2j, "(1+2j)"),
    (InvalidTtlError(problem="x"), {"code": "invalid_ttl", "message": "ttl x", "retryable": False, "problem": "x"}),
]


@pytest.mark.parametrize("value, expected", PLAIN, ids=range(len(PLAIN)))
def test_facts_become_plain_values(value: Any, expected: Any) -> None:
    assert PolicyRejectedError("told", fact=value).to_dict()["fact"] == expected


def test_insufficient_stock_tells_the_shortfall() -> None:
    error = InsufficientStockError(inventory=WHERE, requested=3, available=2, keep_available=4)
    assert error.shortfall == error.to_dict()["shortfall"] == 5
    assert error.facts() == {"inventory": WHERE, "requested": 3, "available": 2, "keep_available": 4}
