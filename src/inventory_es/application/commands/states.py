"""The folded states of inventories: read from their streams, begun at snapshots, kept between commands.

A snapshot is a cache. It counts only where the log has the very event that it was taken at, with the balance that it holds. Otherwise,
and whenever the snapshot store fails, the fold begins before the first event, and a warning in the log says so.
"""

import logging
import threading
from collections import OrderedDict
from collections.abc import AsyncGenerator, Sequence
from functools import partial
from typing import NoReturn
from uuid import UUID

from inventory_es.application.results import HistoryEntry
from inventory_es.domain.command_identity import EventIds
from inventory_es.domain.errors import FaultError
from inventory_es.domain.events import Event
from inventory_es.domain.identifiers import InventoryId
from inventory_es.domain.inventory import Inventory
from inventory_es.domain.reservation_book import OBJECTS_KEPT, STATE_SCHEMA_VERSION, InventorySnapshot
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.codec import BatchCodec, EventCodec, SnapshotCodec
from inventory_es.ports.errors import CorruptStoreError
from inventory_es.ports.event_store import EventStore, VersionGlance
from inventory_es.ports.records import RecordedEvent
from inventory_es.ports.snapshot_store import Snapshot, SnapshotStore
from inventory_es.ports.toolkit.event_run import run_of
from inventory_es.ports.toolkit.page_rules import read_stream_page

_log = logging.getLogger("inventory_es")

PAGE = 2_000
"""Events asked for at once. Bounds memory; a store may give fewer."""

_BYTES, _BYTES_OPEN, _BYTES_PACKED, _BYTES_CLOSED = 4_000, 520, 270, 280
"""Of memory, about: a state, each of its open reservations, packed or not, and each closed one; with ids of 16 characters."""


class InventoryState:
    """An inventory folded up to its version, and the position of its last event.

    Attributes:
        inventory: the folded state.
        position: of its last event; 0 for none.
        ids: of the events of its stream.
        is_refusing: True if the last command was refused, or was a no-op: likely the next one is too.
        turns: the number of quiet turns after which its stream is raced for again; 0: it is raced for.
        bytes: of memory that it took when it was returned, about.
    """

    __slots__ = ("bytes", "ids", "inventory", "is_refusing", "position", "turns")

    def __init__(self, inventory: Inventory, position: int) -> None:
        self.inventory: Inventory = inventory
        self.position: int = position
        self.ids: EventIds = EventIds(inventory.inventory_id.stream)
        self.is_refusing: bool = False
        self.turns: int = 0
        self.bytes: int = 0


class StateCache:
    """The most recently used states. A state has one user at a time, who checks it out and returns it settled.

    The append proves that a state was current, so a stale state in the cache costs one attempt and no correctness.

    Args:
        capacity: the most inventories kept; 0 keeps none.
        max_bytes: the most memory that they take together, about. The state used last is kept, however large it is.
    """

    def __init__(self, capacity: int, max_bytes: int) -> None:
        self._capacity = capacity
        self._max_bytes = max_bytes
        self._bytes = 0
        self._lock = threading.RLock()
        self._states: OrderedDict[str, InventoryState] = OrderedDict()

    def checkout(self, stream: StreamId) -> InventoryState | None:
        """Remove and return the state of ``stream``; ``None`` if it is not here."""
        with self._lock:
            state = self._states.pop(stream.text, None)
            if state is not None:
                self._bytes -= state.bytes
        return state

    def peek(self, stream: StreamId) -> InventoryState | None:
        """Return the state of ``stream``, to be read at once and left as it is; ``None`` if it is not here."""
        return self._states.get(stream.text)

    def return_(self, stream: StreamId, state: InventoryState) -> None:
        """Keep a settled state. The least recently used ones go where there are too many, or they take too much memory."""
        if self._capacity:
            states, book = self._states, state.inventory
            packed = max(0, book.open_count - OBJECTS_KEPT)
            state.bytes = _BYTES + _BYTES_OPEN * (book.open_count - packed) + _BYTES_PACKED * packed + _BYTES_CLOSED * book.closed_count
            with self._lock:
                if stream.text in states:  # without lanes, two may have loaded it
                    self.checkout(stream)
                self._bytes += state.bytes
                states[stream.text] = state
                while len(states) > 1 and (self._bytes > self._max_bytes or len(states) > self._capacity):
                    _, dropped = states.popitem(last=False)
                    self._bytes -= dropped.bytes

    def __len__(self) -> int:
        return len(self._states)


class StreamReader:
    """Reads and folds streams of inventories.

    Args:
        store: has the streams.
        codec: turns stored events into domain events.
    """

    def __init__(self, store: EventStore, codec: EventCodec) -> None:
        self._store = store
        self._codec = codec
        self._decode_many = codec.decode_many if isinstance(codec, BatchCodec) else partial(map, codec.decode)
        self._glance = store.glance_version if isinstance(store, VersionGlance) else None

    async def begin(self, inventory_id: InventoryId, *, at_most: int | None = None) -> InventoryState:  # noqa: ARG002  # for who knows a short cut
        """Return the state that a fold begins at: before the first event, or a later one of version ``at_most`` or below."""
        return InventoryState(Inventory(inventory_id), 0)

    async def load(self, inventory_id: InventoryId) -> InventoryState:
        """Fold the whole stream."""
        state = await self.begin(inventory_id)
        await self.refresh(state)
        return state

    async def refresh(self, state: InventoryState) -> bool:
        """Fold what was appended since, up to the stream's end as of now.

        Returns:
            True if there was anything new.

        Raises:
            CorruptStoreError: the stream is shorter than what was folded already, or its pages contradict it.
        """
        inventory = state.inventory
        stream = inventory.inventory_id.stream
        apply, decode = inventory.apply, self._decode_many
        news = False
        while True:
            page = await read_stream_page(self._store, stream, after=inventory.version, limit=PAGE)
            if page.version < inventory.version:
                _shrunk(stream, inventory.version, page.version)
            run = run_of(page.events)
            for recorded in zip(decode(page.events), run.versions(), run.instants(), strict=True):
                apply(recorded)
            if page.events:
                news = True
                state.position = page.events[-1].position
            if page.is_end:
                return news

    def is_surely_current(self, state: InventoryState) -> bool:
        """Return whether the store tells at once that nothing was appended since."""
        return self._glance is not None and self._glance(state.inventory.inventory_id.stream) == state.inventory.version

    async def events(self, stream: StreamId, *, after: int = 0, page: int = PAGE) -> AsyncGenerator[RecordedEvent, None]:
        """Yield every event after version ``after``, oldest first, in pages of ``page`` events. Close it if you stop early."""
        is_end = False
        while not is_end:
            events = await read_stream_page(self._store, stream, after=after, limit=page)
            for recorded in events.events:
                yield recorded
                after = recorded.version
            is_end = events.is_end

    async def at_version(self, stream: StreamId, version: int) -> RecordedEvent | None:
        """Return the event that made ``version``; ``None`` if it is not there."""
        if version < 1:
            return None
        page = await read_stream_page(self._store, stream, after=version - 1, limit=1)
        return page.events[0] if page.events else None

    async def find(self, stream: StreamId, event_ids: Sequence[UUID]) -> dict[UUID, RecordedEvent]:
        """Return the events of those ids that the stream holds, by id."""
        return {recorded.event_id: recorded for recorded in await self._store.find_events(stream, event_ids)}

    def entry(self, recorded: RecordedEvent) -> HistoryEntry:
        """Return the decoded event with its envelope."""
        return HistoryEntry(
            event=self.event(recorded),
            event_id=str(recorded.event_id),
            version=recorded.version,
            position=recorded.position,
            recorded_at=recorded.recorded_at,
            metadata=self._codec.decode_metadata(recorded),
        )

    def event(self, recorded: RecordedEvent) -> Event:
        """Return the domain event in ``recorded``."""
        event: Event = self._codec.decode(recorded)
        return event


class SnapshotReader(StreamReader):
    """A :class:`StreamReader` that takes snapshots after long folds and begins at them.

    Args:
        store: has the streams.
        codec: turns stored events into domain events.
        snapshots: keeps the snapshots.
        snapshot_codec: turns states into bytes and back.
        after: a load that folded more events than this takes a snapshot.

    Raises:
        ValueError: ``snapshot_codec`` can't encode a state.
    """

    def __init__(
        self, store: EventStore, codec: EventCodec, *, snapshots: SnapshotStore, snapshot_codec: SnapshotCodec, after: int
    ) -> None:
        super().__init__(store, codec)
        self._snapshots = snapshots
        self._snapshot_codec = snapshot_codec
        self._after = after
        snapshot_codec.encode_snapshot(Inventory(InventoryId("any", "any")).snapshot())

    async def begin(self, inventory_id: InventoryId, *, at_most: int | None = None) -> InventoryState:
        """Return the state of a snapshot that the log confirms; otherwise the one before the first event."""
        stream = inventory_id.stream
        try:
            snapshot = await self._snapshots.load_snapshot(stream, schema_version=STATE_SCHEMA_VERSION, at_most=at_most)
        except Exception as problem:  # noqa: BLE001  # whatever ails a snapshot store, a load goes on without it
            self._warn("snapshot_not_read", inventory_id, problem)
            snapshot = None
        if snapshot is not None:
            event = await self.at_version(stream, snapshot.version)
            try:
                return InventoryState(Inventory.from_snapshot(self._checked(snapshot, event)), event.position if event else 0)
            except (ValueError, FaultError) as problem:
                self._warn("snapshot_ignored", inventory_id, problem)
                await self._discard(inventory_id)
        return await super().begin(inventory_id)

    async def load(self, inventory_id: InventoryId) -> InventoryState:
        """Fold the events after the snapshot; take another snapshot if there were many."""
        state = await self.begin(inventory_id)
        before = state.inventory.version
        await self.refresh(state)
        if state.inventory.version - before > self._after:
            await self._take(state.inventory)
        return state

    def _checked(self, snapshot: Snapshot, event: RecordedEvent | None) -> InventorySnapshot:
        if event is None or event.event_id != snapshot.event_id:
            msg = "the stream does not have the event that it was taken at"
            raise ValueError(msg)
        state = self._snapshot_codec.decode_snapshot(snapshot)
        fact = self.event(event)
        if (state.on_hand, state.reserved, state.last_time) != (fact.on_hand, fact.reserved, event.recorded_at):
            msg = "it does not hold the balance of the event that it was taken at"
            raise ValueError(msg)
        return state

    async def _take(self, inventory: Inventory) -> None:
        stream, version = inventory.inventory_id.stream, inventory.version
        try:
            event = await self.at_version(stream, version)
            if event is not None:
                data = self._snapshot_codec.encode_snapshot(inventory.snapshot())
                await self._snapshots.save_snapshot(
                    Snapshot(stream=stream, schema_version=STATE_SCHEMA_VERSION, version=version, event_id=event.event_id, data=data)
                )
        except Exception as problem:  # noqa: BLE001  # whatever ails a snapshot store, a load goes on without it
            self._warn("snapshot_not_taken", inventory.inventory_id, problem)

    async def _discard(self, inventory_id: InventoryId) -> None:
        try:
            await self._snapshots.discard_snapshots(inventory_id.stream)
        except Exception as problem:  # noqa: BLE001  # whatever ails a snapshot store, a load goes on without it
            self._warn("snapshot_not_discarded", inventory_id, problem)

    def _warn(self, name: str, inventory_id: InventoryId, problem: Exception) -> None:
        _log.warning(name, extra={"stream": inventory_id.stream.text, "reason": str(problem)})


def _shrunk(stream: StreamId, folded: int, found: int) -> NoReturn:
    raise CorruptStoreError(store="event store", place=f"stream {stream}", problem=f"it had version {folded} and now has {found}")
