"""The event codec: a closed registry of event types, JSON payloads and JSON metadata."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from operator import attrgetter
from typing import Any, ClassVar, Literal

import attrs
import cattrs
import msgspec

from inventory_es.adapters.serialization.domain_form import (
    HOSTILE,
    domain_batch_reader,
    domain_checker,
    domain_event,
    domain_reader,
    domain_writer,
)
from inventory_es.adapters.serialization.plain_form import PayloadSeal, PlainForm, check_hooks, default_converter, structure, unstructure
from inventory_es.adapters.serialization.registry import EventKind, EventRegistry, default_registry
from inventory_es.adapters.serialization.snapshot_form import read_snapshot, write_snapshot
from inventory_es.adapters.serialization.strict_json import (
    MAX_BYTES,
    PayloadError,
    check_bounds,
    read_field,
    read_object,
    write_json,
    write_object,
)
from inventory_es.domain.errors import InvalidIdentifierError
from inventory_es.domain.events import EVENT_TYPES
from inventory_es.domain.identifiers import INVENTORY_CATEGORY
from inventory_es.domain.processes.event_types import PROCESS_EVENT_TYPES
from inventory_es.domain.reservation_book import InventorySnapshot
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.codec import EncodedEvent
from inventory_es.ports.errors import EventDecodeError
from inventory_es.ports.records import OWN_FIELDS, EventMetadata, RecordedEvent, is_own
from inventory_es.ports.snapshot_store import Snapshot
from inventory_es.ports.toolkit.event_run import EventRun, run_of


class _Row(msgspec.Struct, omit_defaults=True, gc=False):
    command_id: str | None = None
    fingerprint: str | None = None
    correlation_id: str | None = None
    causation_id: str | None = None
    actor_id: str | None = None
    reference: str | None = None
    more: Any = None


_fields_of = attrgetter(*OWN_FIELDS)
_read_row = msgspec.json.Decoder(_Row).decode
_QUOTES_OF_A_FIELD = 4
_QUOTES_OF_MORE = 2


_LEAST_MAX_BYTES = 4_096
_PROCESSES = default_converter()
_AT_ONCE = 200
"""The events that are decoded together: enough to save time, too few to start the garbage collector."""


class JsonEventCodec:
    """An :class:`~inventory_es.ports.EventCodec` of strict JSON, and a :class:`~inventory_es.ports.SnapshotCodec`.

    Args:
        registry: the event types that can be read and written; those of inventories and processes by default.
        converter: a cattrs converter for the fields of host-defined types; :func:`default_converter` by default.
        seal: a host's transform of payloads, for instance to encrypt fields; none by default.
        max_bytes: the longest payload or metadata, 4 KiB or more, 1 MiB by default. Nothing longer is parsed or written.

    Raises:
        ValueError: ``max_bytes`` is less than the longest event of an inventory needs.
    """

    __slots__ = ("_batch_readers", "_is_sealed", "_max_bytes", "_readers", "_registry", "_writers")

    writes_known_good: ClassVar[Literal[True]] = True

    def __init__(
        self,
        *,
        registry: EventRegistry | None = None,
        converter: cattrs.Converter | None = None,
        seal: PayloadSeal | None = None,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        if max_bytes < _LEAST_MAX_BYTES:
            msg = f"max_bytes must be {_LEAST_MAX_BYTES} or more, not {max_bytes}: an event of an inventory may be that long"
            raise ValueError(msg)
        self._registry = default_registry() if registry is None else registry
        self._max_bytes = max_bytes
        self._is_sealed = seal is not None
        self._writers: dict[type[Any], tuple[str, int, Callable[[Any], bytes]]] = {}
        self._readers: dict[tuple[str, int], Callable[[RecordedEvent], Any]] = {}
        self._batch_readers: dict[tuple[str, int], Callable[[Sequence[bytes], Sequence[StreamId]], list[Any] | None]] = {}
        converter = default_converter() if converter is None else converter
        for kind in self._registry.kinds:
            self._add(kind, converter, seal)

    def encode(self, event: object, /) -> EncodedEvent:
        """Return the stored form of an event.

        Raises:
            ValueError: a type that is not registered, or a payload that could not be read back.
        """
        try:
            event_type, schema_version, write = self._writers[type(event)]
        except KeyError:
            msg = f"{type(event).__qualname__} is no registered event type: add it with EventRegistry.with_event"
            raise ValueError(msg) from None
        try:
            # The same as EncodedEvent(…) without the call of its constructor, because every event makes one.
            return tuple.__new__(EncodedEvent, (event_type, schema_version, write(event)))
        except (ValueError, TypeError) as error:
            msg = f"an event of type {event_type} can't be encoded: {_problem(error)}"
            raise ValueError(msg) from error.__cause__

    def encode_metadata(self, metadata: EventMetadata, /) -> bytes:
        """Return the stored form of metadata: one JSON object without the fields that are ``None``.

        Raises:
            ValueError: an extra value that could not be read back.
        """
        if metadata.extra:
            own = {name: value for name in OWN_FIELDS if (value := getattr(metadata, name)) is not None}
            mark = {"more": True} if metadata.more else {}
            return write_object(own | mark | dict(metadata.extra), self._max_bytes)
        more: Any = metadata.more or None  # the field after the texts
        return self.encode_fields(*_fields_of(metadata), more)

    def encode_fields(self, *fields: str | None) -> bytes:
        """Return the stored form of metadata with these fields, in the order of :class:`EventMetadata`, and without extra keys.

        Raises:
            ValueError: a text that could not be read back.
        """
        try:
            data = write_json(_Row(*fields))
        except UnicodeEncodeError:
            msg = "it has a lone surrogate, which no encoding can carry"
            raise PayloadError(msg) from None
        if len(data) > self._max_bytes:
            check_bounds(data, self._max_bytes)
        return data

    def decode(self, recorded: RecordedEvent, /) -> Any:
        """Return the recorded event, in the newest schema version of its type.

        Raises:
            EventDecodeError: an unknown type or version, or bytes that are no such event.
        """
        read = self._readers.get((recorded.event_type, recorded.schema_version))
        if read is None:
            raise _decode_error(recorded, self._why_unknown(recorded))
        try:
            return read(recorded)
        except HOSTILE as error:
            raise _decode_error(recorded, _problem(error)) from error.__cause__

    def decode_many(self, events: Sequence[RecordedEvent], /) -> Iterator[Any]:
        """Return the result of :meth:`decode` for each event, in order. Some events are decoded together, which is faster.

        Raises:
            EventDecodeError: as :meth:`decode`, for the first event that can't be decoded.
        """
        if type(self).decode is not JsonEventCodec.decode:  # a subclass may want whole events
            return map(self.decode, events)
        parts = (events[first : first + _AT_ONCE] for first in range(0, len(events), _AT_ONCE))
        return chain.from_iterable(self._decode_together(run_of(part)) or map(self.decode, part) for part in parts)

    def _decode_together(self, run: EventRun[Any]) -> list[Any] | None:
        """Return all events if this codec has written them; otherwise each must be decoded by itself."""
        kinds, payloads, streams = run.kinds(), run.payloads(), run.streams()
        if kinds.count(kinds[0]) == len(kinds):
            read = self._batch_readers.get(kinds[0])
            return None if read is None else read(payloads, streams)
        decoded: list[Any] = [None] * len(kinds)
        for kind in set(kinds):
            read = self._batch_readers.get(kind)
            places = [at for at, one in enumerate(kinds) if one == kind]
            events = None if read is None else read([payloads[at] for at in places], [streams[at] for at in places])
            if events is None:
                return None
            for at, event in zip(places, events, strict=True):
                decoded[at] = event
        return decoded

    def decode_metadata(self, recorded: RecordedEvent, /) -> EventMetadata:
        """Return the recorded metadata, with the keys that this package does not know in ``extra``.

        Raises:
            EventDecodeError: bytes that are no metadata.
        """
        try:
            return _read_metadata(recorded.metadata, self._max_bytes)
        except HOSTILE as error:
            raise _decode_error(recorded, f"metadata: {_problem(error)}") from None

    def encode_snapshot(self, state: InventorySnapshot, /) -> bytes:
        """Return the stored form of an inventory's state.

        Raises:
            ValueError: the state is too large, or this codec has a seal: the state would contain the data that the seal hides.
        """
        if self._is_sealed:
            msg = "a codec with a seal writes no snapshots, which would hold in clear what it hides: give one that seals them too"
            raise ValueError(msg)
        return write_snapshot(state)

    def decode_snapshot(self, snapshot: Snapshot, /) -> InventorySnapshot:
        """Return the state in a snapshot.

        Raises:
            ValueError: bytes that are no such state.
        """
        try:
            return read_snapshot(snapshot)
        except HOSTILE as error:
            raise ValueError(_problem(error)) from None

    def _add(self, kind: EventKind, converter: cattrs.Converter, seal: PayloadSeal | None) -> None:
        is_domain = kind.cls in EVENT_TYPES
        if kind.cls in PROCESS_EVENT_TYPES:
            converter = _PROCESSES
        if not is_domain:
            check_hooks(converter, kind.cls)
        form = partial(
            PlainForm,
            event_type=kind.event_type,
            to_plain=_domain_plain(domain_writer(kind.cls)) if is_domain else partial(unstructure, converter, kind.cls),
            from_plain=partial(domain_event, kind.cls) if is_domain else partial(structure, converter, kind.cls),
            check=domain_checker(kind.cls) if is_domain else _place_checker(kind.cls),
            seal=seal,
            max_bytes=self._max_bytes,
        )
        newest = form(upcasters=())
        fast = is_domain and seal is None
        write = domain_writer(kind.cls) if fast else newest.write
        self._writers[kind.cls] = (kind.event_type, kind.schema_version, write)
        read = domain_reader(kind.cls, self._max_bytes) if fast else newest.read
        self._readers[kind.event_type, kind.schema_version] = read
        if fast:
            self._batch_readers[kind.event_type, kind.schema_version] = domain_batch_reader(kind.cls, self._max_bytes)
        for stored in kind.upcasters:
            steps = [kind.upcasters[version] for version in range(stored, kind.schema_version)]
            self._readers[kind.event_type, stored] = form(upcasters=steps).read

    def _why_unknown(self, recorded: RecordedEvent) -> str:
        versions = self._registry.versions_of(recorded.event_type)
        if not versions:
            return "the type is not registered: add it with EventRegistry.with_event"
        return f"the schema version is not registered (known: {', '.join(map(str, sorted(versions)))}): was it written by a newer release?"


def _read_metadata(data: bytes, max_bytes: int) -> EventMetadata:
    """Return the metadata in ``data``; unknown keys go to ``extra``.

    Raises:
        PayloadError: no such JSON object.
    """
    check_bounds(data, max_bytes)
    try:
        row = _read_row(data)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        plain = read_object(data)
        row = _Row(*(read_field(plain, name, str | None) if name in plain else None for name in OWN_FIELDS))
        row.more = plain.get("more")
    values = (row.command_id, row.fingerprint, row.correlation_id, row.causation_id, row.actor_id, row.reference)
    extra: dict[str, Any] = {}
    # Every quotation mark belongs to a field that was read; more of them mean further keys.
    quotes = _QUOTES_OF_A_FIELD * (len(values) - values.count(None)) + (_QUOTES_OF_MORE if row.more is True else 0)
    if data.count(b'"') != quotes:
        extra = {key: value for key, value in read_object(data).items() if not is_own(key, value)}
        if "" in extra:
            msg = "a key is empty"
            raise PayloadError(msg)
    return EventMetadata(
        command_id=row.command_id,
        fingerprint=row.fingerprint,
        correlation_id=row.correlation_id,
        causation_id=row.causation_id,
        actor_id=row.actor_id,
        reference=row.reference,
        more=row.more is True,
        extra=extra,
    )


def _domain_plain(write: Callable[[Any], bytes]) -> Callable[[Any], dict[str, Any]]:
    return lambda event: read_object(write(event))


def _place_checker(kind: type[Any]) -> Callable[[Any, StreamId], None]:
    category = PROCESS_EVENT_TYPES.get(kind)
    if category is None:
        return _check_is_elsewhere
    process_id = attrgetter(attrs.fields(kind)[0].name)

    def check(event: Any, stream: StreamId) -> None:
        if stream.category != category or stream.parts != (process_id(event),):
            msg = "its process is not that of its stream"
            raise PayloadError(msg)

    return check


def _check_is_elsewhere(_event: object, stream: StreamId) -> None:
    if stream.category == INVENTORY_CATEGORY:
        msg = "a host's event does not belong in the stream of an inventory"
        raise PayloadError(msg)


def _problem(error: Exception) -> str:
    match error:
        case PayloadError() | InvalidIdentifierError():
            return str(error)
        case UnicodeError():
            return "it is not UTF-8"
        case RecursionError():
            return "it is nested too deep for the stack"
        case _:
            return type(error).__name__


def _decode_error(recorded: RecordedEvent, problem: str) -> EventDecodeError:
    return EventDecodeError(
        stream=recorded.stream,
        version=recorded.version,
        event_type=recorded.event_type,
        schema_version=recorded.schema_version,
        problem=problem,
    )
