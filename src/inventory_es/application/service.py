"""The service: writes, strong reads, queries and the feed, over any event store."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from types import TracebackType
from typing import Self, TypeVar, cast, get_args

from inventory_es.application.commands.decision import CommandOutcome
from inventory_es.application.engine import EngineParts, Opening
from inventory_es.application.followers import Followers
from inventory_es.application.queries.stock_queries import StockQueries
from inventory_es.application.results import CommandResult, Explanation, HistoryEntry, Reservation, ReservationState, StockLevel
from inventory_es.domain import commands as c
from inventory_es.domain.errors import InvalidIdentifierError
from inventory_es.domain.identifiers import Id, InventoryId, ReservationRef, inventory_id
from inventory_es.domain.quantity import whole_number
from inventory_es.domain.reasons import AddReason, AdjustReason, CommitReason, Purpose, ReleaseReason, Remainder, Shortfall
from inventory_es.ports import EventStore, ReadModel, RecordedEvent, StoreCapabilities, StreamWrite
from inventory_es.ports.errors import UnsupportedCapabilityError

T = TypeVar("T")

Held = Reservation | ReservationRef | str
"""Address of a reservation: the result of ``reserve``, its ``ref``, or the text ``str(ref)`` that a host kept."""

_COMMANDS = frozenset(get_args(c.Command))


class InventoryService:
    """Stock of any number of products in any number of stores. Open it with ``async with``.

    Any number of tasks of the event loop that opened it may call at once. Every write is idempotent, without a time limit: the same id
    with the same payload has the same outcome, flagged ``replayed``. Every write may raise, besides the errors that it names:

    - ``InvalidIdentifierError``, ``InvalidQuantityError``, ``InvalidTtlError``: an invalid argument; nothing was sent.
    - ``CommandIdReusedError``: the command id was used before, with another payload.
    - ``PolicyRejectedError``: a policy of the host rejected the command.
    - ``ConcurrencyError``: other writers won every attempt. ``StoreUnavailableError``: the store can't serve now. Nothing was appended.
    - ``AppendOutcomeUnknownError``: the events may have been appended. The error carries the command, which is safe to send again.
    - ``LaneFullError``: too many commands wait for this inventory already; this one was not sent.
    - ``ClockSkewError``: this machine's clock is too far behind. ``ClockJumpError``: it was changed by too much since the opening.
    - ``StoreClosedError``: the service is closed, or not opened yet.

    Args:
        open_store: returns the event store when the service is opened.
        parts: the configuration of the engine; also an attribute.
        owns_store: True if closing the service closes the store.
    """

    def __init__(self, open_store: Callable[[], Awaitable[EventStore]], parts: EngineParts, *, owns_store: bool) -> None:
        self._opening = Opening(open_store, parts, owns_store=owns_store)
        self._unopened = partial(type(self), open_store, parts, owns_store=owns_store)
        self.parts = parts

    async def __aenter__(self) -> Self:
        await self._opening.open()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Refuse new calls, stop the followers, and close the resources that the service opened. Idempotent."""
        await self._opening.close()

    async def add_stock(
        self,
        product_id: Id,
        store_id: Id,
        quantity: int,
        *,
        reason: AddReason | str = AddReason.RECEIVED,
        command_id: Id | None = None,
        reference: str | None = None,
    ) -> CommandResult:
        """Add units that came in.

        Raises:
            QuantityOverflowError: more than 2^53−1 units would be on hand.
        """
        command = c.AddStock(
            inventory_id=inventory_id(product_id, store_id),
            command_id=self._id(command_id),
            quantity=quantity,
            reason=reason,
            reference=reference,
        )
        return cast(CommandResult, await self._opening.here().handler.execute(command, named=command_id is not None))

    async def reserve(
        self,
        product_id: Id,
        store_id: Id,
        quantity: int,
        *,
        ttl: timedelta | None,
        reservation_id: Id | None = None,
        purpose: Purpose | str = Purpose.ORDER,
        owner_id: Id | None = None,
        keep_available: int = 0,
        not_after: datetime | None = None,
        reference: str | None = None,
    ) -> Reservation:
        """Reserve units for an owner.

        Args:
            product_id: the product.
            store_id: the store.
            quantity: the units, 1 or more.
            ttl: the time for which the units are held; ``None`` for a firm hold.
            reservation_id: an id that is unique in this inventory, and never used again; generated if not given.
            purpose: the purpose of the reservation.
            owner_id: an opaque id of the owner.
            keep_available: the units that must stay available after the reservation.
            not_after: the instant from which the command is refused.
            reference: the reason, as a URI-like text.

        Raises:
            InsufficientStockError: fewer units are available.
            ReservationIdTakenError: the id was used before for something else.
            CommandExpiredError: ``not_after`` has passed.
        """
        command = c.ReserveStock(
            inventory_id=inventory_id(product_id, store_id),
            reservation_id=self._id(reservation_id),
            quantity=quantity,
            ttl=ttl,
            purpose=purpose,
            owner_id=owner_id,
            keep_available=keep_available,
            not_after=not_after,
            reference=reference,
        )
        return cast(Reservation, await self._opening.here().handler.execute(command, named=reservation_id is not None))

    async def extend(self, held: Held, *, ttl: timedelta, command_id: Id | None = None, reference: str | None = None) -> CommandResult:
        """Extend a reservation until ``ttl`` from now, if that is later than before; a firm one stays firm.

        Raises:
            ReservationNotFoundError, ReservationExpiredError, ReservationAlreadyReleasedError,
            ReservationAlreadyCommittedError: it is not open.
        """
        held = _address(held)
        command = c.ExtendReservation(
            inventory_id=held.inventory_id,
            command_id=self._id(command_id),
            reservation_id=held.reservation_id,
            ttl=ttl,
            reference=reference,
        )
        return cast(CommandResult, await self._opening.here().handler.execute(command, named=command_id is not None))

    async def confirm(self, held: Held, *, command_id: Id | None = None, reference: str | None = None) -> CommandResult:
        """Make a reservation firm, so that it never expires.

        Raises:
            ReservationNotFoundError, ReservationExpiredError, ReservationAlreadyReleasedError,
            ReservationAlreadyCommittedError: it is not open.
        """
        held = _address(held)
        command = c.ConfirmReservation(
            inventory_id=held.inventory_id, command_id=self._id(command_id), reservation_id=held.reservation_id, reference=reference
        )
        return cast(CommandResult, await self._opening.here().handler.execute(command, named=command_id is not None))

    async def release(
        self,
        held: Held,
        quantity: int | None = None,
        *,
        reason: ReleaseReason | str = ReleaseReason.CANCELLED,
        command_id: Id | None = None,
        reference: str | None = None,
    ) -> CommandResult:
        """Release ``quantity`` units, or all that the reservation still holds. A no-op if it is released or expired already.

        Raises:
            ReservationNotFoundError, ReservationAlreadyCommittedError: there is nothing to release.
            QuantityExceedsReservationError: the reservation holds fewer units.
        """
        held = _address(held)
        command = c.ReleaseStock(
            inventory_id=held.inventory_id,
            command_id=self._id(command_id),
            reservation_id=held.reservation_id,
            quantity=quantity,
            reason=reason,
            reference=reference,
        )
        return cast(CommandResult, await self._opening.here().handler.execute(command, named=command_id is not None))

    async def commit(
        self,
        held: Held,
        quantity: int | None = None,
        *,
        remainder: Remainder | str = Remainder.KEEP,
        reason: CommitReason | str = CommitReason.SOLD,
        command_id: Id | None = None,
        reference: str | None = None,
    ) -> CommandResult:
        """Commit ``quantity`` reserved units that have left, or all that the reservation still holds.

        Raises:
            ReservationNotFoundError, ReservationExpiredError, ReservationAlreadyReleasedError,
            ReservationAlreadyCommittedError: it is not open.
            QuantityExceedsReservationError: the reservation holds fewer units.
        """
        held = _address(held)
        command = c.CommitStock(
            inventory_id=held.inventory_id,
            command_id=self._id(command_id),
            reservation_id=held.reservation_id,
            quantity=quantity,
            remainder=remainder,
            reason=reason,
            reference=reference,
        )
        return cast(CommandResult, await self._opening.here().handler.execute(command, named=command_id is not None))

    async def adjust(
        self,
        product_id: Id,
        store_id: Id,
        delta: int,
        *,
        reason: AdjustReason | str,
        shortfall: Shortfall | str = Shortfall.REJECT,
        command_id: Id | None = None,
        reference: str | None = None,
    ) -> CommandResult:
        """Adjust the units on hand by a difference.

        Raises:
            NegativeStockError: the difference removes more units than are on hand.
            WouldBreakReservationsError: fewer would be left than are promised, and ``shortfall`` is REJECT.
        """
        command = c.AdjustStock(
            inventory_id=inventory_id(product_id, store_id),
            command_id=self._id(command_id),
            delta=delta,
            reason=reason,
            shortfall=shortfall,
            reference=reference,
        )
        return cast(CommandResult, await self._opening.here().handler.execute(command, named=command_id is not None))

    async def record_count(
        self,
        product_id: Id,
        store_id: Id,
        counted: int,
        *,
        observed_version: int,
        shortfall: Shortfall | str = Shortfall.REJECT,
        command_id: Id | None = None,
        reference: str | None = None,
    ) -> CommandResult:
        """Record a count of the shelf, made when the stream had ``observed_version``. Later movements are taken into account.

        A count that confirms the books is recorded too, as an event that changes nothing. :meth:`explain` shows the last count.

        Raises:
            CountSupersededError: a later count was recorded first.
            WouldBreakReservationsError: fewer would be left than are promised, and ``shortfall`` is REJECT.
            InvalidQuantityError: the stream has no ``observed_version`` yet.
        """
        command = c.RecordCount(
            inventory_id=inventory_id(product_id, store_id),
            command_id=self._id(command_id),
            counted=counted,
            observed_version=observed_version,
            shortfall=shortfall,
            reference=reference,
        )
        return cast(CommandResult, await self._opening.here().handler.execute(command, named=command_id is not None))

    async def expire(self, product_id: Id, store_id: Id, *, limit: int = 500, command_id: Id | None = None) -> CommandResult:
        """Expire due reservations, oldest first, up to ``limit``. Every other write closes due reservations too."""
        command = c.ExpireReservations(inventory_id=inventory_id(product_id, store_id), command_id=self._id(command_id), limit=limit)
        return cast(CommandResult, await self._opening.here().handler.execute(command, named=command_id is not None))

    async def execute(self, command: c.Command, *, expected_version: int | None = None) -> CommandOutcome:
        """Execute a command under the id that it carries. A :class:`ReserveStock` returns a reservation.

        Args:
            command: any of :mod:`inventory_es.commands`.
            expected_version: the required stream version. If the stream has another, raise ``ConcurrencyError`` without a retry.
        """
        if type(command) not in _COMMANDS:
            msg = f"command must be one of inventory_es.commands, not a {type(command).__name__}"
            raise TypeError(msg)
        if expected_version is not None:
            whole_number("expected_version", expected_version)
        return await self._opening.here().handler.execute(command, expected_version=expected_version)

    async def execute_all(
        self, commands: Sequence[c.Command], *, writes: Sequence[StreamWrite] = (), times: Sequence[datetime] | None = None
    ) -> list[CommandOutcome]:
        """Execute all commands or none, in one atomic append.

        Args:
            commands: any of :mod:`inventory_es.commands`.
            writes: writes to the host's own streams, in the same append.
            times: the time of each command, in UTC, for a host that imports its past.

        Raises:
            CommandsRejectedError: some commands were refused; the error lists them. Nothing was appended.
            UnsupportedCapabilityError: there are several streams, and the store can't append to several at once.
        """
        return await self._opening.here().handler.execute_all(commands, writes=writes, times=times)

    async def stock(self, product_id: Id, store_id: Id) -> StockLevel:
        """Return the stock now, from the stream."""
        return await self._opening.here().reads.stock(InventoryId(product_id, store_id))

    async def reservation(self, held: Held) -> ReservationState:
        """Return the state of a reservation now, from the stream.

        Raises:
            ReservationNotFoundError: the reservation is neither open nor among the last 10,000 closed ones of its inventory.
        """
        held = _address(held)
        return await self._opening.here().reads.reservation(ReservationRef(held.product_id, held.store_id, held.reservation_id))

    def history(self, product_id: Id, store_id: Id, *, after: int = 0) -> AsyncIterator[HistoryEntry]:
        """Yield every event after version ``after``, decoded, oldest first, up to the stream's end."""
        return self._opening.here().reads.history(InventoryId(product_id, store_id), after=whole_number("after", after))

    async def as_of(self, product_id: Id, store_id: Id, *, time: datetime | None = None, version: int | None = None) -> StockLevel:
        """Return the stock at a past ``time``, or right after a ``version``. Give exactly one of the two.

        Raises:
            ValueError: neither or both are given, or the time has no time zone.
            InvalidQuantityError: the stream has no such version.
        """
        return await self._opening.here().reads.as_of(InventoryId(product_id, store_id), time=time, version=version)

    async def explain(self, product_id: Id, store_id: Id, *, holds: int = 50, movements: int = 10) -> Explanation:
        """Explain the available figure by the open reservations, the last movements and the last count.

        Args:
            product_id: the product.
            store_id: the store.
            holds: the most reservations to list, oldest first.
            movements: the most events to list, newest first.
        """
        asked = InventoryId(product_id, store_id)
        holds, movements = whole_number("holds", holds), whole_number("movements", movements)
        return await self._opening.here().reads.explain(asked, holds=holds, movements=movements)

    def feed(self, *, after: int = 0) -> AsyncIterator[RecordedEvent]:
        """Yield every event of the store with a position after ``after``, in order, up to the present end.

        Raises:
            UnsupportedCapabilityError: the store has no feed.
        """
        return self._opening.here().reads.feed(after=whole_number("after", after))

    @property
    def queries(self) -> StockQueries:
        """Queries over many inventories, from read models, eventually consistent; cached if the service has a cache.

        Raises:
            UnsupportedCapabilityError: the service was opened without ``read_models``.
        """
        return _with_read_model(self._opening.here().queries)

    @property
    def followers(self) -> Followers:
        """The followers, which keep the read models up to date. Run them in a task of the host, here or in another process.

        Raises:
            UnsupportedCapabilityError: the service was opened without ``read_models``.
        """
        return _with_read_model(self._opening.here().followers)

    @property
    def store(self) -> EventStore:
        """The event store, for a host's own streams.

        Raises:
            StoreClosedError: the service is not open.
        """
        return self._opening.here().store

    @property
    def read_model(self) -> ReadModel:
        """The read model, for a sweeper or a process runner beside the followers.

        Raises:
            StoreClosedError: the service is not open.
            UnsupportedCapabilityError: it has no read model.
        """
        return _with_read_model(self._opening.here().read_model)

    @property
    def store_capabilities(self) -> StoreCapabilities:
        """The capabilities of the open store.

        Raises:
            StoreClosedError: the service is not open.
        """
        return self._opening.engine.store.capabilities

    def _id(self, given: Id | None) -> Id:
        return self.parts.ids.new_id() if given is None else given


def _with_read_model(part: T | None) -> T:
    if part is None:
        way_out = "give open_inventory a read model: read_models=MemoryReadModel(), or read_models='sqlite:queries.db'"
        raise UnsupportedCapabilityError(store="this inventory service", capability="query side", way_out=way_out)
    return part


def _address(held: object) -> Reservation | ReservationRef:
    """Return the reservation that a caller addresses, in any of its forms.

    Raises:
        InvalidIdentifierError: a text that no ``ref`` wrote, or a value of another type.
    """
    if isinstance(held, Reservation | ReservationRef):
        return held
    if isinstance(held, str):
        return ReservationRef.parse(held)
    raise InvalidIdentifierError(name="held", problem=f"must be a Reservation, its ref or the text of it, not a {type(held).__name__}")
