"""The port of an event codec: events as objects on one side, bytes on the other."""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

from inventory_es.domain.reservation_book import InventorySnapshot
from inventory_es.ports.records import EventMetadata, RecordedEvent
from inventory_es.ports.snapshot_store import Snapshot


class EncodedEvent(NamedTuple):
    """The stored form of an event.

    Attributes:
        event_type: the wire name.
        schema_version: of the payload, 1 or more.
        data: the payload, one JSON object in UTF-8 without line breaks.
    """

    event_type: str
    schema_version: int
    data: bytes


class EventCodec(Protocol):
    """Turns events into payloads and back. Pure, and safe to call from any thread.

    Equal events have equal bytes, in every process and release, because a repeated command is recognised by the bytes of its events.
    ``decode`` returns the event that ``encode`` took.
    """

    def encode(self, event: object, /) -> EncodedEvent:
        """Return the stored form of an event.

        Raises:
            ValueError: a type that is not registered, or a payload that could not be read back.
        """
        ...

    def encode_metadata(self, metadata: EventMetadata, /) -> bytes:
        """Return the stored form of metadata: one JSON object without the fields that are ``None``.

        Raises:
            ValueError: an extra value that could not be read back.
        """
        ...

    def decode(self, recorded: RecordedEvent, /) -> Any:
        """Return the recorded event, in the newest schema version of its type.

        Raises:
            EventDecodeError: an unknown type or version, or bytes that are no such event. No bytes raise another error.
        """
        ...

    def decode_metadata(self, recorded: RecordedEvent, /) -> EventMetadata:
        """Return the recorded metadata, with the keys that this package does not know in ``extra``.

        Raises:
            EventDecodeError: bytes that are no metadata. No bytes raise another error.
        """
        ...


@runtime_checkable
class SnapshotCodec(Protocol):
    """An optional protocol of an event codec: the state of an inventory as bytes. Pure, and safe to call from any thread."""

    def encode_snapshot(self, state: InventorySnapshot, /) -> bytes:
        """Return the stored form of a state.

        Raises:
            ValueError: the state could not be read back, or has no form in this codec.
        """
        ...

    def decode_snapshot(self, snapshot: Snapshot, /) -> InventorySnapshot:
        """Return the encoded state, of the snapshot's stream and version.

        Raises:
            ValueError: bytes that are no such state. No bytes raise another error.
        """
        ...


@runtime_checkable
class KnownGoodCodec(Protocol):
    """A codec whose payloads and metadata always satisfy the rules of a :class:`NewEvent`, so that they need no parsing to be checked.

    Attributes:
        writes_known_good: always True.
    """

    writes_known_good: ClassVar[Literal[True]]

    def encode_fields(self, *fields: str | None) -> bytes:
        """Return the same bytes as :meth:`EventCodec.encode_metadata` for these fields, given in its order and without ``extra``.

        Raises:
            ValueError: as :meth:`EventCodec.encode_metadata`.
        """
        ...


@runtime_checkable
class BatchCodec(Protocol):
    """An optional protocol of an event codec: many events decoded together, faster than one by one."""

    def decode_many(self, events: Sequence[RecordedEvent], /) -> Iterable[Any]:
        """Return the result of :meth:`EventCodec.decode` for each event, in order.

        Raises:
            EventDecodeError: for the first event that can't be decoded.
        """
        ...
