"""The rules of the domain, one function per command: the conditions of the command, and the events that it appends.

These functions are a specification. They share no code with the aggregate, read the fields of a command, and answer with plain
dictionaries. :class:`~inventory_es.testing.domain.Model` does what is common to all commands.

A *stock* holds all that a rule may use, after every reservation due at ``t`` was closed:

- ``on_hand``: units on hand.
- ``reserved``: the sum of the units that the open reservations hold.
- ``open``: reservations by id, each with original, remaining, committed, released, purpose, owner_id, reserved_at, expires_at, version.
- ``closed``: how a reservation ended, by id: outcome, committed, released, expires_at; the most recent 10,000.
- ``version``: version of the stream before the command.
- ``last_count_version``: version of the last count's event; 0 for none.
- ``on_hand_at``: units on hand at each version, 0 included.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from inventory_es.domain.commands import (
    AddStock,
    AdjustStock,
    CommitStock,
    ConfirmReservation,
    ExpireReservations,
    ExtendReservation,
    RecordCount,
    ReleaseStock,
    ReserveStock,
)
from inventory_es.domain.errors import (
    CommandExpiredError,
    CountSupersededError,
    InsufficientStockError,
    InvalidTtlError,
    InventoryError,
    NegativeStockError,
    QuantityExceedsReservationError,
    QuantityOverflowError,
    ReservationAlreadyCommittedError,
    ReservationAlreadyReleasedError,
    ReservationExpiredError,
    ReservationIdTakenError,
    ReservationNotFoundError,
    WouldBreakReservationsError,
)
from inventory_es.testing.domain.formatting import describe_facts

Facts = dict[str, Any]
"""An event, a reservation, or the facts of a rejection: names and values."""

Stock = Mapping[str, Any]
"""All that a rule may use."""

Rule = Callable[[Stock, Any, datetime], Iterable[Facts]]
"""A function that gives the events of one kind of command at ``t``, in order, without balances, or raises :class:`Refusal`."""

LARGEST = 2**53 - 1
"""The largest count of units."""


class Refusal(Exception):  # noqa: N818  # it names the error of the domain, and is none itself
    """A refusal by a rule.

    Attributes:
        error: the class of the rejection.
        facts: the facts that the rejection must have.
    """

    def __init__(self, error: type[InventoryError], **facts: Any) -> None:
        super().__init__(error, facts)
        self.error = error
        self.facts = facts

    def __str__(self) -> str:
        return describe_facts(self.error.__name__, self.facts)


# One function per command.


def add(stock: Stock, command: AddStock, _t: datetime) -> Iterator[Facts]:
    """Add units."""
    _refuse_overflow(stock["on_hand"] + command.quantity)
    yield {"event": "StockAddedEvent", "quantity": command.quantity, "reason": command.reason}


def reserve(stock: Stock, command: ReserveStock, t: datetime) -> Iterator[Facts]:
    """Reserve units, so that at least ``keep_available`` stay unreserved."""
    if command.reservation_id in stock["open"] or command.reservation_id in stock["closed"]:
        raise Refusal(ReservationIdTakenError, reservation_id=command.reservation_id)
    if command.not_after is not None and t >= command.not_after:
        raise Refusal(CommandExpiredError, command_id=command.reservation_id, not_after=command.not_after)
    unreserved = stock["on_hand"] - stock["reserved"]
    if unreserved - command.quantity < command.keep_available:
        raise Refusal(
            InsufficientStockError,
            requested=command.quantity,
            available=unreserved,
            keep_available=command.keep_available,
            shortfall=command.quantity + command.keep_available - unreserved,
        )
    yield {
        "event": "StockReservedEvent",
        "reservation_id": command.reservation_id,
        "quantity": command.quantity,
        "purpose": command.purpose,
        "owner_id": command.owner_id,
        "expires_at": None if command.ttl is None else _after(t, command.ttl),
    }


def extend(stock: Stock, command: ExtendReservation, t: datetime) -> Iterator[Facts]:
    """Let a dated reservation last longer. No-op for a firm one, and for an end that is no later."""
    hold = _the_open(stock, command.reservation_id)
    if hold["expires_at"] is not None:
        expires_at = _after(t, command.ttl)
        if expires_at > hold["expires_at"]:
            yield _extended(hold, expires_at)


def confirm(stock: Stock, command: ConfirmReservation, _t: datetime) -> Iterator[Facts]:
    """Make a dated reservation firm. No-op for a firm one."""
    hold = _the_open(stock, command.reservation_id)
    if hold["expires_at"] is not None:
        yield _extended(hold, None)


def release(stock: Stock, command: ReleaseStock, _t: datetime) -> Iterator[Facts]:
    """Release units of a reservation. No-op for one that was released or has expired."""
    ended = stock["closed"].get(command.reservation_id)
    if ended is not None and ended["outcome"] in {"RELEASED", "EXPIRED"}:
        return
    hold = _the_open(stock, command.reservation_id)
    quantity = _up_to_remaining(hold, command.quantity)
    yield released(hold, quantity, hold["remaining"] - quantity, command.reason)


def commit(stock: Stock, command: CommitStock, _t: datetime) -> Iterator[Facts]:
    """Commit reserved units. The rest stays reserved, or is released."""
    hold = _the_open(stock, command.reservation_id)
    quantity = _up_to_remaining(hold, command.quantity)
    rest = hold["remaining"] - quantity
    yield {
        "event": "StockCommittedEvent",
        "reservation_id": hold["reservation_id"],
        "quantity": quantity,
        "remaining": rest,
        "reason": command.reason,
    }
    if rest and command.remainder == "RELEASE":
        yield released(hold, rest, 0, "REMAINDER")


def adjust(stock: Stock, command: AdjustStock, _t: datetime) -> Iterator[Facts]:
    """Adjust the units on hand."""
    yield from _adjusted(stock, command.delta, command.shortfall, reason=command.reason, counted=None, observed_version=None)


def count(stock: Stock, command: RecordCount, _t: datetime) -> Iterator[Facts]:
    """Adjust the units on hand by the difference at the observed version. Every count is an event."""
    if command.observed_version > stock["version"]:
        msg = f"version {command.observed_version} is not there yet"
        raise ValueError(msg)
    if command.observed_version < stock["last_count_version"]:
        raise Refusal(CountSupersededError, observed_version=command.observed_version, last_count_version=stock["last_count_version"])
    delta = command.counted - stock["on_hand_at"][command.observed_version]
    yield from _adjusted(
        stock, delta, command.shortfall, reason="COUNT", counted=command.counted, observed_version=command.observed_version
    )


def expire(stock: Stock, command: ExpireReservations, t: datetime) -> Iterator[Facts]:
    """Close the first ``limit`` due reservations. A sweep is given a stock in which nothing due was closed."""
    for hold in due_at(stock["open"].values(), t)[: command.limit]:
        yield released(hold, hold["remaining"], 0, "EXPIRED")


RULES: Mapping[type[Any], Rule] = MappingProxyType(
    {
        AddStock: add,
        ReserveStock: reserve,
        ExtendReservation: extend,
        ConfirmReservation: confirm,
        ReleaseStock: release,
        CommitStock: commit,
        AdjustStock: adjust,
        RecordCount: count,
        ExpireReservations: expire,
    }
)
"""The function of each kind of command."""


# Shared by several commands.


def _adjusted(stock: Stock, delta: int, shortfall: str, **facts: Any) -> Iterator[Facts]:
    on_hand, reserved = stock["on_hand"] + delta, stock["reserved"]
    if on_hand < 0:
        raise Refusal(NegativeStockError, on_hand=stock["on_hand"], delta=delta)
    _refuse_overflow(on_hand)
    lacking = reserved - on_hand
    if lacking > 0 and shortfall == "REJECT":
        raise Refusal(WouldBreakReservationsError, shortfall=lacking)
    newest_first = sorted(stock["open"].values(), key=lambda hold: -hold["version"])
    dated_first = sorted(newest_first, key=lambda hold: hold["expires_at"] is None)
    for hold in dated_first:
        if lacking > 0:
            quantity = min(lacking, hold["remaining"])
            yield released(hold, quantity, hold["remaining"] - quantity, "SHORTFALL")
            lacking -= quantity
    yield {"event": "StockAdjustedEvent", "delta": delta, **facts}


def _the_open(stock: Stock, reservation_id: str) -> Facts:
    if reservation_id in stock["open"]:
        hold: Facts = stock["open"][reservation_id]
        return hold
    ended = stock["closed"].get(reservation_id)
    if ended is None:
        raise Refusal(ReservationNotFoundError, reservation_id=reservation_id)
    if ended["outcome"] == "EXPIRED":
        raise Refusal(ReservationExpiredError, reservation_id=reservation_id, expired_at=ended["expires_at"])
    error = ReservationAlreadyCommittedError if ended["outcome"] == "COMMITTED" else ReservationAlreadyReleasedError
    raise Refusal(error, reservation_id=reservation_id)


def _up_to_remaining(hold: Facts, quantity: int | None) -> int:
    remaining: int = hold["remaining"]
    if quantity is not None and quantity > remaining:
        raise Refusal(QuantityExceedsReservationError, reservation_id=hold["reservation_id"], requested=quantity, remaining=remaining)
    return remaining if quantity is None else quantity


def _after(t: datetime, ttl: timedelta) -> datetime:
    try:
        return t + ttl
    except OverflowError:
        raise Refusal(InvalidTtlError) from None


def _refuse_overflow(on_hand: int) -> None:
    if on_hand > LARGEST:
        raise Refusal(QuantityOverflowError, name="on_hand", limit=LARGEST)


def released(hold: Facts, quantity: int, remaining: int, reason: str) -> Facts:
    """Return the event that releases units of ``hold``."""
    return {
        "event": "StockReleasedEvent",
        "reservation_id": hold["reservation_id"],
        "quantity": quantity,
        "remaining": remaining,
        "reason": reason,
    }


def _extended(hold: Facts, expires_at: datetime | None) -> Facts:
    return {
        "event": "ReservationExtendedEvent",
        "reservation_id": hold["reservation_id"],
        "previous_expires_at": hold["expires_at"],
        "expires_at": expires_at,
    }


def due_at(holds: Iterable[Facts], t: datetime) -> list[Facts]:
    """Return the reservations that are due at ``t``, in the order in which they are closed."""
    due = [hold for hold in holds if hold["expires_at"] is not None and hold["expires_at"] <= t]
    return sorted(due, key=lambda hold: (hold["expires_at"], hold["reservation_id"]))
