"""The service and its opening, without ``await``."""

import os
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from types import TracebackType
from typing import Concatenate, ParamSpec, Self, TypeVar, cast

from inventory_es.adapters.threads import SyncEventStore, borrowed
from inventory_es.application.commands.decision import CommandOutcome
from inventory_es.application.commands.handler_settings import HandlerSettings
from inventory_es.application.following.projection import Projection
from inventory_es.application.results import CommandResult, Explanation, HistoryEntry, Reservation, ReservationState, StockLevel
from inventory_es.application.service import Held
from inventory_es.application.service import InventoryService as _Async
from inventory_es.domain import commands as c
from inventory_es.domain.identifiers import Id
from inventory_es.domain.inventory import Policy
from inventory_es.domain.reasons import AddReason, AdjustReason, CommitReason, Purpose, ReleaseReason, Remainder, Shortfall
from inventory_es.ports import (
    Cache,
    Clock,
    EventBus,
    EventStore,
    IdGenerator,
    ReadModel,
    RecordedEvent,
    SnapshotStore,
    StreamWrite,
)
from inventory_es.ports.codec import EventCodec
from inventory_es.ports.errors import StoreClosedError
from inventory_es.ports.toolkit.waiting import STATE_LOCK, serves_threads
from inventory_es.sync.engine import DirectEngine, Engine
from inventory_es.sync.followers import Followers
from inventory_es.sync.queries import StockQueries
from inventory_es.wiring import is_built_in
from inventory_es.wiring import open_inventory as _open_async

P = ParamSpec("P")
T = TypeVar("T")


def open_inventory(
    store: "str | os.PathLike[str] | EventStore | SyncEventStore",
    /,
    *,
    clock: Clock | None = None,
    ids: IdGenerator | None = None,
    policies: Sequence[Policy] = (),
    cache: str | Cache | None = None,
    bus: str | EventBus | None = None,
    codec: EventCodec | None = None,
    read_models: str | ReadModel | None = None,
    projections: Sequence[Projection] = (),
    observers: Sequence[object] = (),
    settings: HandlerSettings | None = None,
    snapshots: "str | SnapshotStore | None" = None,
) -> "InventoryService":
    """Assemble the service over a store; see :func:`inventory_es.open_inventory`.

    Create one service per process, for example at module level: nothing is opened before the first call. Close it with
    :meth:`InventoryService.close` or ``with``. A service that is still open when the interpreter ends is closed then, after ten seconds at
    most for calls in flight. A service that is garbage-collected while it is open is closed then, with a ``ResourceWarning``.

    Raises:
        ValueError: an unknown or misspelt scheme; the message has the right spelling. A cache, a bus or projections without read
            models.
        TypeError: an argument that is not a store, or not a read model.
    """
    given: object = store
    is_borrowed = not isinstance(given, str | os.PathLike | EventStore) and isinstance(given, SyncEventStore)
    serve = all(one is None or is_built_in(one) or serves_threads(one) for one in (None if is_borrowed else store, read_models, snapshots))
    needs_loop = not (serve and all(one is None or one == "memory:" or serves_threads(one) for one in (cache, bus)))
    assemble = partial(
        _open_async,
        clock=clock,
        ids=ids,
        policies=policies,
        cache=cache,
        bus=bus,
        codec=codec,
        read_models=read_models,
        projections=projections,
        observers=observers,
        settings=settings,
        snapshots=snapshots,
    )

    def unopened() -> _Async:  # what wraps a store of the host belongs to the process that opens it, which may be a forked one
        return assemble(borrowed(cast(SyncEventStore, store)) if is_borrowed else cast(EventStore, store))

    service = unopened()
    again = unopened if is_borrowed else service._unopened  # noqa: SLF001  # its twin
    return InventoryService(partial(_open, again, needs_loop=needs_loop), survives_fork=isinstance(store, str | os.PathLike))


def _open(unopened: Callable[[], _Async], *, needs_loop: bool) -> Engine:
    if not needs_loop:
        return DirectEngine(unopened())
    from inventory_es.engine_thread import EngineThread  # noqa: PLC0415  # most services need neither it nor its portal

    return EngineThread(unopened())


class InventoryService:
    """Stock of any number of products in any number of stores, for any number of threads.

    Args:
        open_engine: opens the engine.
        survives_fork: True if a forked child may open the store again, if it is durable.
    """

    def __init__(self, open_engine: Callable[[], Engine], *, survives_fork: bool) -> None:
        self._open_engine = open_engine
        self._survives_fork = survives_fork
        self._changing: threading.Lock | None = None
        self._engine: Engine | None = None
        self._inherited: list[Engine] = []
        self._refusal: str | None = None
        _forget_at_fork(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Finish what is in flight, close the store if the service opened it. Idempotent."""
        with self._change():
            engine, self._engine, self._refusal = self._engine, None, "it was closed"
        if engine is not None:
            engine.close()

    def add_stock(
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

        As :meth:`inventory_es.InventoryService.add_stock`.
        """
        return self._call(_Async.add_stock, product_id, store_id, quantity, reason=reason, command_id=command_id, reference=reference)

    def reserve(
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

        As :meth:`inventory_es.InventoryService.reserve`.
        """
        return self._call(
            _Async.reserve,
            product_id,
            store_id,
            quantity,
            ttl=ttl,
            reservation_id=reservation_id,
            purpose=purpose,
            owner_id=owner_id,
            keep_available=keep_available,
            not_after=not_after,
            reference=reference,
        )

    def extend(self, held: Held, *, ttl: timedelta, command_id: Id | None = None, reference: str | None = None) -> CommandResult:
        """Extend a reservation until ``ttl`` from now, if that is later than before; a firm one stays firm.

        As :meth:`inventory_es.InventoryService.extend`.
        """
        return self._call(_Async.extend, held, ttl=ttl, command_id=command_id, reference=reference)

    def confirm(self, held: Held, *, command_id: Id | None = None, reference: str | None = None) -> CommandResult:
        """Make a reservation firm, so that it never expires.

        As :meth:`inventory_es.InventoryService.confirm`.
        """
        return self._call(_Async.confirm, held, command_id=command_id, reference=reference)

    def release(
        self,
        held: Held,
        quantity: int | None = None,
        *,
        reason: ReleaseReason | str = ReleaseReason.CANCELLED,
        command_id: Id | None = None,
        reference: str | None = None,
    ) -> CommandResult:
        """Release ``quantity`` units, or all that the reservation still holds. A no-op if it is released or expired already.

        As :meth:`inventory_es.InventoryService.release`.
        """
        return self._call(_Async.release, held, quantity, reason=reason, command_id=command_id, reference=reference)

    def commit(
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

        As :meth:`inventory_es.InventoryService.commit`.
        """
        return self._call(_Async.commit, held, quantity, remainder=remainder, reason=reason, command_id=command_id, reference=reference)

    def adjust(
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

        As :meth:`inventory_es.InventoryService.adjust`.
        """
        return self._call(
            _Async.adjust, product_id, store_id, delta, reason=reason, shortfall=shortfall, command_id=command_id, reference=reference
        )

    def record_count(
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

        As :meth:`inventory_es.InventoryService.record_count`.
        """
        return self._call(
            _Async.record_count,
            product_id,
            store_id,
            counted,
            observed_version=observed_version,
            shortfall=shortfall,
            command_id=command_id,
            reference=reference,
        )

    def expire(self, product_id: Id, store_id: Id, *, limit: int = 500, command_id: Id | None = None) -> CommandResult:
        """Expire due reservations, oldest first, up to ``limit``. Every other write closes due reservations too.

        As :meth:`inventory_es.InventoryService.expire`.
        """
        return self._call(_Async.expire, product_id, store_id, limit=limit, command_id=command_id)

    def execute(self, command: c.Command, *, expected_version: int | None = None) -> CommandOutcome:
        """Execute a command under the id that it carries. A :class:`ReserveStock` returns a reservation.

        As :meth:`inventory_es.InventoryService.execute`.
        """
        return self._call(_Async.execute, command, expected_version=expected_version)

    def execute_all(
        self, commands: Sequence[c.Command], *, writes: Sequence[StreamWrite] = (), times: Sequence[datetime] | None = None
    ) -> list[CommandOutcome]:
        """Execute all commands or none, in one atomic append.

        As :meth:`inventory_es.InventoryService.execute_all`.
        """
        return self._call(_Async.execute_all, commands, writes=writes, times=times)

    def stock(self, product_id: Id, store_id: Id) -> StockLevel:
        """Return the stock now, from the stream.

        As :meth:`inventory_es.InventoryService.stock`.
        """
        return self._call(_Async.stock, product_id, store_id)

    def reservation(self, held: Held) -> ReservationState:
        """Return the state of a reservation now, from the stream.

        As :meth:`inventory_es.InventoryService.reservation`.
        """
        return self._call(_Async.reservation, held)

    def history(self, product_id: Id, store_id: Id, *, after: int = 0) -> Iterator[HistoryEntry]:
        """Yield every event after version ``after``, decoded, oldest first, up to the stream's end.

        As :meth:`inventory_es.InventoryService.history`.
        """
        return self._each(_Async.history, product_id, store_id, after=after)

    def as_of(self, product_id: Id, store_id: Id, *, time: datetime | None = None, version: int | None = None) -> StockLevel:
        """Return the stock at a past ``time``, or right after a ``version``. Give exactly one of the two.

        As :meth:`inventory_es.InventoryService.as_of`.
        """
        return self._call(_Async.as_of, product_id, store_id, time=time, version=version)

    def explain(self, product_id: Id, store_id: Id, *, holds: int = 50, movements: int = 10) -> Explanation:
        """Explain the available figure by the open reservations, the last movements and the last count.

        As :meth:`inventory_es.InventoryService.explain`.
        """
        return self._call(_Async.explain, product_id, store_id, holds=holds, movements=movements)

    def feed(self, *, after: int = 0) -> Iterator[RecordedEvent]:
        """Yield every event of the store with a position after ``after``, in order, up to the present end.

        As :meth:`inventory_es.InventoryService.feed`.
        """
        return self._each(_Async.feed, after=after)

    @property
    def queries(self) -> StockQueries:
        """Queries over many inventories, from read models, eventually consistent; cached if the service has a cache."""
        return StockQueries(self._running)

    @property
    def followers(self) -> Followers:
        """The followers, which keep the read models up to date. Run them in a thread of the host, here or in another process."""
        return Followers(self._running)

    def _call(self, method: Callable[Concatenate[_Async, P], Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        return (self._engine or self._running()).call(method, *args, **kwargs)

    def _each(self, method: Callable[Concatenate[_Async, P], AsyncIterator[T]], *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        return self._running().each(method, *args, **kwargs)

    def _running(self) -> Engine:
        engine = self._engine
        if engine is not None:
            return engine
        with self._change():
            if self._refusal is not None:
                raise StoreClosedError(store="the inventory service", reason=self._refusal)
            if self._engine is None:
                self._engine = self._open_engine()
            return self._engine

    def _change(self) -> threading.Lock:
        """Return the lock of the engine. It is made when it is used: one from before gevent patched its class would stop all greenlets."""
        with STATE_LOCK:
            self._changing = self._changing or threading.Lock()
        return self._changing

    def _forget(self) -> None:
        """In a forked child: the parent's engine is not to be used here."""
        self._changing = None
        if self._engine is not None:
            self._inherited.append(self._engine)
            if not (self._survives_fork and self._engine.is_durable):
                self._refusal = "its store was opened before the fork, and can't be opened again here"
            self._engine = None


def _forget_at_fork(service: InventoryService) -> None:
    if hasattr(os, "register_at_fork"):
        alive = weakref.ref(service)

        def forget() -> None:
            if (one := alive()) is not None:
                one._forget()  # noqa: SLF001  # a hook of the same module

        os.register_at_fork(after_in_child=forget)
