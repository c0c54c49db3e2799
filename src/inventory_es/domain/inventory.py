"""The aggregate: one product in one store. The rules decide the events of a command; applying events changes the state."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import ClassVar, Final, NoReturn, Self, assert_never, cast

import attrs

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
from inventory_es.domain.errors import (
    CommandExpiredError,
    CorruptStreamError,
    CountSupersededError,
    HostFunctionError,
    InsufficientStockError,
    InvalidQuantityError,
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
from inventory_es.domain.events import (
    Event,
    Recorded,
    ReservationExtendedEvent,
    StockAddedEvent,
    StockAdjustedEvent,
    StockCommittedEvent,
    StockReleasedEvent,
    StockReservedEvent,
)
from inventory_es.domain.fold import FOLDS, ContradictionError
from inventory_es.domain.identifiers import InventoryId
from inventory_es.domain.quantity import MAX_QUANTITY, StockQuantity
from inventory_es.domain.reasons import AdjustReason, Ending, ReleaseReason, Remainder, Shortfall
from inventory_es.domain.reservation_book import ClosedReservation, InventorySnapshot, OpenReservation, ReservationBook
from inventory_es.domain.stream_id import StreamId

_ZERO = timedelta(0)
_OF_NO_RESERVATION = frozenset({StockAddedEvent, StockAdjustedEvent})
_OF_POLICY = "to refuse, raise PolicyRejectedError; to agree, return None. It is called without await"


class StockView:
    """Read-only figures for a host's policies. Reservations due at ``at`` count as closed.

    Attributes:
        inventory_id: the inventory.
        at: the instant of the decision.
        version: the version of the stream before the command.
        on_hand: the units on hand.
        reserved: the units reserved, without due reservations.
        due: the reservations that the command will close as expired, by (expires_at, reservation_id).
    """

    __slots__ = ("_inventory", "at", "due", "inventory_id", "on_hand", "reserved", "version")

    def __init__(self, inventory: "Inventory", at: datetime) -> None:
        self._inventory = inventory
        self.inventory_id: InventoryId = inventory.inventory_id
        self.at: datetime = at
        self.version: int = inventory.version
        self.due: tuple[OpenReservation, ...] = inventory.due(at)
        self.on_hand: int = inventory.units_on_hand
        self.reserved: int = inventory.units_reserved
        if self.due:
            self.reserved -= sum(hold.remaining for hold in self.due)

    @property
    def unreserved(self) -> int:
        """On hand minus reserved."""
        return self.on_hand - self.reserved

    def reservation(self, reservation_id: str) -> OpenReservation | None:
        """Return the reservation of this id, if it is open and not due."""
        hold = self._inventory.reservation(reservation_id)
        return None if hold is None or hold.is_due(self.at) else hold

    def reservations(self) -> Iterator[OpenReservation]:
        """Return every reservation that is open and not due. The cost is proportional to their number."""
        return (hold for hold in self._inventory.reservations() if not hold.is_due(self.at))

    def reserved_for(self, owner_id: str) -> int:
        """Return the units that open reservations hold for one owner, without due ones."""
        return self._inventory.reserved_for(owner_id) - sum(hold.remaining for hold in self.due if hold.owner_id == owner_id)


Policy = Callable[[StockView, Command, datetime], None]
"""A host's own rule, called for each command that the aggregate would accept with at least one event, after due reservations were
closed. The policy raises :class:`~inventory_es.errors.PolicyRejectedError` to refuse the command. It must be pure. Any return value but
``None`` is a :class:`~inventory_es.errors.HostFunctionError`."""

_Undo = tuple[int, int, int, datetime | None, int, str | None, OpenReservation | None, bool, tuple[str, ClosedReservation] | None]
"""Version, on hand, reserved, last time and last count before an event; its reservation, how that was open before, whether it
closed, and the closed one that was forgotten for it. A plain tuple: one is made for every event."""


class Inventory:
    """State of one inventory, changed by :meth:`apply` alone.

    Invariants: on hand ≥ reserved ≥ 0, and reserved is the sum of the remaining units of open reservations.

    After :meth:`savepoint`, applied events can be undone with :meth:`rollback` until :meth:`settle`. Undoing an event costs as much as
    applying it, however many reservations are open.
    """

    __slots__ = ("_book", "_last_count_version", "_last_time", "_on_hand", "_reserved", "_undo", "_version", "inventory_id")

    # Each is read several times per command, so its getter is without a frame. Final makes it read-only to a type checker too.
    version: Final[int] = cast(int, property(attrgetter("_version"), doc="The number of events folded; 0 for none."))
    units_on_hand: Final[int] = cast(int, property(attrgetter("_on_hand"), doc="``on_hand`` as a plain int."))
    units_reserved: Final[int] = cast(int, property(attrgetter("_reserved"), doc="``reserved`` as a plain int."))
    open_count: Final[int] = cast(int, property(attrgetter("_book.open_count"), doc="The number of open reservations."))
    closed_count: Final[int] = cast(
        int, property(attrgetter("_book.closed_count"), doc="The number of closed reservations that are remembered, at most 10,000.")
    )
    last_time: Final[datetime | None] = cast(
        datetime, property(attrgetter("_last_time"), doc="The time of the last event; ``None`` before the first.")
    )

    def __init__(self, inventory_id: InventoryId) -> None:
        self.inventory_id: InventoryId = inventory_id
        self._version = 0
        self._on_hand = 0
        self._reserved = 0
        self._last_time: datetime | None = None
        self._last_count_version = 0
        self._book = ReservationBook()
        self._undo: list[_Undo] | None = None

    @classmethod
    def replay(cls, inventory_id: InventoryId, recorded: Iterable[Recorded]) -> Self:
        """Fold a stream's events from the first one.

        Raises:
            CorruptStreamError: the events contradict each other.
        """
        inventory = cls(inventory_id)
        for one in recorded:
            inventory.apply(one)
        return inventory

    @classmethod
    def from_snapshot(cls, snapshot: InventorySnapshot) -> Self:
        """Return the state of a snapshot, ready for the events after its version."""
        inventory = cls(snapshot.inventory_id)
        for hold in snapshot.open:
            inventory._book.put(hold.reservation_id, None, hold)
        for reservation_id, ending in snapshot.closed:
            inventory._book.close(reservation_id, ending)
        inventory._version = snapshot.version
        inventory._on_hand = snapshot.on_hand
        inventory._reserved = snapshot.reserved
        inventory._last_time = snapshot.last_time
        inventory._last_count_version = snapshot.last_count_version
        return inventory

    def snapshot(self) -> InventorySnapshot:
        """Return the whole state as one value. The cost is proportional to the number of reservations that it has."""
        return InventorySnapshot(
            inventory_id=self.inventory_id,
            version=self._version,
            on_hand=self._on_hand,
            reserved=self._reserved,
            last_time=self._last_time,
            last_count_version=self._last_count_version,
            open=tuple(sorted(self._book, key=lambda hold: hold.version)),
            closed=tuple(self._book.closed.items()),
        )

    def decide(
        self,
        command: Command,
        *,
        at: datetime,
        observed_on_hand: int | None = None,
        policies: Sequence[Policy] = (),
    ) -> tuple[Event, ...]:
        """Return the events of ``command`` at ``at``, none for a no-op. The state stays unchanged.

        Args:
            command: a command to this inventory.
            at: the time, not before the time of the last event.
            observed_on_hand: for a :class:`RecordCount`, the units on hand at its ``observed_version``; not needed if that is the
                present version.
            policies: the host's rules, called for commands that would otherwise be accepted.

        Raises:
            RejectionError: the command is not accepted.
            ValueError: a command for another inventory, a time before the last event, or a count of a later version.
        """
        if command.inventory_id is not self.inventory_id and command.inventory_id != self.inventory_id:
            msg = f"the command is for {command.inventory_id}, this is {self.inventory_id}"
            raise ValueError(msg)
        if at.tzinfo is not UTC and at.utcoffset() != _ZERO:
            msg = "the time of a decision must be an aware datetime in UTC"
            raise ValueError(msg)
        if self._last_time is not None and at < self._last_time:
            msg = f"the time of a decision must not be before the last event of {self.inventory_id}"
            raise ValueError(msg)
        if isinstance(command, ExpireReservations):
            return _expired(self, self._book.due(at, command.limit))
        book, place = self._book, (self.inventory_id.product_id, self.inventory_id.store_id)
        due, reserved = book.due(at, None), self._reserved
        if due:
            reserved -= sum(hold.remaining for hold in due)
        decision = _Decision(self, book, at, self.inventory_id.stream, place, self._on_hand, reserved)
        match command:
            case ReserveStock():
                decision.reserve(command)
            case CommitStock():
                decision.commit(command)
            case ReleaseStock():
                decision.release(command)
            case AddStock():
                decision.add(command)
            case ConfirmReservation():
                decision.confirm(command)
            case ExtendReservation():
                decision.extend(command)
            case AdjustStock():
                decision.adjust(command.delta, command.reason, command.shortfall)
            case RecordCount():
                decision.count(command, observed_on_hand)
            case _:
                assert_never(command)
        if policies and decision.own:
            view = StockView(self, at)
            for policy in policies:
                answer: object = policy(view, command, at)
                if answer is not None:
                    raise HostFunctionError.about(role="policy", function=policy, answer=answer, expected=_OF_POLICY)
        if not decision.own:
            return ()
        return (*_expired(self, due), *decision.own) if due else tuple(decision.own)

    def apply(self, recorded: tuple[Event, int, datetime]) -> None:
        """Apply the next event of the stream. No other method changes the state.

        Args:
            recorded: a :class:`Recorded`, or a plain tuple of the same.

        Raises:
            CorruptStreamError: the event can't be the next one; the state is as before.
        """
        event, version, at = recorded
        if version != self._version + 1:
            self._corrupt(version, f"expected version {self._version + 1} next")
        if at.tzinfo is not UTC and at.utcoffset() != _ZERO:
            self._corrupt(version, "its time is not an aware datetime in UTC")
        last_time, inventory_id = self._last_time, self.inventory_id
        if last_time is not None and at < last_time:
            self._corrupt(version, "time runs backwards")
        if event.product_id != inventory_id.product_id or event.store_id != inventory_id.store_id:
            self._corrupt(version, "the event belongs to another inventory")
        kind = event.__class__
        reservation_id: str | None = None if kind in _OF_NO_RESERVATION else event.reservation_id  # type: ignore[union-attr]  # the others have one
        book = self._book
        before = None if reservation_id is None else book.get(reservation_id)
        try:
            incoming, promised, hold, closed = FOLDS[kind](book, event, before, version, at)
        except ContradictionError as problem:
            self._corrupt(version, str(problem))
        on_hand, reserved = self._on_hand + incoming, self._reserved + promised
        if on_hand != event.on_hand or reserved != event.reserved:
            self._corrupt(version, f"it carries {event.on_hand}/{event.reserved} on hand/reserved, the fold gives {on_hand}/{reserved}")
        forgotten = None
        if reservation_id is not None:
            if closed is not None:
                forgotten = book.close(reservation_id, closed)
            book.put(reservation_id, before, hold)
        if self._undo is not None:
            self._undo.append(
                (
                    self._version,
                    self._on_hand,
                    self._reserved,
                    last_time,
                    self._last_count_version,
                    reservation_id,
                    before,
                    closed is not None,
                    forgotten,
                )
            )
        self._version = version
        self._on_hand = on_hand
        self._reserved = reserved
        self._last_time = at
        if kind is StockAdjustedEvent and event.reason is AdjustReason.COUNT:  # type: ignore[union-attr]  # an adjustment has one
            self._last_count_version = version

    def savepoint(self) -> int:
        """Return a savepoint for :meth:`rollback`. Events that are applied from now on can be undone."""
        if self._undo is None:
            self._undo = []
        return len(self._undo)

    def rollback(self, savepoint: int) -> None:
        """Undo every event applied since ``savepoint``."""
        undo, book = self._undo, self._book
        if undo is None or not 0 <= savepoint <= len(undo):
            msg = "no such savepoint: it was settled or rolled back"
            raise ValueError(msg)
        while len(undo) > savepoint:
            version, on_hand, reserved, last_time, last_count_version, reservation_id, hold, was_closed, forgotten = undo.pop()
            if reservation_id is not None:
                if was_closed:
                    book.reopen(reservation_id, forgotten)
                book.put(reservation_id, book.get(reservation_id), hold)
            self._version = version
            self._on_hand = on_hand
            self._reserved = reserved
            self._last_time = last_time
            self._last_count_version = last_count_version

    def settle(self) -> None:
        """Drop all savepoints, so that the applied events stand."""
        self._undo = None

    @property
    def on_hand(self) -> StockQuantity:
        """The units on hand."""
        return StockQuantity(self._on_hand)

    @property
    def reserved(self) -> StockQuantity:
        """The units that open reservations hold."""
        return StockQuantity(self._reserved)

    @property
    def unreserved(self) -> StockQuantity:
        """On hand minus reserved."""
        return StockQuantity(self._on_hand - self._reserved)

    @property
    def last_count_version(self) -> int:
        """The version of the last count's StockAdjustedEvent; 0 for none."""
        return self._last_count_version

    def reservation(self, reservation_id: str) -> OpenReservation | None:
        """Return the open reservation of this id, due or not."""
        return self._book.get(reservation_id)

    def closed(self, reservation_id: str) -> ClosedReservation | None:
        """Return the ending of this reservation, if it is among the last 10,000 endings."""
        return self._book.closed.get(reservation_id)

    def knows(self, reservation_id: str) -> bool:
        """Return True if this id was used: its reservation is open, or among the last 10,000 that ended."""
        return self._book.knows(reservation_id)

    def reservations(self) -> Iterator[OpenReservation]:
        """Return every open reservation, in no particular order."""
        return iter(self._book)

    def reserved_for(self, owner_id: str) -> int:
        """Return the units that open reservations hold for one owner, due ones included."""
        return self._book.reserved_for(owner_id)

    def due(self, at: datetime, *, limit: int | None = None) -> tuple[OpenReservation, ...]:
        """Return open reservations that are due at ``at``, by (expires_at, reservation_id): the first ``limit``, or all."""
        return self._book.due(at, limit)

    def bump_candidates(self) -> Iterator[OpenReservation]:
        """Return open reservations in the order in which a shortfall bumps them: dated before firm, newest first."""
        return self._book.bump_candidates()

    def available_at(self, at: datetime) -> StockQuantity:
        """Return the units that a reserve at ``at`` could get: unreserved units plus those of due reservations."""
        return StockQuantity(self._on_hand - self._reserved + sum(hold.remaining for hold in self.due(at)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Inventory) and self.snapshot() == other.snapshot()

    __hash__: ClassVar[None] = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        return f"<Inventory {self.inventory_id} {self._on_hand}/{self._reserved} at version {self._version}>"

    def _corrupt(self, version: int, problem: str) -> NoReturn:
        raise CorruptStreamError(stream=self.inventory_id.stream, version=version, problem=problem) from None


@attrs.define(eq=False)
class _Decision:
    """The events of one command, in order, and the balance after the events decided so far.

    Attributes:
        on_hand: the units on hand.
        reserved: the units reserved, without due reservations.
        own: the command's own events.
    """

    _inventory: Inventory
    _book: ReservationBook
    _at: datetime
    _stream: StreamId
    _place: tuple[str, str]
    on_hand: int
    reserved: int
    own: list[Event] = attrs.field(factory=list, init=False)

    def add(self, command: AddStock) -> None:
        on_hand = self.on_hand + command.quantity
        if on_hand > MAX_QUANTITY:
            raise QuantityOverflowError(name="on_hand", limit=MAX_QUANTITY)
        self.own.append(StockAddedEvent(*self._place, command.quantity, command.reason, on_hand, self.reserved))

    def reserve(self, command: ReserveStock) -> None:
        reservation_id, quantity = command.reservation_id, command.quantity
        if self._book.knows(reservation_id):
            raise ReservationIdTakenError(inventory=self._stream, reservation_id=reservation_id)
        if command.not_after is not None and self._at >= command.not_after:
            raise CommandExpiredError(inventory=self._stream, command_id=reservation_id, not_after=command.not_after)
        unreserved = self.on_hand - self.reserved
        if unreserved - quantity < command.keep_available:
            raise InsufficientStockError(
                inventory=self._stream, requested=quantity, available=unreserved, keep_available=command.keep_available
            )
        expires_at = None if command.ttl is None else _after(self._at, command.ttl)
        self.reserved += quantity
        purpose, owner_id, on_hand, reserved = command.purpose, command.owner_id, self.on_hand, self.reserved
        self.own.append(StockReservedEvent(*self._place, quantity, reservation_id, purpose, owner_id, expires_at, on_hand, reserved))

    def extend(self, command: ExtendReservation) -> None:
        hold = self._open(command.reservation_id)
        if hold.expires_at is None:
            return
        expires_at = _after(self._at, command.ttl)
        if expires_at > hold.expires_at:
            self.own.append(
                ReservationExtendedEvent(*self._place, hold.reservation_id, hold.expires_at, expires_at, self.on_hand, self.reserved)
            )

    def confirm(self, command: ConfirmReservation) -> None:
        hold = self._open(command.reservation_id)
        if hold.expires_at is not None:
            self.own.append(ReservationExtendedEvent(*self._place, hold.reservation_id, hold.expires_at, None, self.on_hand, self.reserved))

    def release(self, command: ReleaseStock) -> None:
        try:
            hold = self._open(command.reservation_id)
        except (ReservationAlreadyReleasedError, ReservationExpiredError):
            return
        quantity = self._some(hold, command.quantity)
        self._give_back(hold, quantity, command.reason, remaining=hold.remaining - quantity)

    def commit(self, command: CommitStock) -> None:
        hold = self._open(command.reservation_id)
        quantity = self._some(hold, command.quantity)
        remaining = hold.remaining - quantity
        self.on_hand -= quantity
        self.reserved -= quantity
        name, reason = hold.reservation_id, command.reason
        self.own.append(StockCommittedEvent(*self._place, quantity, name, remaining, reason, self.on_hand, self.reserved))
        if remaining and command.remainder is Remainder.RELEASE:
            self._give_back(hold, remaining, ReleaseReason.REMAINDER, remaining=0)

    def count(self, command: RecordCount, observed_on_hand: int | None) -> None:
        observed = command.observed_version
        if observed < self._inventory.last_count_version:
            raise CountSupersededError(
                inventory=self._stream, observed_version=observed, last_count_version=self._inventory.last_count_version
            )
        if observed > self._inventory.version:
            problem = f"{observed} of {self._inventory.inventory_id} is not there yet: its version is {self._inventory.version}"
            raise InvalidQuantityError(name="observed_version", problem=problem)
        if observed == self._inventory.version:
            observed_on_hand = self._inventory.units_on_hand
        if observed_on_hand is None:
            msg = f"observed_on_hand is needed: units on hand of {self._inventory.inventory_id} at version {observed}"
            raise ValueError(msg)
        delta = command.counted - observed_on_hand
        self.adjust(delta, AdjustReason.COUNT, command.shortfall, counted=command.counted, observed_version=observed)

    def adjust(
        self,
        delta: int,
        reason: AdjustReason,
        shortfall: Shortfall,
        *,
        counted: int | None = None,
        observed_version: int | None = None,
    ) -> None:
        on_hand = self.on_hand + delta
        if on_hand < 0:
            raise NegativeStockError(inventory=self._stream, on_hand=self.on_hand, delta=delta)
        if on_hand > MAX_QUANTITY:
            raise QuantityOverflowError(name="on_hand", limit=MAX_QUANTITY)
        lacking = self.reserved - on_hand
        if lacking > 0:
            if shortfall is Shortfall.REJECT:
                raise WouldBreakReservationsError(inventory=self._stream, shortfall=lacking)
            self._bump(lacking)
        self.own.append(StockAdjustedEvent(*self._place, delta, reason, counted, observed_version, on_hand, self.reserved))

    def _open(self, reservation_id: str) -> OpenReservation:
        hold = self._book.get(reservation_id)
        if hold is not None:
            if hold.expires_at is None or hold.expires_at > self._at:
                return hold
            raise ReservationExpiredError(inventory=self._stream, reservation_id=reservation_id, expired_at=hold.expires_at)
        closed = self._book.closed.get(reservation_id)
        if closed is None:
            raise ReservationNotFoundError(inventory=self._stream, reservation_id=reservation_id)
        if closed.outcome is Ending.COMMITTED:
            raise ReservationAlreadyCommittedError(inventory=self._stream, reservation_id=reservation_id)
        if closed.outcome is Ending.EXPIRED and closed.expires_at is not None:
            raise ReservationExpiredError(inventory=self._stream, reservation_id=reservation_id, expired_at=closed.expires_at)
        raise ReservationAlreadyReleasedError(inventory=self._stream, reservation_id=reservation_id)

    def _some(self, hold: OpenReservation, quantity: int | None) -> int:
        if quantity is None:
            return hold.remaining
        if quantity > hold.remaining:
            raise QuantityExceedsReservationError(
                inventory=self._stream, reservation_id=hold.reservation_id, requested=quantity, remaining=hold.remaining
            )
        return quantity

    def _give_back(self, hold: OpenReservation, quantity: int, reason: ReleaseReason, *, remaining: int) -> None:
        """Release ``quantity`` of ``hold``, so that ``remaining`` units are left."""
        self.reserved -= quantity
        self.own.append(StockReleasedEvent(*self._place, quantity, hold.reservation_id, remaining, reason, self.on_hand, self.reserved))

    def _bump(self, lacking: int) -> None:
        """Release ``lacking`` units in the bump order, the last reservation partially if that is enough."""
        candidates = (hold for hold in self._book.bump_candidates() if not hold.is_due(self._at))
        while lacking > 0:
            hold = next(candidates)
            quantity = min(lacking, hold.remaining)
            self._give_back(hold, quantity, ReleaseReason.SHORTFALL, remaining=hold.remaining - quantity)
            lacking -= quantity


def _expired(inventory: Inventory, holds: Iterable[OpenReservation]) -> tuple[Event, ...]:
    """Return the events that close ``holds``, which are the first due ones, as expired."""
    place = (inventory.inventory_id.product_id, inventory.inventory_id.store_id)
    on_hand, reserved = inventory.units_on_hand, inventory.units_reserved
    events: list[Event] = []
    for hold in holds:
        reserved -= hold.remaining
        events.append(StockReleasedEvent(*place, hold.remaining, hold.reservation_id, 0, ReleaseReason.EXPIRED, on_hand, reserved))
    return tuple(events)


def _after(at: datetime, ttl: timedelta) -> datetime:
    try:
        return at + ttl
    except OverflowError:
        raise InvalidTtlError(problem="ends beyond the calendar: choose a shorter one, or None for a firm hold") from None
