"""The port of an event codec: events as objects on one side, bytes on the other."""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

from inventory_es.domain.reservation_book import InventorySnapshot
from inventory_es.ports.records import EventMetadata, RecordedEvent
from inventory_es.ports.snapshot_store import Snapshot


class EncodedEvent(NamedTuple):
    """What an event is to a store.

    Attributes:
        event_type: its wire name.
        schema_version: of the payload, 1 or more.
        data: the payload, one JSON object in UTF-8 without line breaks.
    """

    event_type: str
    schema_version: int
    data: bytes


class EventCodec(Protocol):
    """Turns events into payloads and back. Pure, and safe to call from any thread.

    One byte form: equal events have equal bytes, in every process and release, since a command that is sent again is
    recognised by the bytes of its events. ``decode`` gives back what ``encode`` took.
    """

    def encode(self, event: object, /) -> EncodedEvent:
        """The stored form of an event.

        Raises:
            ValueError: a type that is not registered, or a payload that could not be read back.
        """
        ...

    def encode_metadata(self, metadata: EventMetadata, /) -> bytes:
        """The stored form of metadata: one JSON object; what is ``None`` is left out.

        Raises:
            ValueError: an extra value that could not be read back.
        """
        ...

    def decode(self, recorded: RecordedEvent, /) -> Any:
        """The event that was recorded, in the newest schema version of its type.

        Raises:
            EventDecodeError: an unknown type or version, or bytes that are no such event. Nothing else, whatever the bytes.
        """
        ...

    def decode_metadata(self, recorded: RecordedEvent, /) -> EventMetadata:
        """The metadata that was recorded; keys that this package does not know are in ``extra``.

        Raises:
            EventDecodeError: bytes that are no metadata. Nothing else, whatever the bytes.
        """
        ...


@runtime_checkable
class SnapshotCodec(Protocol):
    """Optional for an event codec: turns the state of an inventory into bytes and back. Pure, and safe to call from any thread."""

    def encode_snapshot(self, state: InventorySnapshot, /) -> bytes:
        """The stored form of a state.

        Raises:
            ValueError: it could not be read back, or this codec can't say it.
        """
        ...

    def decode_snapshot(self, snapshot: Snapshot, /) -> InventorySnapshot:
        """The state that was encoded, of the snapshot's stream and version.

        Raises:
            ValueError: bytes that are no such state. Nothing else, whatever the bytes.
        """
        ...


@runtime_checkable
class KnownGoodCodec(Protocol):
    """A codec that can write nothing but payloads and metadata as a :class:`NewEvent` takes them. Nobody parses them to see.

    Attributes:
        writes_known_good: says so.
    """

    writes_known_good: ClassVar[Literal[True]]

    def encode_fields(self, *fields: str | None) -> bytes:
        """What :meth:`EventCodec.encode_metadata` gives for these fields, in its order and all but ``extra``.

        Raises:
            ValueError: as there.
        """
        ...


@runtime_checkable
class BatchCodec(Protocol):
    """Optional for an event codec: decodes many events in one go, for less than one after the other."""

    def decode_many(self, events: Sequence[RecordedEvent], /) -> Iterable[Any]:
        """What :meth:`EventCodec.decode` gives for each, in order.

        Raises:
            EventDecodeError: of the first that it raises for.
        """
        ...
