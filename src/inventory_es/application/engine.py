"""The engine of a service: its configuration, its assembly, opening and closing."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from sys import get_asyncgen_hooks
from time import perf_counter
from typing import Protocol, TypeVar

import attrs
from anyio.lowlevel import current_token

from inventory_es.application.commands.decision import Decider
from inventory_es.application.commands.group_commit import Committer, Fairness
from inventory_es.application.commands.handler import CommandHandler
from inventory_es.application.commands.handler_settings import HandlerSettings
from inventory_es.application.commands.idempotency import Idempotency, UnsettledAppends
from inventory_es.application.commands.repository import Repository
from inventory_es.application.commands.states import SnapshotReader, StateCache, StreamReader
from inventory_es.application.commands.waiting import waiting_here
from inventory_es.application.followers import Followers
from inventory_es.application.following.projection import Projection
from inventory_es.application.observers import Observers
from inventory_es.application.projections.shipped import with_shipped
from inventory_es.application.queries.cached_answers import CachedAnswers
from inventory_es.application.queries.history import HistoryPages
from inventory_es.application.queries.projection_reader import readers_of
from inventory_es.application.queries.stock_queries import StockQueries
from inventory_es.application.queries.strong_reads import StrongReads
from inventory_es.domain.errors import FaultError
from inventory_es.domain.inventory import Policy
from inventory_es.ports import Cache, Clock, EventBus, EventFeed, EventStore, IdGenerator, ReadModel, SnapshotCodec, SnapshotStore
from inventory_es.ports.codec import EventCodec
from inventory_es.ports.errors import StoreClosedError
from inventory_es.ports.toolkit.adapter_name import adapter_name
from inventory_es.ports.toolkit.waiting import blocks, now, pause, scope

_logger = logging.getLogger("inventory_es")


@attrs.frozen(kw_only=True)
class EngineParts:
    """The configuration of an engine.

    Attributes:
        codec: encodes and decodes events.
        clock: the time.
        ids: ids that callers don't give.
        chance: a number from 0 up to, not including, 1, for the jitter between attempts.
        policies: rules of the host.
        observers: objects with any of the methods of :class:`~inventory_es.application.observers.Observers`.
        settings: bounds.
        snapshots: a store of snapshots, or a function that opens one; ``None`` for no snapshots. An open store stays the host's to close;
            one that is opened here is closed with the engine.
        read_model: the rows of queries, likewise; ``None`` for no queries.
        projections: besides the shipped ones, or in the place of those of the same name. Needs a read model, as cache and bus do.
        cache: keeps answers, likewise; ``None`` for none.
        bus: receives the events, likewise; ``None`` for none.
        sleep: waits for seconds.
        monotonic: seconds that never go back.
    """

    codec: EventCodec
    clock: Clock
    ids: IdGenerator
    chance: Callable[[], float]
    policies: Sequence[Policy] = ()
    observers: Sequence[object] = ()
    settings: HandlerSettings = attrs.field(factory=HandlerSettings)
    snapshots: SnapshotStore | Callable[[], Awaitable[SnapshotStore]] | None = None
    read_model: ReadModel | Callable[[], Awaitable[ReadModel]] | None = None
    projections: Sequence[Projection] = ()
    cache: Cache | Callable[[], Awaitable[Cache]] | None = None
    bus: EventBus | Callable[[], Awaitable[EventBus]] | None = None
    sleep: Callable[[float], Awaitable[object]] = pause
    monotonic: Callable[[], float] = now


class Closable(Protocol):
    """A resource that an engine may own."""

    async def aclose(self) -> None:
        """Release every resource."""


T = TypeVar("T", bound=Closable)


@attrs.frozen
class Engine:
    """The assembled command side, strong reads and, with a read model, queries and followers, over one store.

    Attributes:
        store: the event store.
        handler: executes commands.
        reads: strong reads, from the stream.
        queries: eventual reads, from the read model.
        followers: keep the read model up with the events.
        read_model: has the rows of queries.
        owned: resources that are closed with the engine.
    """

    store: EventStore
    handler: CommandHandler
    reads: StrongReads
    queries: StockQueries | None = None
    followers: Followers | None = None
    read_model: ReadModel | None = None
    owned: Sequence[Closable] = ()

    async def aclose(self) -> None:
        """Close the owned resources, the last first."""
        async with AsyncExitStack() as stack:
            for one in self.owned:
                stack.push_async_callback(one.aclose)


class Opening:
    """The life of a service's engine: opened once, used in one event loop or by threads without one, closed.

    Args:
        open_store: returns the event store.
        parts: the configuration of the engine.
        owns_store: True if closing the engine closes the store.
    """

    def __init__(self, open_store: Callable[[], Awaitable[EventStore]], parts: EngineParts, *, owns_store: bool) -> None:
        self._open_store = open_store
        self._parts = parts
        self._owns_store = owns_store
        self._engine: Engine | None = None
        self._token: object = None
        self._hooks: object = None

    async def open(self) -> None:
        """Open the engine.

        Raises:
            RuntimeError: the engine is open already.
        """
        if self._engine is not None:
            msg = "the service is open already: use one 'async with' for it"
            raise RuntimeError(msg)
        self._engine = await open_engine(self._open_store, self._parts, owns_store=self._owns_store)
        # A plain tuple: the collector sees no cycle through the other one, and the hooks know the loop, which may know the service.
        self._token, self._hooks = None if blocks() else current_token(), tuple(get_asyncgen_hooks())

    async def close(self) -> None:
        """Stop the followers, and close the resources that the engine owns. Idempotent."""
        engine, self._engine = self._engine, None
        if engine is not None:
            with scope(shield=True):
                await engine.aclose()

    @property
    def engine(self) -> Engine:
        """The open engine.

        Raises:
            StoreClosedError: the engine is not open.
        """
        if self._engine is None:
            raise StoreClosedError(store="the inventory service", reason="it is not open: use 'async with'")
        return self._engine

    def here(self) -> Engine:
        """Return the open engine to a task of the event loop that opened it.

        Raises:
            StoreClosedError: the engine is not open.
            RuntimeError: the task is of another event loop.
        """
        engine = self._engine or self.engine
        if get_asyncgen_hooks() != self._hooks and current_token() != self._token:  # every running loop has hooks of its own
            msg = "the inventory service was opened in another event loop: open one in each loop, or use inventory_es.sync"
            raise RuntimeError(msg)
        return engine


async def open_engine(open_store: Callable[[], Awaitable[EventStore]], parts: EngineParts, *, owns_store: bool) -> Engine:
    """Open the event store, and the stores of snapshots and rows, and build the engine. Where that fails, nothing stays open.

    Raises:
        ValueError: as :func:`assemble`.
    """
    async with AsyncExitStack() as opened:
        store = await open_store()
        owned: list[Closable] = []
        if owns_store:
            owned.append(store)
            opened.push_async_callback(store.aclose)
        snapshots = parts.snapshots
        if snapshots is not None and not isinstance(snapshots, SnapshotStore):
            snapshots = await _open_snapshots(snapshots)
            if snapshots is not None:
                owned.append(snapshots)
                opened.push_async_callback(snapshots.aclose)

        async def own(part: T) -> T:
            owned.append(part)
            opened.push_async_callback(part.aclose)
            return part

        read_model, cache, bus = parts.read_model, parts.cache, parts.bus
        if read_model is not None and not isinstance(read_model, ReadModel):
            read_model = await own(await read_model())
        if cache is not None and not isinstance(cache, Cache):
            cache = await own(await cache())
        if bus is not None and not isinstance(bus, EventBus):
            bus = await own(await bus())
        engine = assemble(store, attrs.evolve(parts, cache=cache, bus=bus), snapshots, read_model)
        if engine.followers is not None:
            owned.append(engine.followers)
        opened.pop_all()
    return attrs.evolve(engine, owned=owned)


async def _open_snapshots(open_store: Callable[[], Awaitable[SnapshotStore]]) -> SnapshotStore | None:
    """Open the snapshot store, or return ``None`` with a warning: commands work without snapshots.

    A damaged file is left as it is, because the same kind of file may hold events.
    """
    try:
        return await open_store()
    except (FaultError, OSError) as problem:
        _logger.warning("snapshots_not_opened", extra={"reason": str(problem)})
        return None


def assemble(store: EventStore, parts: EngineParts, snapshots: SnapshotStore | None = None, read_model: ReadModel | None = None) -> Engine:
    """Build the engine over an open store, with queries and followers if there is an open read model. Cache and bus are open.

    Raises:
        ValueError: the codec can't write snapshots.
    """
    observers, waiting, settings = Observers(parts.observers), waiting_here(), parts.settings
    stopwatch = perf_counter if parts.monotonic is now else parts.monotonic  # twenty times cheaper, for every command
    reader = StreamReader(store, parts.codec) if snapshots is None else _snapshot_reader(store, parts, snapshots)
    repository = Repository(
        store=store,
        reader=reader,
        cache=StateCache(settings.warm_inventories, settings.warm_bytes),
        committer=Committer(store, observers, stopwatch, waiting, name=adapter_name(store)),
        fairness=Fairness(store, settings.max_attempts, waiting),
        idempotency=Idempotency(reader, parts.codec),
        unsettled=UnsettledAppends(store.capabilities.settles_within, parts.monotonic),
        clock=parts.clock,
        settings=settings,
        sleep=parts.sleep,
        chance=parts.chance,
        waiting=waiting,
    )
    decider = Decider(
        codec=parts.codec,
        capabilities=store.capabilities,
        policies=tuple(parts.policies),
        settings=settings,
        clock=parts.clock,
        ids=parts.ids,
        reader=reader,
        committer=repository.committer,
    )
    handler = CommandHandler(repository, decider, observers, stopwatch, waiting)
    reads = StrongReads(store, handler, reader)
    if read_model is None:
        return Engine(store, handler, reads)
    head = store.head if isinstance(store, EventFeed) and store.capabilities.feed != "none" else None
    answers = CachedAnswers(parts.cache, clock=parts.clock, observers=observers, head=head) if isinstance(parts.cache, Cache) else None
    history = HistoryPages(store, StreamReader(store, parts.codec))
    projections = tuple(with_shipped(parts.projections).values())
    queries = StockQueries(readers_of(read_model, projections), history=history, answers=answers)
    followers = Followers(
        store,
        read_model,
        projections,
        codec=parts.codec,
        clock=parts.clock,
        ids=parts.ids,
        answers=answers,
        bus=parts.bus if isinstance(parts.bus, EventBus) else None,
        observers=parts.observers,
    )
    return Engine(store, handler, reads, queries, followers, read_model)


def _snapshot_reader(store: EventStore, parts: EngineParts, snapshots: SnapshotStore) -> SnapshotReader:
    if not isinstance(parts.codec, SnapshotCodec):
        msg = f"a {type(parts.codec).__name__} is no SnapshotCodec: give it encode_snapshot and decode_snapshot, or keep no snapshots"
        raise ValueError(msg)  # noqa: TRY004  # each part is of a right type, the two do not go together
    after = parts.settings.snapshot_after
    return SnapshotReader(store, parts.codec, snapshots=snapshots, snapshot_codec=parts.codec, after=after)
