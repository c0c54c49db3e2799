"""The replaceable parts of a simulated application, and the codec and the consumer that the kit brings itself."""

import json
from collections.abc import Callable
from datetime import datetime
from enum import Enum
from types import UnionType
from typing import Any, get_args, get_type_hints

import attrs

from inventory_es.adapters.memory import MemoryCache, MemoryEventBus, MemoryEventStore
from inventory_es.adapters.memory.event_store import MemoryEventLog
from inventory_es.application.engine import Engine, EngineParts, assemble
from inventory_es.domain.events import EVENT_TYPES
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import Cache, Clock, EncodedEvent, EventBus, EventCodec, EventFeed, EventMetadata, EventStore, RecordedEvent
from inventory_es.ports.errors import EventDecodeError
from inventory_es.ports.toolkit.page_rules import read_feed_page

_BY_NAME = {kind.__name__: kind for kind in EVENT_TYPES}
_HINTS = {kind: get_type_hints(kind) for kind in EVENT_TYPES}


class PlainCodec:
    """An :class:`~inventory_es.ports.EventCodec` in plain JSON for the events of an inventory. Not the stored form of any version."""

    def encode(self, event: object, /) -> EncodedEvent:
        """Return the fields of an event as one JSON object."""
        kind: type[Any] = type(event)
        fields = {field.name: _plain(getattr(event, field.name)) for field in attrs.fields(kind)}
        return EncodedEvent(kind.__name__, 1, _dump(fields))

    def encode_metadata(self, metadata: EventMetadata, /) -> bytes:
        """Return the fields that are set, as one JSON object."""
        return _dump({name: value for name, value in attrs.asdict(metadata).items() if value})

    def decode(self, recorded: RecordedEvent, /) -> Any:
        """Return the event that was encoded.

        Raises:
            EventDecodeError: the type is none of an inventory's events.
        """
        kind = _BY_NAME.get(recorded.event_type)
        if kind is None:
            raise EventDecodeError(
                stream=recorded.stream,
                version=recorded.version,
                event_type=recorded.event_type,
                schema_version=recorded.schema_version,
                problem="it is no event of an inventory",
            )
        hints = _HINTS[kind]
        return kind(**{name: _typed(hints[name], value) for name, value in json.loads(recorded.data).items()})

    def decode_metadata(self, recorded: RecordedEvent, /) -> EventMetadata:
        """Return the metadata that was encoded."""
        return EventMetadata(**json.loads(recorded.metadata))


def _plain(value: object) -> object:
    match value:
        case Enum():
            return value.value
        case datetime():
            return value.isoformat()
        case _:
            return value


def _typed(hint: Any, value: Any) -> Any:
    if isinstance(hint, UnionType):
        hint = next(one for one in get_args(hint) if one is not type(None))
    if value is None or not issubclass(hint, datetime | Enum):
        return value
    return datetime.fromisoformat(value) if issubclass(hint, datetime) else hint(value)


def _dump(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()


PAGE = 5
"""Events that a consumer reads at once: few, so that restarts happen between two pages."""


@attrs.define
class Row:
    """A consumer's figures of one inventory.

    Attributes:
        version: version of the newest event that the consumer took.
        on_hand: units on hand.
        reserved: units reserved.
    """

    version: int = 0
    on_hand: int = 0
    reserved: int = 0


class Consumer:
    """A consumer of the bus that trusts only the feed: a delivery is a hint to read.

    The consumer projects the stock of every inventory. Its rows and its checkpoint outlive the node that runs it.

    Args:
        codec: decodes the events.

    Attributes:
        rows: the figures by stream.
        checkpoint: position up to which the consumer has read the feed.
        taken: how many events the consumer took, each once.
    """

    def __init__(self, codec: EventCodec) -> None:
        self.rows: dict[StreamId, Row] = {}
        self.checkpoint: int = 0
        self.taken: int = 0
        self._codec = codec

    def take(self, recorded: RecordedEvent) -> bool:
        """Take an event if it is the next one of its stream. No-op for an event that was taken before.

        Returns:
            False if an earlier event is missing.
        """
        row = self.rows.setdefault(recorded.stream, Row())
        if recorded.version > row.version + 1:
            return False
        if recorded.version == row.version + 1:
            event = self._codec.decode(recorded)
            self.rows[recorded.stream] = Row(recorded.version, event.on_hand, event.reserved)
            self.taken += 1
        return True

    async def catch_up(self, feed: EventFeed) -> None:
        """Read the feed from the checkpoint to its end."""
        is_end = False
        while not is_end:
            page = await read_feed_page(feed, after=self.checkpoint, limit=PAGE)
            for recorded in page.events:
                self.take(recorded)
            self.checkpoint = max(self.checkpoint, page.next_after)
            is_end = page.is_end


def _bus(clock: Clock) -> EventBus:
    return MemoryEventBus(clock=clock)


def _cache(clock: Clock) -> Cache:
    return MemoryCache(clock=clock)


@attrs.frozen(kw_only=True)
class Subject:
    """The parts of a simulated application. The defaults are the package's own.

    Attributes:
        assemble: builds the engine of a node, each time that the node starts.
        codec: turns events into bytes and back.
        open_store: opens one node's handle on the shared log.
        open_bus: opens the bus that all nodes share.
        open_cache: opens the cache that all nodes share.
        consumer: makes a reader of the bus, which catches up from the feed.
    """

    assemble: Callable[[EventStore, EngineParts], Engine] = assemble
    codec: EventCodec = attrs.field(factory=PlainCodec)
    open_store: Callable[[MemoryEventLog], MemoryEventStore] = MemoryEventStore
    open_bus: Callable[[Clock], EventBus] = _bus
    open_cache: Callable[[Clock], Cache] = _cache
    consumer: Callable[[EventCodec], Consumer] = Consumer
