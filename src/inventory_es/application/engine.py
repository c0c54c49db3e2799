"""How the parts of the engine fit together."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Protocol

import anyio
import attrs

from inventory_es.application.commands.decision import Decider
from inventory_es.application.commands.group_commit import Committer, Fairness
from inventory_es.application.commands.handler import CommandHandler
from inventory_es.application.commands.handler_settings import HandlerSettings
from inventory_es.application.commands.idempotency import Idempotency, UnsettledAppends
from inventory_es.application.commands.repository import Repository
from inventory_es.application.commands.states import SnapshotReader, StateCache, StreamReader
from inventory_es.application.commands.waiting import TaskWaiting
from inventory_es.application.observers import Observers
from inventory_es.application.queries.strong_reads import StrongReads
from inventory_es.application.query_side import QuerySide, QuerySideParts, assemble_query_side
from inventory_es.domain.errors import FaultError
from inventory_es.domain.inventory import Policy
from inventory_es.ports import Clock, EventStore, IdGenerator, ReadModel, SnapshotCodec, SnapshotStore
from inventory_es.ports.codec import EventCodec

_logger = logging.getLogger("inventory_es")


@attrs.frozen(kw_only=True)
class EngineParts:
    """What a host may choose.

    Attributes:
        codec: events to bytes and back.
        clock: the time.
        ids: ids that callers don't give.
        chance: a number from 0 up to, not including, 1, for the jitter between attempts.
        policies: the host's rules.
        observers: objects with any of the methods of :class:`~inventory_es.application.observers.Observers`.
        query_side: read models, cache and bus; ``None`` for none.
        settings: bounds.
        snapshots: where snapshots are kept: an open store, which stays the host's to close, or what opens one, which is closed with
            the engine; ``None`` keeps none.
        sleep: waits for seconds.
        monotonic: seconds that never go back.
    """

    codec: EventCodec
    clock: Clock
    ids: IdGenerator
    chance: Callable[[], float]
    policies: Sequence[Policy] = ()
    observers: Sequence[object] = ()
    query_side: QuerySideParts | None = None
    settings: HandlerSettings = attrs.field(factory=HandlerSettings)
    snapshots: SnapshotStore | Callable[[], Awaitable[SnapshotStore]] | None = None
    sleep: Callable[[float], Awaitable[object]] = anyio.sleep
    monotonic: Callable[[], float] = anyio.current_time


class Closable(Protocol):
    """What an engine may own."""

    async def aclose(self) -> None:
        """Release every resource."""


@attrs.frozen
class Engine:
    """The assembled command side, strong reads and, where there is a read model, the query side, over one store.

    Attributes:
        store: the event store.
        handler: executes commands.
        reads: answers from the stream.
        query_side: answers from read models, and keeps them up.
        owned: what closes with it.
    """

    store: EventStore
    handler: CommandHandler
    reads: StrongReads
    query_side: QuerySide | None = None
    owned: Sequence[Closable] = ()

    async def aclose(self) -> None:
        """Close what it owns, the last first."""
        async with AsyncExitStack() as stack:
            for one in self.owned:
                stack.push_async_callback(one.aclose)


async def open_engine(open_store: Callable[[], Awaitable[EventStore]], parts: EngineParts, *, owns_store: bool) -> Engine:
    """Open the store, and snapshots and read models where they are kept, and build the engine. Where that fails, nothing stays open.

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
        read_model = None if parts.query_side is None else parts.query_side.read_model
        if read_model is not None and not isinstance(read_model, ReadModel):
            read_model = await read_model()
            owned.append(read_model)
            opened.push_async_callback(read_model.aclose)
        engine = assemble(store, parts, snapshots, read_model)
        if engine.query_side is not None:
            owned.append(engine.query_side.followers)
        opened.pop_all()
    return attrs.evolve(engine, owned=owned)


async def _open_snapshots(open_store: Callable[[], Awaitable[SnapshotStore]]) -> SnapshotStore | None:
    """Open the snapshot store, or return None with a warning: snapshots save time, and no command waits for them to be mended.

    What is at the place is left as it is, because the same kind of file may hold events.
    """
    try:
        return await open_store()
    except (FaultError, OSError) as problem:
        _logger.warning("snapshots_not_opened", extra={"reason": str(problem)})
        return None


def assemble(store: EventStore, parts: EngineParts, snapshots: SnapshotStore | None = None, read_model: ReadModel | None = None) -> Engine:
    """Build the engine over ``store``, and its query side over ``read_model`` where ``parts`` have one.

    Raises:
        ValueError: snapshots, and a codec that can't write them.
    """
    observers, waiting, settings = Observers(parts.observers), TaskWaiting(), parts.settings
    reader = StreamReader(store, parts.codec) if snapshots is None else _snapshot_reader(store, parts, snapshots)
    repository = Repository(
        store=store,
        reader=reader,
        cache=StateCache(settings.warm_inventories, settings.warm_bytes),
        committer=Committer(store, observers, parts.monotonic, waiting),
        fairness=Fairness(store, settings.max_attempts, waiting),
        idempotency=Idempotency(reader, parts.codec),
        unsettled=UnsettledAppends(store.capabilities.settles_within, parts.monotonic),
        clock=parts.clock,
        settings=settings,
        sleep=parts.sleep,
        chance=parts.chance,
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
    handler = CommandHandler(repository, decider, observers, parts.monotonic, waiting)
    query_side = None
    if read_model is not None and parts.query_side is not None:
        query_side = assemble_query_side(
            store, read_model, parts.query_side, codec=parts.codec, clock=parts.clock, ids=parts.ids, observers=observers
        )
    return Engine(store, handler, StrongReads(store, handler, reader), query_side)


def _snapshot_reader(store: EventStore, parts: EngineParts, snapshots: SnapshotStore) -> SnapshotReader:
    if not isinstance(parts.codec, SnapshotCodec):
        msg = f"a {type(parts.codec).__name__} is no SnapshotCodec: give it encode_snapshot and decode_snapshot, or keep no snapshots"
        raise ValueError(msg)  # noqa: TRY004  # each part is of a right type, the two do not go together
    after = parts.settings.snapshot_after
    return SnapshotReader(store, parts.codec, snapshots=snapshots, snapshot_codec=parts.codec, after=after)
