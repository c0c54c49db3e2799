"""How the fields of commands are checked: one converter per kind of field, each raising the error that names it."""

from datetime import datetime, timedelta
from typing import Any, NoReturn, TypeVar
from uuid import UUID

from inventory_es.domain.errors import InvalidQuantityError, InvalidTtlError, QuantityOverflowError
from inventory_es.domain.identifiers import InventoryId, identifier
from inventory_es.domain.quantity import MAX_QUANTITY, StockQuantity, whole_units
from inventory_es.domain.reasons import AddReason, AdjustReason, CommitReason, Purpose, ReleaseReason, Remainder, Shortfall

Reason = TypeVar("Reason", AddReason, AdjustReason, CommitReason, Purpose, ReleaseReason, Remainder, Shortfall)

MAX_TTL = timedelta(days=36_525)
"""A hundred years: beyond it a hold is meant to be firm (``ttl=None``)."""

OWN_RELEASES = frozenset({ReleaseReason.EXPIRED, ReleaseReason.REMAINDER, ReleaseReason.SHORTFALL})
"""Release reasons that only the aggregate itself gives."""

OWN_ADJUSTMENTS = frozenset({AdjustReason.COUNT})
"""Adjustment reasons that only a recorded count gives."""

_ZERO = timedelta(0)


def inventory_id(value: InventoryId) -> InventoryId:
    """An :class:`InventoryId`, else ``TypeError``."""
    if not isinstance(value, InventoryId):
        _no_inventory_id(value)
    return value


def command_id(value: str | UUID) -> str:
    """An identifier of a command."""
    return identifier("command_id", value)


def reservation_id(value: str | UUID) -> str:
    """An identifier of a reservation."""
    return identifier("reservation_id", value)


def owner_id(value: str | UUID | None) -> str | None:
    """An identifier of an owner, or ``None``."""
    return None if value is None else identifier("owner_id", value)


def quantity(value: int | StockQuantity) -> int:
    """1 to 2^53−1 units."""
    return whole_units("quantity", value)


def some_or_all(value: int | StockQuantity | None) -> int | None:
    """1 to 2^53−1 units, or ``None`` for all."""
    return None if value is None else whole_units("quantity", value)


def keep_available(value: int | StockQuantity) -> int:
    """0 to 2^53−1 units."""
    return whole_units("keep_available", value, at_least=0)


def counted(value: int | StockQuantity) -> int:
    """0 to 2^53−1 units."""
    return whole_units("counted", value, at_least=0)


def observed_version(value: int) -> int:
    """A stream version, 0 or more."""
    return whole_units("observed_version", value, at_least=0)


def limit(value: int) -> int:
    """How many, 1 or more."""
    return whole_units("limit", value)


def delta(value: int) -> int:
    """A difference in units, not 0."""
    if type(value) is not int:
        raise InvalidQuantityError(name="delta", problem=f"must be a whole number of units, not a {type(value).__name__}")
    if value == 0:
        raise InvalidQuantityError(name="delta", problem="must not be 0")
    if abs(value) > MAX_QUANTITY:
        raise QuantityOverflowError(name="delta", limit=MAX_QUANTITY)
    return value


def ttl(value: timedelta) -> timedelta:
    """A time to live, above zero and at most a hundred years."""
    if type(value) is timedelta and _ZERO < value <= MAX_TTL:
        return value
    if not isinstance(value, timedelta):
        raise InvalidTtlError(problem=f"must be a timedelta, not a {type(value).__name__}")
    if not _ZERO < value <= MAX_TTL:
        raise InvalidTtlError(problem=f"must be above zero and at most {MAX_TTL.days} days, not {value}")
    return value


def not_after(value: datetime) -> datetime:
    """An aware instant."""
    if not isinstance(value, datetime) or value.utcoffset() is None:
        msg = "not_after must be an aware datetime: give it a time zone"
        raise ValueError(msg)
    return value


def add_reason(value: AddReason | str) -> AddReason:
    """One of :class:`AddReason`."""
    return _one_of(AddReason, value)


def adjust_reason(value: AdjustReason | str) -> AdjustReason:
    """One of :class:`AdjustReason` but COUNT."""
    return _one_of(AdjustReason, value, refused=OWN_ADJUSTMENTS)


def commit_reason(value: CommitReason | str) -> CommitReason:
    """One of :class:`CommitReason`."""
    return _one_of(CommitReason, value)


def release_reason(value: ReleaseReason | str) -> ReleaseReason:
    """CANCELLED or COMPENSATION."""
    return _one_of(ReleaseReason, value, refused=OWN_RELEASES)


def purpose(value: Purpose | str) -> Purpose:
    """One of :class:`Purpose`."""
    return _one_of(Purpose, value)


def remainder(value: Remainder | str) -> Remainder:
    """One of :class:`Remainder`."""
    return _one_of(Remainder, value)


def shortfall(value: Shortfall | str) -> Shortfall:
    """One of :class:`Shortfall`."""
    return _one_of(Shortfall, value)


def _no_inventory_id(value: object) -> NoReturn:
    msg = f"inventory_id must be an InventoryId, not a {type(value).__name__}"
    raise TypeError(msg)


def _one_of(kind: type[Reason], value: object, *, refused: frozenset[Any] = frozenset()) -> Reason:
    if type(value) is kind and not (refused and value in refused):
        return value
    for member in kind:
        if member.value == value and member not in refused:
            return member
    legal = ", ".join(member.value for member in kind if member not in refused)
    msg = f"{kind.__name__} must be one of {legal}"
    raise ValueError(msg)
