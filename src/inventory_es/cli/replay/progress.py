"""How far a replay has come: one event of its own for each of its appends, in a stream of its own, in the same atomic append."""

from uuid import UUID, uuid5

import attrs

from inventory_es.adapters.serialization import EventRegistry, JsonEventCodec
from inventory_es.cli.replay.totals import Totals
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import EventStore, NewEvent, StreamWrite
from inventory_es.ports.clock import Clock
from inventory_es.ports.toolkit.page_rules import read_stream_page_backwards

_EVENT_IDS = UUID("1d2f1f1c-6f5a-5d0e-9a39-8f3c9b2f5b6e")


@attrs.frozen
class ReplayAdvancedEvent:
    """A replay came this far.

    Attributes:
        row: of the first line of the last step that is done; at the end, the last row of the file.
        is_finished: whether nothing is left to do.
        totals: of all that is done.
    """

    row: int
    is_finished: bool
    totals: Totals


_START = ReplayAdvancedEvent(0, is_finished=False, totals=Totals())
_CODEC = JsonEventCodec(registry=EventRegistry().with_event(ReplayAdvancedEvent, name="ReplayAdvancedEvent", schema_version=1))


class Progress:
    """The progress of one replay in one store.

    Args:
        store: where it is kept.
        stream: the replay's own.
        clock: the replay's.

    Attributes:
        stream: the replay's own.
        last: how far it has come.
    """

    def __init__(self, store: EventStore, stream: StreamId, clock: Clock) -> None:
        self._store = store
        self.stream = stream
        self._clock = clock
        self._version = 0
        self.last: ReplayAdvancedEvent = _START

    @property
    def is_new(self) -> bool:
        """Whether nothing was done yet."""
        return self._version == 0

    async def load(self) -> None:
        """Read how far the replay has come: the last event of its stream, and no other."""
        page = await read_stream_page_backwards(self._store, self.stream, limit=1)
        self._version = page.version
        self.last = _CODEC.decode(page.events[0]) if page.events else _START

    def write(self, advanced: ReplayAdvancedEvent) -> StreamWrite:
        """What to append together with what ``advanced`` describes."""
        event_type, schema_version, data = _CODEC.encode(advanced)
        event_id = uuid5(_EVENT_IDS, f"{self.stream}/{self._version + 1}/{data.decode()}")
        return StreamWrite(self.stream, self._version, [NewEvent(event_id, event_type, schema_version, self._clock.now(), data)])

    def written(self, advanced: ReplayAdvancedEvent) -> None:
        """It was appended."""
        self._version += 1
        self.last = advanced
