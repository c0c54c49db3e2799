"""Totals and progress of a replay.

Each append of a replay has one progress event, in a stream of the replay's own.
"""

from typing import Self
from uuid import UUID, uuid5

import attrs

from inventory_es.adapters.serialization import EventRegistry, JsonEventCodec
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import EventStore, NewEvent, StreamWrite
from inventory_es.ports.clock import Clock
from inventory_es.ports.toolkit.page_rules import read_stream_page_backwards


@attrs.frozen(kw_only=True)
class Totals:
    """Counts from the first line of a source up to some step.

    Attributes:
        rows: order lines.
        orders: invoices with sales, including refused ones.
        orders_refused: orders that could not be covered; none of their lines was written.
        adjustments: lines that write units off, including refused ones.
        adjustments_refused: write-offs of more units than there were.
        returns: lines that bring units back.
        units_sold: units that left with orders.
        units_returned: units that came back.
        units_written_off: units that adjustments took away.
        units_received: units that were received to cover a shortage.
        units_opening: units that inventories were opened with.
        events: events in inventories.
        invoices_in_before: invoices that the store had already, from another file; only their lines are counted besides.
    """

    rows: int = 0
    orders: int = 0
    orders_refused: int = 0
    adjustments: int = 0
    adjustments_refused: int = 0
    returns: int = 0
    units_sold: int = 0
    units_returned: int = 0
    units_written_off: int = 0
    units_received: int = 0
    units_opening: int = 0
    events: int = 0
    invoices_in_before: int = 0

    def __add__(self, other: "Totals") -> Self:
        """Return the sum of both."""
        mine, others = attrs.astuple(self), attrs.astuple(other)
        return type(self)(**{field.name: a + b for field, a, b in zip(attrs.fields(Totals), mine, others, strict=True)})


_EVENT_IDS = UUID("1d2f1f1c-6f5a-5d0e-9a39-8f3c9b2f5b6e")


@attrs.frozen
class ReplayAdvancedEvent:
    """A replay came this far.

    Attributes:
        row: the row of the last step that is done; at the end, the last row of the file.
        is_finished: True if no step is left.
        totals: the totals of all steps that are done.
    """

    row: int
    is_finished: bool
    totals: Totals


_START = ReplayAdvancedEvent(0, is_finished=False, totals=Totals())
_CODEC = JsonEventCodec(registry=EventRegistry().with_event(ReplayAdvancedEvent, name="ReplayAdvancedEvent", schema_version=1))


class Progress:
    """The progress of one replay in one store.

    Args:
        store: the store that the orders go into.
        stream: the replay's own stream.
        clock: the replay's clock.

    Attributes:
        stream: the replay's own stream.
        last: the last progress event.
    """

    def __init__(self, store: EventStore, stream: StreamId, clock: Clock) -> None:
        self._store = store
        self.stream = stream
        self._clock = clock
        self._version = 0
        self.last: ReplayAdvancedEvent = _START

    @property
    def is_new(self) -> bool:
        """True if the replay has stored nothing yet."""
        return self._version == 0

    async def load(self) -> None:
        """Read the last event of the replay's stream."""
        page = await read_stream_page_backwards(self._store, self.stream, limit=1)
        self._version = page.version
        self.last = _CODEC.decode(page.events[0]) if page.events else _START

    def write(self, advanced: ReplayAdvancedEvent) -> StreamWrite:
        """Return the write of a progress event, to be appended together with the events that it counts."""
        event_type, schema_version, data = _CODEC.encode(advanced)
        event_id = uuid5(_EVENT_IDS, f"{self.stream}/{self._version + 1}/{data.decode()}")
        return StreamWrite(self.stream, self._version, [NewEvent(event_id, event_type, schema_version, self._clock.now(), data)])

    def written(self, advanced: ReplayAdvancedEvent) -> None:
        """Record that the last write was appended."""
        self._version += 1
        self.last = advanced
