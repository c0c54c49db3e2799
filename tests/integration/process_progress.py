"""How far a replay through orders has come: one event for each of its appends, in the same atomic append."""

from uuid import UUID, uuid5

import attrs

from inventory_es.adapters.serialization import EventRegistry, JsonEventCodec
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import EventStore, NewEvent, StreamWrite
from inventory_es.ports.clock import Clock
from inventory_es.ports.toolkit.page_rules import read_stream_page_backwards
from tests.integration.process_totals import ProcessTotals

_EVENT_IDS = UUID("8e0b6a52-2f0c-5d5e-8f43-9f0a3f4c1b0e")


@attrs.frozen
class ProcessReplayAdvancedEvent:
    """A replay came this far.

    Attributes:
        action: the last one that is done.
        row: of the first line of the last step of the file that is begun; at the end, the last row of the file.
        is_finished: whether nothing is left to do.
        totals: of all that is done.
    """

    action: int
    row: int
    is_finished: bool
    totals: ProcessTotals


_START = ProcessReplayAdvancedEvent(0, 0, is_finished=False, totals=ProcessTotals())
_REGISTRY = EventRegistry().with_event(ProcessReplayAdvancedEvent, name="ProcessReplayAdvancedEvent", schema_version=1)
_CODEC = JsonEventCodec(registry=_REGISTRY)


class ProcessProgress:
    """The progress of one replay in one store.

    Args:
        store: where it is kept.
        stream: the replay's own.
        clock: the replay's.

    Attributes:
        last: how far it has come.
        version: of its stream.
    """

    def __init__(self, store: EventStore, stream: StreamId, clock: Clock) -> None:
        self._store = store
        self._stream = stream
        self._clock = clock
        self.version: int = 0
        self.last: ProcessReplayAdvancedEvent = _START

    @property
    def is_new(self) -> bool:
        """Whether nothing was done yet."""
        return self.version == 0

    async def load(self) -> None:
        """Read the last event of the replay's stream, and no other."""
        page = await read_stream_page_backwards(self._store, self._stream, limit=1)
        self.version = page.version
        self.last = _CODEC.decode(page.events[0]) if page.events else _START

    def write(self, advanced: ProcessReplayAdvancedEvent) -> StreamWrite:
        """What to append together with what ``advanced`` describes."""
        event_type, schema_version, data = _CODEC.encode(advanced)
        event_id = uuid5(_EVENT_IDS, f"{self._stream}/{self.version + 1}/{data.decode()}")
        return StreamWrite(self._stream, self.version, [NewEvent(event_id, event_type, schema_version, self._clock.now(), data)])

    def written(self, advanced: ProcessReplayAdvancedEvent) -> None:
        """It was appended."""
        self.version += 1
        self.last = advanced
