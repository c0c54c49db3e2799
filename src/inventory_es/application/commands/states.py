"""Reading an inventory's stream: pages, decoding, folding."""

from collections.abc import AsyncGenerator, Sequence
from functools import partial
from typing import NoReturn
from uuid import UUID

from inventory_es.application.commands.warm_states import WarmState
from inventory_es.application.results import HistoryEntry
from inventory_es.domain.events import Event
from inventory_es.domain.identifiers import InventoryId
from inventory_es.domain.inventory import Inventory
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import EventStore, RecordedEvent, VersionGlance
from inventory_es.ports.codec import BatchCodec, EventCodec
from inventory_es.ports.errors import CorruptStoreError
from inventory_es.ports.toolkit.event_run import run_of
from inventory_es.ports.toolkit.page_rules import read_stream_page

PAGE = 2_000
"""Events asked for at once. Bounds memory; a store may give fewer."""


class StreamReader:
    """Reads and folds streams of inventories.

    Args:
        store: where from.
        codec: turns stored events into domain events.
    """

    def __init__(self, store: EventStore, codec: EventCodec) -> None:
        self._store = store
        self._codec = codec
        self._decode_many = codec.decode_many if isinstance(codec, BatchCodec) else partial(map, codec.decode)
        self._glance = store.glance_version if isinstance(store, VersionGlance) else None

    async def begin(self, inventory_id: InventoryId, *, at_most: int | None = None) -> WarmState:  # noqa: ARG002  # for who knows a short cut
        """Where a fold begins: before the first event, or later, at a state of version ``at_most`` or below."""
        return WarmState(Inventory(inventory_id), 0)

    async def load(self, inventory_id: InventoryId) -> WarmState:
        """Fold the whole stream."""
        state = await self.begin(inventory_id)
        await self.refresh(state)
        return state

    async def refresh(self, state: WarmState) -> bool:
        """Fold what was appended since, up to the stream's end as of now.

        Returns:
            Whether there was anything new.

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

    def is_surely_current(self, state: WarmState) -> bool:
        """Whether the store can tell at once that nothing was appended since."""
        return self._glance is not None and self._glance(state.inventory.inventory_id.stream) == state.inventory.version

    async def events(self, stream: StreamId, *, after: int = 0, page: int = PAGE) -> AsyncGenerator[RecordedEvent, None]:
        """Every event after version ``after``, oldest first, asking for ``page`` events at a time. Close it if you stop early."""
        is_end = False
        while not is_end:
            events = await read_stream_page(self._store, stream, after=after, limit=page)
            for recorded in events.events:
                yield recorded
                after = recorded.version
            is_end = events.is_end

    async def at_version(self, stream: StreamId, version: int) -> RecordedEvent | None:
        """The event that made ``version``, if it is there."""
        if version < 1:
            return None
        page = await read_stream_page(self._store, stream, after=version - 1, limit=1)
        return page.events[0] if page.events else None

    async def find(self, stream: StreamId, event_ids: Sequence[UUID]) -> dict[UUID, RecordedEvent]:
        """Those of the ids that the stream holds."""
        return {recorded.event_id: recorded for recorded in await self._store.find_events(stream, event_ids)}

    def entry(self, recorded: RecordedEvent) -> HistoryEntry:
        """``recorded``, decoded, with its envelope."""
        return HistoryEntry(
            event=self.event(recorded),
            event_id=str(recorded.event_id),
            version=recorded.version,
            position=recorded.position,
            recorded_at=recorded.recorded_at,
            metadata=self._codec.decode_metadata(recorded),
        )

    def event(self, recorded: RecordedEvent) -> Event:
        """The domain event in ``recorded``."""
        event: Event = self._codec.decode(recorded)
        return event


def _shrunk(stream: StreamId, folded: int, found: int) -> NoReturn:
    raise CorruptStoreError(store="event store", place=f"stream {stream}", problem=f"it had version {folded} and now has {found}")
