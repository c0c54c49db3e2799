"""The aggregate: one product in one store."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import ClassVar, NoReturn, Self

from inventory_es.domain.commands import Command
from inventory_es.domain.decide import Policy, decide
from inventory_es.domain.errors import CorruptStreamError
from inventory_es.domain.events import Event, StockAddedEvent, StockAdjustedEvent
from inventory_es.domain.fold import FOLDS
from inventory_es.domain.hold_queue import DueQueue, HoldQueue, Key
from inventory_es.domain.identifiers import InventoryId
from inventory_es.domain.packed_reservations import PackedReservations
from inventory_es.domain.quantity import StockQuantity
from inventory_es.domain.reasons import AdjustReason
from inventory_es.domain.recorded import Recorded
from inventory_es.domain.reservation import ClosedReservation, OpenReservation
from inventory_es.domain.snapshot import InventorySnapshot

CLOSED_KEPT = 10_000
"""How many closed reservations are remembered, by count, so that every replay gives the same answer."""

OBJECTS_KEPT = 32_768
"""How many open reservations are kept as objects; those beyond are packed when they open or change."""

_ZERO = timedelta(0)
_SLACK = 64
_OF_NO_RESERVATION = frozenset({StockAddedEvent, StockAdjustedEvent})


_Undo = tuple[int, int, int, datetime | None, int, str | None, OpenReservation | None, bool, tuple[str, ClosedReservation] | None]
"""Version, on hand, reserved, last time and last count before an event; its reservation, how that was open before, whether it
closed, and the closed one that was forgotten for it. A plain tuple: one is made for every event."""


class Inventory:
    """State of one inventory, changed by :meth:`apply` alone.

    Always: on hand ≥ reserved ≥ 0, and reserved is the sum of what the open reservations still hold.

    Speculation: after :meth:`savepoint`, applied events can be taken back with :meth:`rollback` until :meth:`settle`.
    Undoing costs what applying cost, however many reservations are open.
    """

    __slots__ = (
        "_bump_order",
        "_by_owner",
        "_closed",
        "_due",
        "_last_count_version",
        "_last_time",
        "_on_hand",
        "_open",
        "_packed",
        "_reserved",
        "_undo",
        "_unordered",
        "_version",
        "inventory_id",
    )

    def __init__(self, inventory_id: InventoryId) -> None:
        self.inventory_id: InventoryId = inventory_id
        self._version = 0
        self._on_hand = 0
        self._reserved = 0
        self._last_time: datetime | None = None
        self._last_count_version = 0
        self._open: dict[str, OpenReservation] = {}
        self._packed: PackedReservations | None = None
        self._closed: OrderedDict[str, ClosedReservation] = OrderedDict()
        self._by_owner: dict[str, int] | None = None
        self._due = DueQueue(self._is_due_key)
        self._bump_order = HoldQueue(self._is_bump_key)
        self._unordered: list[str] = []
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
        """The state that ``snapshot`` holds, ready for the events after its version."""
        inventory = cls(snapshot.inventory_id)
        for hold in snapshot.open:
            inventory._put(hold.reservation_id, None, hold)
        inventory._closed.update(snapshot.closed)
        inventory._version = snapshot.version
        inventory._on_hand = snapshot.on_hand
        inventory._reserved = snapshot.reserved
        inventory._last_time = snapshot.last_time
        inventory._last_count_version = snapshot.last_count_version
        return inventory

    def snapshot(self) -> InventorySnapshot:
        """The whole state as one value. Costs in proportion to what is remembered."""
        return InventorySnapshot(
            inventory_id=self.inventory_id,
            version=self._version,
            on_hand=self._on_hand,
            reserved=self._reserved,
            last_time=self._last_time,
            last_count_version=self._last_count_version,
            open=tuple(sorted(self.reservations(), key=lambda hold: hold.version)),
            closed=tuple(self._closed.items()),
        )

    def decide(
        self,
        command: Command,
        *,
        at: datetime,
        observed_on_hand: int | None = None,
        policies: Sequence[Policy] = (),
    ) -> tuple[Event, ...]:
        """What ``command`` does at ``at``: events to append, none for a no-op. Changes nothing.

        Args:
            command: addressed to this inventory.
            at: the time, not before the last event's.
            observed_on_hand: for a :class:`RecordCount`: units on hand at its ``observed_version``; not needed if that is the
                present version.
            policies: the host's rules, asked about commands that would otherwise be accepted.

        Raises:
            RejectionError: the business says no.
            ValueError: a command for another inventory, a time before the last event, a count of a version that is not there.
        """
        return decide(self, command, at, observed_on_hand, policies)

    def apply(self, recorded: tuple[Event, int, datetime]) -> None:
        """Take the next event of the stream: the only way that state changes.

        Args:
            recorded: a :class:`Recorded`, or a plain tuple of the same.

        Raises:
            CorruptStreamError: it can't be the next event; the state is as before.
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
        before = None if reservation_id is None else self._open.get(reservation_id)
        if before is None and self._packed is not None and reservation_id is not None:
            before = self._packed.get(reservation_id)
        incoming, promised, hold, closed = FOLDS[kind](self, event, before, version, at)
        on_hand, reserved = self._on_hand + incoming, self._reserved + promised
        if on_hand != event.on_hand or reserved != event.reserved:
            self._corrupt(version, f"it carries {event.on_hand}/{event.reserved} on hand/reserved, the fold gives {on_hand}/{reserved}")
        forgotten = None
        if reservation_id is not None:
            if closed is not None:
                self._closed[reservation_id] = closed
                if len(self._closed) > CLOSED_KEPT:
                    forgotten = self._closed.popitem(last=False)
            self._put(reservation_id, before, hold)
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
        """A place to come back to with :meth:`rollback`. Applied events are undoable from here on."""
        if self._undo is None:
            self._undo = []
        return len(self._undo)

    def rollback(self, savepoint: int) -> None:
        """Take back every event applied since ``savepoint``."""
        undo = self._undo
        if undo is None or not 0 <= savepoint <= len(undo):
            msg = "no such savepoint: it was settled or rolled back"
            raise ValueError(msg)
        while len(undo) > savepoint:
            version, on_hand, reserved, last_time, last_count_version, reservation_id, hold, was_closed, forgotten = undo.pop()
            if reservation_id is not None:
                if was_closed:
                    del self._closed[reservation_id]
                if forgotten is not None:
                    self._closed[forgotten[0]] = forgotten[1]
                    self._closed.move_to_end(forgotten[0], last=False)
                self._put(reservation_id, self.reservation(reservation_id), hold)
            self._version = version
            self._on_hand = on_hand
            self._reserved = reserved
            self._last_time = last_time
            self._last_count_version = last_count_version

    def settle(self) -> None:
        """Forget all savepoints: what was applied stands."""
        self._undo = None

    @property
    def version(self) -> int:
        """Events folded so far; 0 for none."""
        return self._version

    @property
    def on_hand(self) -> StockQuantity:
        """Units physically there."""
        return StockQuantity(self._on_hand)

    @property
    def reserved(self) -> StockQuantity:
        """Units promised by open reservations."""
        return StockQuantity(self._reserved)

    @property
    def unreserved(self) -> StockQuantity:
        """On hand minus reserved."""
        return StockQuantity(self._on_hand - self._reserved)

    @property
    def units_on_hand(self) -> int:
        """``on_hand`` as a plain int."""
        return self._on_hand

    @property
    def units_reserved(self) -> int:
        """``reserved`` as a plain int."""
        return self._reserved

    @property
    def last_time(self) -> datetime | None:
        """Time of the last event; ``None`` before the first."""
        return self._last_time

    @property
    def last_count_version(self) -> int:
        """Version of the last count's StockAdjustedEvent; 0 for none."""
        return self._last_count_version

    def reservation(self, reservation_id: str) -> OpenReservation | None:
        """The open reservation of this id, due or not."""
        hold = self._open.get(reservation_id)
        return self._packed.get(reservation_id) if hold is None and self._packed is not None else hold

    def closed(self, reservation_id: str) -> ClosedReservation | None:
        """How the reservation of this id ended, if it is among the last 10,000."""
        return self._closed.get(reservation_id)

    def knows(self, reservation_id: str) -> bool:
        """Whether this id was used: its reservation is open, or among the last 10,000 that ended."""
        return (
            reservation_id in self._open or reservation_id in self._closed or (self._packed is not None and reservation_id in self._packed)
        )

    def reservations(self) -> Iterator[OpenReservation]:
        """Every open reservation, in no particular order."""
        return iter(self._open.values()) if self._packed is None else chain(self._packed, self._open.values())

    @property
    def open_count(self) -> int:
        """The number of open reservations."""
        return len(self._open) + (0 if self._packed is None else len(self._packed))

    @property
    def closed_count(self) -> int:
        """The number of closed reservations that are remembered, at most 10,000."""
        return len(self._closed)

    def reserved_for(self, owner_id: str) -> int:
        """Return the units that open reservations hold for one owner, due ones included.

        The first question adds up all open reservations; from then on the sums are kept.
        """
        if self._by_owner is None:
            self._by_owner = {}
            for hold in self.reservations():
                if hold.owner_id is not None:
                    self._by_owner[hold.owner_id] = self._by_owner.get(hold.owner_id, 0) + hold.remaining
        return self._by_owner.get(owner_id, 0)

    def due(self, at: datetime, *, limit: int | None = None) -> tuple[OpenReservation, ...]:
        """Open reservations that are due at ``at``, by (expires_at, reservation_id): the first ``limit``, or all."""
        keys = self._due.up_to(at, limit)
        return tuple([hold for key in keys if (hold := self.reservation(key[1])) is not None]) if keys else ()

    def bump_candidates(self) -> Iterator[OpenReservation]:
        """Open reservations in the order in which a shortfall bumps them: dated before firm, newest first.

        Those that opened or changed since the last time are put in order now: each once, so what it costs was earned by opening them.
        """
        unordered, self._unordered = self._unordered, []
        for reservation_id in unordered:
            hold = self.reservation(reservation_id)
            if hold is not None:
                self._bump_order.push((hold.expires_at is None, -hold.version, reservation_id))
        return (hold for key in self._bump_order.walk() if (hold := self.reservation(key[2])) is not None)

    def available_at(self, at: datetime) -> StockQuantity:
        """What a reserve at ``at`` could get: unreserved plus what is due."""
        return StockQuantity(self._on_hand - self._reserved + sum(hold.remaining for hold in self.due(at)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Inventory) and self.snapshot() == other.snapshot()

    __hash__: ClassVar[None] = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        return f"<Inventory {self.inventory_id} {self._on_hand}/{self._reserved} at version {self._version}>"

    def _put(self, reservation_id: str, before: OpenReservation | None, hold: OpenReservation | None) -> None:
        if hold is None:
            self._open.pop(reservation_id, None)
            if self._packed is not None:
                self._packed.discard(reservation_id)
        elif self._packed is None and len(self._open) < OBJECTS_KEPT:
            self._open[reservation_id] = hold
        else:
            self._put_among_many(hold)
        expires_at = None if hold is None else hold.expires_at
        if before is None or hold is None or before.expires_at != expires_at:
            if hold is not None:
                self._unordered.append(reservation_id)
                if expires_at is not None:
                    self._due.push((expires_at, reservation_id))
            if before is not None:
                self._trim()
        if self._by_owner is not None and (holder := hold or before) is not None and holder.owner_id is not None:
            units = self._by_owner.pop(holder.owner_id, 0) + (hold.remaining if hold else 0) - (before.remaining if before else 0)
            if units:
                self._by_owner[holder.owner_id] = units

    def _put_among_many(self, hold: OpenReservation) -> None:
        packed = self._packed
        if packed is None:
            packed = self._packed = PackedReservations()
        packed.discard(hold.reservation_id)
        if len(self._open) < OBJECTS_KEPT or hold.reservation_id in self._open:
            self._open[hold.reservation_id] = hold
        else:
            packed.put(hold)

    def _trim(self) -> None:
        """Drop keys of reservations that are closed or changed, before they are more than the open ones."""
        live = len(self._open) if self._packed is None else self.open_count
        self._due.trim(live)
        self._bump_order.trim(live)
        if len(self._unordered) > 2 * live + _SLACK:
            self._unordered = [one for one in dict.fromkeys(self._unordered) if self.reservation(one) is not None]

    def _is_due_key(self, key: Key) -> bool:
        hold = self._open.get(key[1])
        if hold is None and self._packed is not None:
            return self._packed.is_due_from(key[1], key[0])
        return hold is not None and hold.expires_at == key[0]

    def _is_bump_key(self, key: Key) -> bool:
        hold = self.reservation(key[2])
        return hold is not None and (hold.expires_at is None, -hold.version) == key[:2]

    def _corrupt(self, version: int, problem: str) -> NoReturn:
        raise CorruptStreamError(stream=self.inventory_id.stream, version=version, problem=problem)
