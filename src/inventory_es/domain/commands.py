"""Commands to one inventory: frozen, checked when made, and idempotent.

Every command has the id of its inventory and an id of its own. The same command id with the same payload always has the same outcome.
The id of :class:`ReserveStock` is its reservation id.

Every field is checked by a converter, which raises the error that names the field. :class:`ReserveStock` and :class:`CommitStock`, which
every sale needs, accept common values without calling a converter.
"""

from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, ClassVar, NoReturn, TypeVar, cast
from uuid import UUID

import attrs

from inventory_es.domain.errors import InvalidQuantityError, InvalidTtlError, QuantityOverflowError
from inventory_es.domain.identifiers import Id, InventoryId, identifier
from inventory_es.domain.identifiers import reference as check_reference
from inventory_es.domain.quantity import MAX_QUANTITY, StockQuantity, whole_units
from inventory_es.domain.reasons import AddReason, AdjustReason, CommitReason, Purpose, ReleaseReason, Remainder, Shortfall

Reason = TypeVar("Reason", AddReason, AdjustReason, CommitReason, Purpose, ReleaseReason, Remainder, Shortfall)

MAX_TTL = timedelta(days=36_525)
"""The longest time to live, a hundred years. A longer hold is meant to be firm (``ttl=None``)."""

_OWN_RELEASES = frozenset({ReleaseReason.EXPIRED, ReleaseReason.REMAINDER, ReleaseReason.SHORTFALL})
"""The release reasons that only the aggregate gives."""

_OWN_ADJUSTMENTS = frozenset({AdjustReason.COUNT})
"""The adjustment reasons that only a recorded count gives."""

_ZERO = timedelta(0)


def _inventory_id(value: InventoryId) -> InventoryId:
    if not isinstance(value, InventoryId):
        _no_inventory_id(value)
    return value


def _command_id(value: str | UUID) -> str:
    return identifier("command_id", value)


def _reservation_id(value: str | UUID) -> str:
    return identifier("reservation_id", value)


def check_owner_id(value: str | UUID | None) -> str | None:
    """Check an identifier of an owner, or ``None``."""
    return None if value is None else identifier("owner_id", value)


def _quantity(value: int | StockQuantity) -> int:
    return whole_units("quantity", value)


def _some_or_all(value: int | StockQuantity | None) -> int | None:
    return None if value is None else whole_units("quantity", value)


def _counted(value: int | StockQuantity) -> int:
    return whole_units("counted", value, at_least=0)


def _observed_version(value: int) -> int:
    return whole_units("observed_version", value, at_least=0)


def _limit(value: int) -> int:
    return whole_units("limit", value)


def _delta(value: int) -> int:
    if type(value) is not int:
        raise InvalidQuantityError(name="delta", problem=f"must be a whole number of units, not a {type(value).__name__}")
    if value == 0:
        raise InvalidQuantityError(name="delta", problem="must not be 0")
    if abs(value) > MAX_QUANTITY:
        raise QuantityOverflowError(name="delta", limit=MAX_QUANTITY)
    return value


def check_ttl(value: timedelta) -> timedelta:
    """Check a time to live: above zero and at most a hundred years."""
    if not isinstance(value, timedelta):
        raise InvalidTtlError(problem=f"must be a timedelta, not a {type(value).__name__}")
    if not _ZERO < value <= MAX_TTL:
        raise InvalidTtlError(problem=f"must be above zero and at most {MAX_TTL.days} days, not {value}")
    return value


def _not_after(value: datetime) -> datetime:
    if not isinstance(value, datetime) or value.utcoffset() is None:
        msg = "not_after must be an aware datetime: give it a time zone"
        raise ValueError(msg)
    return value


def _add_reason(value: AddReason | str) -> AddReason:
    return _one_of(AddReason, value)


def _adjust_reason(value: AdjustReason | str) -> AdjustReason:
    return _one_of(AdjustReason, value, refused=_OWN_ADJUSTMENTS)


def _release_reason(value: ReleaseReason | str) -> ReleaseReason:
    return _one_of(ReleaseReason, value, refused=_OWN_RELEASES)


def _shortfall(value: Shortfall | str) -> Shortfall:
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


@attrs.frozen(kw_only=True)
class _InventoryCommand:
    inventory_id: InventoryId = attrs.field(converter=_inventory_id)
    command_id: str = attrs.field(converter=_command_id)
    reference: str | None = attrs.field(default=None, converter=check_reference)


@attrs.frozen(kw_only=True)
class AddStock(_InventoryCommand):
    """Add units that came in.

    Args:
        quantity: 1 to 2^53−1.
        reason: the reason; RECEIVED by default.
    """

    quantity: int = attrs.field(converter=_quantity)
    reason: AddReason = attrs.field(default=AddReason.RECEIVED, converter=_add_reason)


@attrs.frozen(init=False, kw_only=True)
class ReserveStock:
    """Reserve units. The reservation id is the command's id.

    Args:
        reservation_id: chosen by the caller; never used again in this inventory.
        quantity: 1 to 2^53−1.
        ttl: the time to live; ``None`` for a firm hold, which never expires.
        purpose: the purpose; ORDER by default.
        owner_id: an opaque id of the owner, never a name or an address.
        keep_available: the safety stock: units that must stay available, 0 or more.
        not_after: the instant from which the command is refused, so that a delayed duplicate holds nothing.
    """

    inventory_id: InventoryId
    reservation_id: str
    quantity: int
    ttl: timedelta | None
    purpose: Purpose = Purpose.ORDER
    owner_id: str | None = None
    keep_available: int = 0
    not_after: datetime | None = None
    reference: str | None = None
    command_id: ClassVar[str] = cast(str, property(attrgetter("reservation_id"), doc="The reservation id, which is the command id too."))

    def __init__(
        self,
        *,
        inventory_id: InventoryId,
        reservation_id: Id,
        quantity: int | StockQuantity,
        ttl: timedelta | None,
        purpose: Purpose | str = Purpose.ORDER,
        owner_id: Id | None = None,
        keep_available: int | StockQuantity = 0,
        not_after: datetime | None = None,
        reference: str | None = None,
    ) -> None:
        self.__attrs_init__(
            inventory_id=inventory_id if type(inventory_id) is InventoryId else _inventory_id(inventory_id),
            reservation_id=identifier("reservation_id", reservation_id),
            quantity=quantity if type(quantity) is int and 0 < quantity <= MAX_QUANTITY else _quantity(quantity),
            ttl=ttl if ttl is None or (type(ttl) is timedelta and _ZERO < ttl <= MAX_TTL) else check_ttl(ttl),
            purpose=purpose if type(purpose) is Purpose else _one_of(Purpose, purpose),
            owner_id=None if owner_id is None else identifier("owner_id", owner_id),
            keep_available=keep_available
            if type(keep_available) is int and 0 <= keep_available <= MAX_QUANTITY
            else whole_units("keep_available", keep_available, at_least=0),
            not_after=None if not_after is None else _not_after(not_after),
            reference=None if reference is None else check_reference(reference),
        )


@attrs.frozen(kw_only=True)
class ExtendReservation(_InventoryCommand):
    """Extend a reservation until ``ttl`` from now, if that is later than before. A firm one stays firm."""

    reservation_id: str = attrs.field(converter=_reservation_id)
    ttl: timedelta = attrs.field(converter=check_ttl)


@attrs.frozen(kw_only=True)
class ConfirmReservation(_InventoryCommand):
    """Make a reservation firm, so that it never expires."""

    reservation_id: str = attrs.field(converter=_reservation_id)


@attrs.frozen(kw_only=True)
class ReleaseStock(_InventoryCommand):
    """Release reserved units.

    Args:
        reservation_id: the reservation.
        quantity: 1 up to its remaining units; ``None`` for all of them.
        reason: CANCELLED (default) or COMPENSATION.
    """

    reservation_id: str = attrs.field(converter=_reservation_id)
    quantity: int | None = attrs.field(default=None, converter=_some_or_all)
    reason: ReleaseReason = attrs.field(default=ReleaseReason.CANCELLED, converter=_release_reason)


@attrs.frozen(init=False, kw_only=True)
class CommitStock(_InventoryCommand):
    """Commit reserved units that have left.

    Args:
        reservation_id: the reservation.
        quantity: 1 up to its remaining units; ``None`` for all of them.
        remainder: KEEP (default) to keep the rest reserved, RELEASE to release it.
        reason: the reason; SOLD by default.
    """

    inventory_id: InventoryId
    command_id: str
    reference: str | None = None
    reservation_id: str
    quantity: int | None = None
    remainder: Remainder = Remainder.KEEP
    reason: CommitReason = CommitReason.SOLD

    def __init__(
        self,
        *,
        inventory_id: InventoryId,
        command_id: Id,
        reference: str | None = None,
        reservation_id: Id,
        quantity: int | StockQuantity | None = None,
        remainder: Remainder | str = Remainder.KEEP,
        reason: CommitReason | str = CommitReason.SOLD,
    ) -> None:
        self.__attrs_init__(
            inventory_id=inventory_id if type(inventory_id) is InventoryId else _inventory_id(inventory_id),
            command_id=identifier("command_id", command_id),
            reference=None if reference is None else check_reference(reference),
            reservation_id=identifier("reservation_id", reservation_id),
            quantity=None if quantity is None else _quantity(quantity),
            remainder=remainder if type(remainder) is Remainder else _one_of(Remainder, remainder),
            reason=reason if type(reason) is CommitReason else _one_of(CommitReason, reason),
        )


@attrs.frozen(kw_only=True)
class AdjustStock(_InventoryCommand):
    """Adjust the units on hand by a difference.

    Args:
        delta: units more (positive) or fewer (negative); not 0.
        reason: any reason but COUNT.
        shortfall: the rule if fewer units are left than are reserved.
    """

    delta: int = attrs.field(converter=_delta)
    reason: AdjustReason = attrs.field(converter=_adjust_reason)
    shortfall: Shortfall = attrs.field(default=Shortfall.REJECT, converter=_shortfall)


@attrs.frozen(kw_only=True)
class RecordCount(_InventoryCommand):
    """Record a count of the shelf. Movements since the counted version are taken into account.

    A count that confirms the books is recorded too, as an adjustment by 0, and supersedes older counts.

    Args:
        counted: the units on the shelf, 0 or more.
        observed_version: the stream version at the time of the count.
        shortfall: the rule if fewer units are left than are reserved.
    """

    counted: int = attrs.field(converter=_counted)
    observed_version: int = attrs.field(converter=_observed_version)
    shortfall: Shortfall = attrs.field(default=Shortfall.REJECT, converter=_shortfall)


@attrs.frozen(kw_only=True)
class ExpireReservations(_InventoryCommand):
    """Release due reservations, oldest first. A sweeper sends this command; every other command closes due reservations too.

    Args:
        limit: the most reservations to release, 1 or more.
    """

    limit: int = attrs.field(default=500, converter=_limit)


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
