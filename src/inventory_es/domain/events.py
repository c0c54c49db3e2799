"""Events of one inventory. The class name is the stored name; the fields are the stored form and never change meaning.

Every event carries the balance after it (``on_hand``, ``reserved``). So a read model needs only the newest event, and a fold
can verify each.
"""

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, get_args

import attrs

from inventory_es.domain.quantity import MAX_QUANTITY
from inventory_es.domain.reasons import AddReason, AdjustReason, CommitReason, Purpose, ReleaseReason

_ZERO = timedelta(0)
_DELTA_RULE = "a whole number within ±2^53−1 other than 0, or 0 with the reason COUNT"


@attrs.frozen
class StockAddedEvent:
    """Units came in: on hand rises by ``quantity`` (1 or more)."""

    product_id: str
    store_id: str
    quantity: int
    reason: AddReason
    on_hand: int
    reserved: int

    def __attrs_post_init__(self) -> None:
        _check_figures(self, self.quantity)


@attrs.frozen
class StockReservedEvent:
    """Units were reserved: reserved rises by ``quantity`` (1 or more) until ``expires_at`` (``None``: firm)."""

    product_id: str
    store_id: str
    quantity: int
    reservation_id: str
    purpose: Purpose
    owner_id: str | None
    expires_at: datetime | None
    on_hand: int
    reserved: int

    def __attrs_post_init__(self) -> None:
        expires_at = self.expires_at
        if expires_at is not None and (type(expires_at) is not datetime or expires_at.tzinfo is not UTC):
            _check_instant(expires_at, "expires_at")
        _check_figures(self, self.quantity)


@attrs.frozen
class ReservationExtendedEvent:
    """A reservation was extended until ``expires_at``, later than before, or made firm (``None``)."""

    product_id: str
    store_id: str
    reservation_id: str
    previous_expires_at: datetime
    expires_at: datetime | None
    on_hand: int
    reserved: int

    def __attrs_post_init__(self) -> None:
        _check_instant(self.previous_expires_at, "previous_expires_at")
        if self.expires_at is not None:
            _check_instant(self.expires_at, "expires_at")
        _check_figures(self)


@attrs.frozen
class StockReleasedEvent:
    """Reserved units were released: reserved falls by ``quantity`` (1 or more), and the reservation still holds ``remaining``."""

    product_id: str
    store_id: str
    quantity: int
    reservation_id: str
    remaining: int
    reason: ReleaseReason
    on_hand: int
    reserved: int

    def __attrs_post_init__(self) -> None:
        _check(self.remaining, "remaining")
        _check_figures(self, self.quantity)


@attrs.frozen
class StockCommittedEvent:
    """Reserved units left: on hand and reserved fall by ``quantity`` (1 or more), and the reservation still holds ``remaining``."""

    product_id: str
    store_id: str
    quantity: int
    reservation_id: str
    remaining: int
    reason: CommitReason
    on_hand: int
    reserved: int

    def __attrs_post_init__(self) -> None:
        _check(self.remaining, "remaining")
        _check_figures(self, self.quantity)


@attrs.frozen
class StockAdjustedEvent:
    """Units on hand were adjusted by ``delta``. A count that confirmed the books has a ``delta`` of 0 and the reason COUNT.

    An adjustment after a count has ``counted`` and ``observed_version``.
    """

    product_id: str
    store_id: str
    delta: int
    reason: AdjustReason
    counted: int | None
    observed_version: int | None
    on_hand: int
    reserved: int

    def __attrs_post_init__(self) -> None:
        if type(self.delta) is not int or not -MAX_QUANTITY <= self.delta <= MAX_QUANTITY:
            _refuse("delta", _DELTA_RULE)
        if self.delta == 0 and self.reason is not AdjustReason.COUNT:
            _refuse("delta", _DELTA_RULE)
        if self.counted is not None:
            _check(self.counted, "counted")
        if self.observed_version is not None:
            _check(self.observed_version, "observed_version")
        _check_figures(self)


Event = StockAddedEvent | StockReservedEvent | ReservationExtendedEvent | StockReleasedEvent | StockCommittedEvent | StockAdjustedEvent
"""Any event of an inventory."""

EVENT_TYPES: tuple[type[Any], ...] = get_args(Event)
"""Every event class, in the order of the documentation."""


def _check(value: int, name: str) -> None:
    if type(value) is not int or not 0 <= value <= MAX_QUANTITY:
        _refuse(name, "a whole number from 0 to 2^53−1")


def _check_figures(event: Any, quantity: int = 1) -> None:
    on_hand, reserved = event.on_hand, event.reserved
    if type(quantity) is not int or not 1 <= quantity <= MAX_QUANTITY:
        _refuse("quantity", "a whole number from 1 to 2^53−1")
    if type(on_hand) is not int or type(reserved) is not int or not 0 <= reserved <= on_hand <= MAX_QUANTITY:
        _refuse("the balance", "on_hand ≥ reserved ≥ 0, whole numbers up to 2^53−1")


def _check_instant(value: datetime | None, name: str) -> None:
    if not isinstance(value, datetime) or value.utcoffset() != _ZERO:
        _refuse(name, "an aware datetime in UTC")


def _refuse(name: str, rule: str) -> None:
    msg = f"{name} of an event must be {rule}"
    raise ValueError(msg)


class Recorded(NamedTuple):
    """A domain event with its version and its time."""

    event: Event
    version: int
    recorded_at: datetime
