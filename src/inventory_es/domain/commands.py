"""Commands: what a caller asks of one inventory. Frozen, checked when made.

Every command names its inventory and itself. The command id makes it repeatable for ever: the same id with the same payload
has the same outcome, whenever it is sent. The id of :class:`ReserveStock` is its reservation id.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, TypeVar

import attrs

from inventory_es.domain.identifiers import InventoryId, identifier, reference
from inventory_es.domain.quantity import MAX_QUANTITY, whole_units
from inventory_es.domain.reasons import AddReason, AdjustReason, CommitReason, Purpose, ReleaseReason, Remainder, Shortfall
from inventory_es.domain.rejections import InvalidQuantityError, InvalidTtlError, QuantityOverflowError

E = TypeVar("E", bound=Enum)

MAX_TTL = timedelta(days=36_525)
"""A hundred years: beyond it a hold is meant to be firm (``ttl=None``)."""

OWN_RELEASES = frozenset({ReleaseReason.EXPIRED, ReleaseReason.REMAINDER, ReleaseReason.SHORTFALL})
"""Release reasons that only the aggregate itself gives."""

_ZERO = timedelta(0)


def _inventory(value: object) -> InventoryId:
    if not isinstance(value, InventoryId):
        msg = f"inventory_id must be an InventoryId, not a {type(value).__name__}"
        raise TypeError(msg)
    return value


def _units(name: str, *, at_least: int = 1) -> Callable[[object], int]:
    return lambda value: whole_units(name, value, at_least=at_least)


def _some_or_all(value: object) -> int | None:
    return None if value is None else whole_units("quantity", value)


def _identifier(name: str) -> Callable[[object], str]:
    return lambda value: identifier(name, value)


def _one_of(kind: type[E], *, refused: frozenset[E] = frozenset()) -> Callable[[object], E]:
    def convert(value: object) -> E:
        try:
            member = kind(value)
        except ValueError:
            member = None
        if member is None or member in refused:
            legal = ", ".join(m.value for m in kind if m not in refused)
            msg = f"{kind.__name__} must be one of {legal}"
            raise ValueError(msg)
        return member

    return convert


def check_ttl(value: object) -> timedelta:
    """Check a time to live.

    Raises:
        InvalidTtlError: no ``timedelta``, not above zero, or above a hundred years.
    """
    if not isinstance(value, timedelta):
        raise InvalidTtlError(problem=f"must be a timedelta, not a {type(value).__name__}")
    if not _ZERO < value <= MAX_TTL:
        raise InvalidTtlError(problem=f"must be above zero and at most {MAX_TTL.days} days, not {value}")
    return value


def _optional_ttl(value: object) -> timedelta | None:
    return None if value is None else check_ttl(value)


def _optional_id(value: object) -> str | None:
    return None if value is None else identifier("owner_id", value)


def _optional_instant(value: object) -> datetime | None:
    if value is not None and (not isinstance(value, datetime) or value.utcoffset() is None):
        msg = "not_after must be an aware datetime: give it a time zone"
        raise ValueError(msg)
    return value


def _delta(value: object) -> int:
    if type(value) is not int:
        raise InvalidQuantityError(name="delta", problem=f"must be a whole number of units, not a {type(value).__name__}")
    if value == 0:
        raise InvalidQuantityError(name="delta", problem="must not be 0")
    if abs(value) > MAX_QUANTITY:
        raise QuantityOverflowError(name="delta", limit=MAX_QUANTITY)
    return value


@attrs.frozen(kw_only=True)
class _InventoryCommand:
    inventory_id: InventoryId = attrs.field(converter=_inventory)
    command_id: str = attrs.field(converter=_identifier("command_id"))
    reference: str | None = attrs.field(default=None, converter=reference)


@attrs.frozen(kw_only=True)
class AddStock(_InventoryCommand):
    """Units came in.

    Args:
        quantity: 1 to 2^53−1.
        reason: why; RECEIVED by default.
    """

    quantity: int = attrs.field(converter=_units("quantity"))
    reason: AddReason = attrs.field(default=AddReason.RECEIVED, converter=_one_of(AddReason))


@attrs.frozen(kw_only=True)
class ReserveStock:
    """Promise units to somebody. The reservation id is the command's id.

    Args:
        reservation_id: chosen by the caller, used once in this inventory, for ever.
        quantity: 1 to 2^53−1.
        ttl: how long the promise holds; ``None`` for a firm hold that never expires.
        purpose: what for; ORDER by default.
        owner_id: for whom, an opaque id, never a name or an address.
        keep_available: units that must stay free after it, 0 or more: safety stock.
        not_after: refuse the command at or after this instant, so that a delayed duplicate holds nothing.
    """

    inventory_id: InventoryId = attrs.field(converter=_inventory)
    reservation_id: str = attrs.field(converter=_identifier("reservation_id"))
    quantity: int = attrs.field(converter=_units("quantity"))
    ttl: timedelta | None = attrs.field(converter=_optional_ttl)
    purpose: Purpose = attrs.field(default=Purpose.ORDER, converter=_one_of(Purpose))
    owner_id: str | None = attrs.field(default=None, converter=_optional_id)
    keep_available: int = attrs.field(default=0, converter=_units("keep_available", at_least=0))
    not_after: datetime | None = attrs.field(default=None, converter=_optional_instant)
    reference: str | None = attrs.field(default=None, converter=reference)

    @property
    def command_id(self) -> str:
        """The reservation id: it names the command too."""
        return self.reservation_id


@attrs.frozen(kw_only=True)
class ExtendReservation(_InventoryCommand):
    """Hold a reservation until ``ttl`` from now, if that is later than before. A firm one stays firm."""

    reservation_id: str = attrs.field(converter=_identifier("reservation_id"))
    ttl: timedelta = attrs.field(converter=check_ttl)


@attrs.frozen(kw_only=True)
class ConfirmReservation(_InventoryCommand):
    """Make a reservation firm: it never expires from now on."""

    reservation_id: str = attrs.field(converter=_identifier("reservation_id"))


@attrs.frozen(kw_only=True)
class ReleaseStock(_InventoryCommand):
    """Give reserved units back.

    Args:
        reservation_id: of which reservation.
        quantity: 1 up to what it still holds; ``None`` for all of that.
        reason: CANCELLED (default) or COMPENSATION.
    """

    reservation_id: str = attrs.field(converter=_identifier("reservation_id"))
    quantity: int | None = attrs.field(default=None, converter=_some_or_all)
    reason: ReleaseReason = attrs.field(default=ReleaseReason.CANCELLED, converter=_one_of(ReleaseReason, refused=OWN_RELEASES))


@attrs.frozen(kw_only=True)
class CommitStock(_InventoryCommand):
    """Reserved units have left.

    Args:
        reservation_id: of which reservation.
        quantity: 1 up to what it still holds; ``None`` for all of that.
        remainder: whether the rest stays reserved (KEEP, default) or is released.
        reason: why; SOLD by default.
    """

    reservation_id: str = attrs.field(converter=_identifier("reservation_id"))
    quantity: int | None = attrs.field(default=None, converter=_some_or_all)
    remainder: Remainder = attrs.field(default=Remainder.KEEP, converter=_one_of(Remainder))
    reason: CommitReason = attrs.field(default=CommitReason.SOLD, converter=_one_of(CommitReason))


@attrs.frozen(kw_only=True)
class AdjustStock(_InventoryCommand):
    """Correct the books by a difference.

    Args:
        delta: units more (positive) or fewer (negative); not 0.
        reason: why, any but COUNT.
        shortfall: what to do when fewer are left than are promised.
    """

    delta: int = attrs.field(converter=_delta)
    reason: AdjustReason = attrs.field(converter=_one_of(AdjustReason, refused=frozenset({AdjustReason.COUNT})))
    shortfall: Shortfall = attrs.field(default=Shortfall.REJECT, converter=_one_of(Shortfall))


@attrs.frozen(kw_only=True)
class RecordCount(_InventoryCommand):
    """Somebody counted the shelf. What moved since the counter looked is taken into account.

    Args:
        counted: units on the shelf, 0 or more.
        observed_version: the stream version that the counter's sheet was printed from.
        shortfall: what to do when fewer are left than are promised.
    """

    counted: int = attrs.field(converter=_units("counted", at_least=0))
    observed_version: int = attrs.field(converter=_units("observed_version", at_least=0))
    shortfall: Shortfall = attrs.field(default=Shortfall.REJECT, converter=_one_of(Shortfall))


@attrs.frozen(kw_only=True)
class ExpireReservations(_InventoryCommand):
    """Release what is due, oldest first. A sweeper sends this; every other command closes what is due anyway.

    Args:
        limit: the most reservations to release, 1 or more.
    """

    limit: int = attrs.field(default=500, converter=_units("limit"))


Command = (
    AddStock
    | ReserveStock
    | ExtendReservation
    | ConfirmReservation
    | ReleaseStock
    | CommitStock
    | AdjustStock
    | RecordCount
    | ExpireReservations
)
"""Any command of an inventory."""
