"""Commands: what a caller asks of one inventory. Frozen, checked when made.

Every command names its inventory and itself. The command id makes it repeatable for ever: the same id with the same payload
has the same outcome, whenever it is sent. The id of :class:`ReserveStock` is its reservation id.

The two of every sale, :class:`ReserveStock` and :class:`CommitStock`, take what is good at first sight as it is; a check is called
for the rest alone, to convert it or to say what is wrong with it. Every other command has each field checked by its converter.
"""

from datetime import datetime, timedelta

import attrs

from inventory_es.domain import command_fields as check
from inventory_es.domain.identifiers import Id, InventoryId, identifier
from inventory_es.domain.identifiers import reference as check_reference
from inventory_es.domain.quantity import MAX_QUANTITY, StockQuantity
from inventory_es.domain.reasons import AddReason, AdjustReason, CommitReason, Purpose, ReleaseReason, Remainder, Shortfall


@attrs.frozen(kw_only=True)
class _InventoryCommand:
    inventory_id: InventoryId = attrs.field(converter=check.inventory_id)
    command_id: str = attrs.field(converter=check.command_id)
    reference: str | None = attrs.field(default=None, converter=check_reference)


@attrs.frozen(kw_only=True)
class AddStock(_InventoryCommand):
    """Units came in.

    Args:
        quantity: 1 to 2^53−1.
        reason: why; RECEIVED by default.
    """

    quantity: int = attrs.field(converter=check.quantity)
    reason: AddReason = attrs.field(default=AddReason.RECEIVED, converter=check.add_reason)


@attrs.frozen(init=False, kw_only=True)
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

    inventory_id: InventoryId
    reservation_id: str
    quantity: int
    ttl: timedelta | None
    purpose: Purpose = Purpose.ORDER
    owner_id: str | None = None
    keep_available: int = 0
    not_after: datetime | None = None
    reference: str | None = None

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
            inventory_id=inventory_id if type(inventory_id) is InventoryId else check.inventory_id(inventory_id),
            reservation_id=identifier("reservation_id", reservation_id),
            quantity=quantity if type(quantity) is int and 0 < quantity <= MAX_QUANTITY else check.quantity(quantity),
            ttl=None if ttl is None else check.ttl(ttl),
            purpose=purpose if type(purpose) is Purpose else check.purpose(purpose),
            owner_id=None if owner_id is None else identifier("owner_id", owner_id),
            keep_available=keep_available
            if type(keep_available) is int and 0 <= keep_available <= MAX_QUANTITY
            else check.keep_available(keep_available),
            not_after=None if not_after is None else check.not_after(not_after),
            reference=None if reference is None else check_reference(reference),
        )

    @property
    def command_id(self) -> str:
        """The reservation id: it names the command too."""
        return self.reservation_id


@attrs.frozen(kw_only=True)
class ExtendReservation(_InventoryCommand):
    """Hold a reservation until ``ttl`` from now, if that is later than before. A firm one stays firm."""

    reservation_id: str = attrs.field(converter=check.reservation_id)
    ttl: timedelta = attrs.field(converter=check.ttl)


@attrs.frozen(kw_only=True)
class ConfirmReservation(_InventoryCommand):
    """Make a reservation firm: it never expires from now on."""

    reservation_id: str = attrs.field(converter=check.reservation_id)


@attrs.frozen(kw_only=True)
class ReleaseStock(_InventoryCommand):
    """Give reserved units back.

    Args:
        reservation_id: of which reservation.
        quantity: 1 up to what it still holds; ``None`` for all of that.
        reason: CANCELLED (default) or COMPENSATION.
    """

    reservation_id: str = attrs.field(converter=check.reservation_id)
    quantity: int | None = attrs.field(default=None, converter=check.some_or_all)
    reason: ReleaseReason = attrs.field(default=ReleaseReason.CANCELLED, converter=check.release_reason)


@attrs.frozen(init=False, kw_only=True)
class CommitStock(_InventoryCommand):
    """Reserved units have left.

    Args:
        reservation_id: of which reservation.
        quantity: 1 up to what it still holds; ``None`` for all of that.
        remainder: whether the rest stays reserved (KEEP, default) or is released.
        reason: why; SOLD by default.
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
            inventory_id=inventory_id if type(inventory_id) is InventoryId else check.inventory_id(inventory_id),
            command_id=identifier("command_id", command_id),
            reference=None if reference is None else check_reference(reference),
            reservation_id=identifier("reservation_id", reservation_id),
            quantity=None if quantity is None else check.quantity(quantity),
            remainder=remainder if type(remainder) is Remainder else check.remainder(remainder),
            reason=reason if type(reason) is CommitReason else check.commit_reason(reason),
        )


@attrs.frozen(kw_only=True)
class AdjustStock(_InventoryCommand):
    """Correct the books by a difference.

    Args:
        delta: units more (positive) or fewer (negative); not 0.
        reason: why, any but COUNT.
        shortfall: what to do when fewer are left than are promised.
    """

    delta: int = attrs.field(converter=check.delta)
    reason: AdjustReason = attrs.field(converter=check.adjust_reason)
    shortfall: Shortfall = attrs.field(default=Shortfall.REJECT, converter=check.shortfall)


@attrs.frozen(kw_only=True)
class RecordCount(_InventoryCommand):
    """Somebody counted the shelf. What moved since the counter looked is taken into account.

    A count that confirms the books is recorded too, as an adjustment by 0: it supersedes older counts.

    Args:
        counted: units on the shelf, 0 or more.
        observed_version: the stream version that the counter's sheet was printed from.
        shortfall: what to do when fewer are left than are promised.
    """

    counted: int = attrs.field(converter=check.counted)
    observed_version: int = attrs.field(converter=check.observed_version)
    shortfall: Shortfall = attrs.field(default=Shortfall.REJECT, converter=check.shortfall)


@attrs.frozen(kw_only=True)
class ExpireReservations(_InventoryCommand):
    """Release what is due, oldest first. A sweeper sends this; every other command closes what is due anyway.

    Args:
        limit: the most reservations to release, 1 or more.
    """

    limit: int = attrs.field(default=500, converter=check.limit)


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
