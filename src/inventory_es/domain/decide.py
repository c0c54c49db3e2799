"""Deciders: what each command does to an inventory. Pure: they read, and return events or raise a rejection."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, assert_never

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
from inventory_es.domain.draft import Draft, expired
from inventory_es.domain.errors import HostFunctionError
from inventory_es.domain.events import (
    Event,
    ReservationExtendedEvent,
    StockAddedEvent,
    StockAdjustedEvent,
    StockCommittedEvent,
    StockReservedEvent,
)
from inventory_es.domain.quantity import MAX_QUANTITY
from inventory_es.domain.reasons import AdjustReason, Outcome, ReleaseReason, Remainder, Shortfall
from inventory_es.domain.rejections import (
    CommandExpiredError,
    CountSupersededError,
    InsufficientStockError,
    InvalidTtlError,
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
from inventory_es.domain.reservation import OpenReservation
from inventory_es.domain.stock_view import StockView

if TYPE_CHECKING:
    from inventory_es.domain.inventory import Inventory

_ZERO = timedelta(0)

_OF_POLICY = "to refuse, raise PolicyRejectedError; to agree, return None. It is called without await"

Policy = Callable[[StockView, Command, datetime], None]
"""A host's own rule. It is asked, after what is due was closed, about a command that the aggregate would accept with at least
one event, and raises :class:`~inventory_es.errors.PolicyRejectedError` to refuse it. It must be pure. Anything that it returns but
``None`` is a :class:`~inventory_es.errors.HostFunctionError`."""


def decide(
    inventory: "Inventory", command: Command, at: datetime, observed_on_hand: int | None, policies: Sequence[Policy]
) -> tuple[Event, ...]:
    """See :meth:`Inventory.decide`."""
    if command.inventory_id is not inventory.inventory_id and command.inventory_id != inventory.inventory_id:
        msg = f"the command is for {command.inventory_id}, this is {inventory.inventory_id}"
        raise ValueError(msg)
    if at.tzinfo is not UTC and at.utcoffset() != _ZERO:
        msg = "the time of a decision must be an aware datetime in UTC"
        raise ValueError(msg)
    last_time = inventory.last_time
    if last_time is not None and at < last_time:
        msg = f"the time of a decision must not be before the last event of {inventory.inventory_id}"
        raise ValueError(msg)
    if isinstance(command, ExpireReservations):
        return expired(inventory, inventory.due(at, limit=command.limit))
    draft = Draft(inventory, at)
    match command:
        case ReserveStock():
            _reserve(inventory, draft, command)
        case CommitStock():
            _commit(inventory, draft, command)
        case ReleaseStock():
            _release(inventory, draft, command)
        case AddStock():
            _add(draft, command)
        case ConfirmReservation():
            _confirm(inventory, draft, command)
        case ExtendReservation():
            _extend(inventory, draft, command)
        case AdjustStock():
            _adjust(inventory, draft, command.delta, command.reason, command.shortfall)
        case RecordCount():
            _count(inventory, draft, command, observed_on_hand)
        case _:
            assert_never(command)
    if policies and draft.own:
        view = StockView(inventory, at)
        for policy in policies:
            answer: object = policy(view, command, at)
            if answer is not None:
                raise HostFunctionError.about(role="policy", function=policy, answer=answer, expected=_OF_POLICY)
    return draft.events if draft.own else ()


def _add(draft: Draft, command: AddStock) -> None:
    on_hand = draft.on_hand + command.quantity
    if on_hand > MAX_QUANTITY:
        raise QuantityOverflowError(name="on_hand", limit=MAX_QUANTITY)
    draft.own.append(StockAddedEvent(*draft.place, command.quantity, command.reason, on_hand, draft.reserved))


def _reserve(inventory: "Inventory", draft: Draft, command: ReserveStock) -> None:
    reservation_id, quantity = command.reservation_id, command.quantity
    if inventory.knows(reservation_id):
        raise ReservationIdTakenError(inventory=inventory.inventory_id.stream, reservation_id=reservation_id)
    if command.not_after is not None and draft.at >= command.not_after:
        raise CommandExpiredError(inventory=inventory.inventory_id.stream, command_id=reservation_id, not_after=command.not_after)
    unreserved = draft.on_hand - draft.reserved
    if unreserved - quantity < command.keep_available:
        raise InsufficientStockError(
            inventory=inventory.inventory_id.stream,
            requested=quantity,
            available=unreserved,
            keep_available=command.keep_available,
        )
    expires_at = None if command.ttl is None else _after(draft.at, command.ttl)
    draft.reserved += quantity
    product_id, store_id = draft.place
    on_hand, reserved = draft.on_hand, draft.reserved
    draft.own.append(
        StockReservedEvent(product_id, store_id, quantity, reservation_id, command.purpose, command.owner_id, expires_at, on_hand, reserved)
    )


def _extend(inventory: "Inventory", draft: Draft, command: ExtendReservation) -> None:
    hold = _open(inventory, draft.at, command.reservation_id)
    if hold.expires_at is None:
        return
    expires_at = _after(draft.at, command.ttl)
    if expires_at > hold.expires_at:
        draft.own.append(
            ReservationExtendedEvent(*draft.place, hold.reservation_id, hold.expires_at, expires_at, draft.on_hand, draft.reserved)
        )


def _confirm(inventory: "Inventory", draft: Draft, command: ConfirmReservation) -> None:
    hold = _open(inventory, draft.at, command.reservation_id)
    if hold.expires_at is not None:
        draft.own.append(ReservationExtendedEvent(*draft.place, hold.reservation_id, hold.expires_at, None, draft.on_hand, draft.reserved))


def _release(inventory: "Inventory", draft: Draft, command: ReleaseStock) -> None:
    try:
        hold = _open(inventory, draft.at, command.reservation_id)
    except (ReservationAlreadyReleasedError, ReservationExpiredError):
        return
    quantity = _some(hold, command.quantity, inventory)
    draft.release(hold, quantity, command.reason, remaining=hold.remaining - quantity)


def _commit(inventory: "Inventory", draft: Draft, command: CommitStock) -> None:
    hold = _open(inventory, draft.at, command.reservation_id)
    quantity = _some(hold, command.quantity, inventory)
    remaining = hold.remaining - quantity
    draft.on_hand -= quantity
    draft.reserved -= quantity
    product_id, store_id = draft.place
    on_hand, reserved = draft.on_hand, draft.reserved
    draft.own.append(StockCommittedEvent(product_id, store_id, quantity, hold.reservation_id, remaining, command.reason, on_hand, reserved))
    if remaining and command.remainder is Remainder.RELEASE:
        draft.release(hold, remaining, ReleaseReason.REMAINDER, remaining=0)


def _count(inventory: "Inventory", draft: Draft, command: RecordCount, observed_on_hand: int | None) -> None:
    observed = command.observed_version
    if observed < inventory.last_count_version:
        raise CountSupersededError(
            inventory=inventory.inventory_id.stream, observed_version=observed, last_count_version=inventory.last_count_version
        )
    if observed > inventory.version:
        msg = f"observed_version {observed} of {inventory.inventory_id} is not there yet: its version is {inventory.version}"
        raise ValueError(msg)
    if observed == inventory.version:
        observed_on_hand = inventory.units_on_hand
    if observed_on_hand is None:
        msg = f"observed_on_hand is needed: units on hand of {inventory.inventory_id} at version {observed}"
        raise ValueError(msg)
    delta = command.counted - observed_on_hand
    _adjust(inventory, draft, delta, AdjustReason.COUNT, command.shortfall, counted=command.counted, observed_version=observed)


def _adjust(
    inventory: "Inventory",
    draft: Draft,
    delta: int,
    reason: AdjustReason,
    shortfall: Shortfall,
    *,
    counted: int | None = None,
    observed_version: int | None = None,
) -> None:
    on_hand = draft.on_hand + delta
    if on_hand < 0:
        raise NegativeStockError(inventory=inventory.inventory_id.stream, on_hand=draft.on_hand, delta=delta)
    if on_hand > MAX_QUANTITY:
        raise QuantityOverflowError(name="on_hand", limit=MAX_QUANTITY)
    lacking = draft.reserved - on_hand
    if lacking > 0:
        if shortfall is Shortfall.REJECT:
            raise WouldBreakReservationsError(inventory=inventory.inventory_id.stream, shortfall=lacking)
        draft.bump(inventory.bump_candidates(), lacking)
    draft.own.append(StockAdjustedEvent(*draft.place, delta, reason, counted, observed_version, on_hand, draft.reserved))


def _open(inventory: "Inventory", at: datetime, reservation_id: str) -> OpenReservation:
    hold = inventory.reservation(reservation_id)
    if hold is not None:
        if hold.expires_at is None or hold.expires_at > at:
            return hold
        raise ReservationExpiredError(inventory=inventory.inventory_id.stream, reservation_id=reservation_id, expired_at=hold.expires_at)
    stream = inventory.inventory_id.stream
    closed = inventory.closed(reservation_id)
    if closed is None:
        raise ReservationNotFoundError(inventory=stream, reservation_id=reservation_id)
    if closed.outcome is Outcome.COMMITTED:
        raise ReservationAlreadyCommittedError(inventory=stream, reservation_id=reservation_id)
    if closed.outcome is Outcome.EXPIRED and closed.expires_at is not None:
        raise ReservationExpiredError(inventory=stream, reservation_id=reservation_id, expired_at=closed.expires_at)
    raise ReservationAlreadyReleasedError(inventory=stream, reservation_id=reservation_id)


def _some(hold: OpenReservation, quantity: int | None, inventory: "Inventory") -> int:
    if quantity is None:
        return hold.remaining
    if quantity > hold.remaining:
        raise QuantityExceedsReservationError(
            inventory=inventory.inventory_id.stream,
            reservation_id=hold.reservation_id,
            requested=quantity,
            remaining=hold.remaining,
        )
    return quantity


def _after(at: datetime, ttl: timedelta) -> datetime:
    try:
        return at + ttl
    except OverflowError:
        raise InvalidTtlError(problem="ends beyond the calendar: choose a shorter one, or None for a firm hold") from None
