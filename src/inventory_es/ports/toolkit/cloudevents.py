"""Published events as CloudEvents 1.0, and back: in structured mode as one JSON object, in binary mode as headers and a body. Pure.

Receivers of other makers know an event by ``source`` and ``id``. An event id is unique within its stream alone, so the source names the
stream, behind the name of the publisher. Both the position and the version in the stream are texts, because an integer of CloudEvents has
32 bits. The extension ``metadata`` has the recorded bytes in Base64. What others use of them has attributes of its own: ``correlationid``,
``causationid``, ``traceparent`` and ``tracestate``.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Literal
from urllib.parse import quote, unquote
from uuid import UUID

import msgspec

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.records import RecordedEvent, is_json_object

STRUCTURED_TYPE = "application/cloudevents+json"
"""The content type of an event in structured mode."""

HeaderPrefix = Literal["ce-", "ce_", "cloudEvents:"]  # of HTTP and NATS, of Kafka, and of AMQP 1.0

_JSON = "application/json"
_CONTENT_TYPE = "content-type"
_SCHEMA = "urn:inventory-es:event"
_SAFE = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)


class _Envelope(msgspec.Struct, frozen=True, omit_defaults=True):
    """The attributes of one event, in the order in which they are written."""

    specversion: Literal["1.0"]
    id: UUID
    source: str
    type: str
    subject: str
    time: str
    datacontenttype: str
    dataschema: str
    streamversion: str
    position: str
    correlationid: str | None = None
    causationid: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None
    metadata: bytes = b"{}"
    data: msgspec.Raw = msgspec.Raw()


class _Context(msgspec.Struct):
    """The keys of metadata that have attributes of their own."""

    correlation_id: Any = None
    causation_id: Any = None
    traceparent: Any = None
    tracestate: Any = None


_write = msgspec.json.Encoder().encode
_read = msgspec.json.Decoder(_Envelope).decode
_read_context = msgspec.json.Decoder(_Context).decode
_read_parts = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_read_text = msgspec.json.Decoder(str).decode


@lru_cache(maxsize=1_024)
def schema_uri(event_type: str, schema_version: int) -> str:
    """Return the URI of the JSON Schema of an event type, which is the ``dataschema`` of its events."""
    return f"{_SCHEMA}:{quote(event_type, safe='')}:{schema_version}"


def to_json(event: RecordedEvent, /, *, source: str) -> bytes:
    """Return an event in structured mode: one JSON object in UTF-8, without line breaks.

    Args:
        event: as recorded.
        source: the name of the publisher, such as that of a shop. The attribute ``source`` is this name, ``/``, and the stream.

    Raises:
        ValueError: the data or the metadata of the event is not one JSON object without line breaks, or ``source`` is empty.
    """
    return _write(_envelope(event, source, msgspec.Raw(event.data)))


def from_json(text: bytes, /) -> RecordedEvent:
    """Return the event of a JSON object that :func:`to_json` made, in every field. Further attributes are allowed.

    Raises:
        ValueError: the object is no event of an inventory. The message names what is wrong.
    """
    try:
        envelope = _read(text)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as problem:
        msg = f"it is no CloudEvent of an inventory: {problem}"
        raise ValueError(msg) from problem
    return _event_of(envelope, bytes(envelope.data))


def to_headers(event: RecordedEvent, /, *, source: str, prefix: HeaderPrefix = "ce-") -> tuple[Mapping[str, str], bytes]:
    """Return an event in binary mode: headers, and the data as the body.

    Args:
        event: as recorded.
        source: as of :func:`to_json`.
        prefix: of the attributes. Values behind ``ce-`` are percent-encoded, as its bindings demand. The content type has no prefix.

    Raises:
        ValueError: as :func:`to_json`.
    """
    return json_to_headers(to_json(event, source=source), prefix=prefix)


def json_to_headers(text: bytes, /, *, prefix: HeaderPrefix = "ce-") -> tuple[Mapping[str, str], bytes]:
    """Return the text of :func:`to_json` in binary mode, as :func:`to_headers`, without decoding the event."""
    attributes = _read_parts(text)
    body = bytes(attributes.pop("data"))
    content_type = _read_text(attributes.pop("datacontenttype"))
    encode = prefix == "ce-"
    values = {name: _read_text(value) for name, value in attributes.items()}
    headers = {f"{prefix}{name}": quote(value, safe=_SAFE) if encode else value for name, value in values.items()}
    return {_CONTENT_TYPE: content_type, **headers}, body


def headers_to_json(headers: Mapping[str, str], body: bytes, /, *, prefix: HeaderPrefix = "ce-") -> bytes:
    """Return an event of binary mode in structured mode, unchecked: :func:`from_json` refuses what is no event of an inventory."""
    return _write({**_attributes_of(headers, prefix), "data": msgspec.Raw(body)})


def from_headers(headers: Mapping[str, str], body: bytes, /, *, prefix: HeaderPrefix = "ce-") -> RecordedEvent:
    """Return the event of headers and a body that :func:`to_headers` made. Other headers are allowed, and names in any case.

    Raises:
        ValueError: they are no event of an inventory. The message names what is wrong.
    """
    try:
        envelope = msgspec.convert(_attributes_of(headers, prefix), _Envelope)
    except msgspec.ValidationError as problem:
        msg = f"they are no headers of an event of an inventory: {problem}"
        raise ValueError(msg) from problem
    return _event_of(envelope, body)


def _attributes_of(headers: Mapping[str, str], prefix: HeaderPrefix) -> dict[str, str]:
    start = prefix.lower()
    named = {name.lower(): value for name, value in headers.items()}
    attributes = {name.removeprefix(start): value for name, value in named.items() if name.startswith(start)}
    if prefix == "ce-":
        attributes = {name: unquote(value) for name, value in attributes.items()}
    attributes["datacontenttype"] = named.get(_CONTENT_TYPE, _JSON)
    return attributes


def _envelope(event: RecordedEvent, source: str, data: msgspec.Raw) -> _Envelope:
    if not source:
        msg = "source of a CloudEvent is empty: give the name of the publisher, such as that of a shop"
        raise ValueError(msg)
    for name, value in (("data", event.data), ("metadata", event.metadata)):
        if not is_json_object(value):
            msg = f"{name} of event {event.version} of stream {event.stream} must be one JSON object without line breaks"
            raise ValueError(msg)
    stream, context = event.stream.text, _read_context(event.metadata)
    return _Envelope(
        "1.0",
        event.event_id,
        _source_of(source, stream),
        event.event_type,
        stream,
        f"{event.recorded_at.isoformat(timespec='microseconds').removesuffix('+00:00')}Z",
        _JSON,
        schema_uri(event.event_type, event.schema_version),
        str(event.version),
        str(event.position),
        _printable(context.correlation_id),
        _printable(context.causation_id),
        _printable(context.traceparent),
        _printable(context.tracestate),
        event.metadata,
        data,
    )


def _printable(value: object) -> str | None:
    """Return a text of the context. One with control characters, which CloudEvents forbid, is left out."""
    return value if type(value) is str and value and value.isprintable() else None


@lru_cache(maxsize=8_192)
def _source_of(publisher: str, stream: str) -> str:
    return f"{quote(publisher)}/{quote(stream, safe='')}"


_stream_of = lru_cache(maxsize=8_192)(StreamId.parse)


def _event_of(envelope: _Envelope, data: bytes) -> RecordedEvent:
    _, _, schema_version = envelope.dataschema.rpartition(":")
    numbers = {"streamversion": envelope.streamversion, "position": envelope.position, "dataschema": schema_version}
    problem = next((name for name, text in numbers.items() if not _DECIMAL.fullmatch(text)), "")
    if not problem and envelope.dataschema != schema_uri(envelope.type, int(schema_version)):
        problem = "dataschema"
    if not problem and not is_json_object(data):
        problem = "data"
    if problem:
        msg = f"it is no CloudEvent of an inventory: {problem} is not as an event of an inventory has it"
        raise ValueError(msg)
    at = datetime.fromisoformat(envelope.time)
    if at.utcoffset() != timedelta(0):
        msg = "it is no CloudEvent of an inventory: time is not in UTC"
        raise ValueError(msg)
    return RecordedEvent(
        _stream_of(envelope.subject),
        int(envelope.streamversion),
        int(envelope.position),
        envelope.id,
        envelope.type,
        int(schema_version),
        at.astimezone(UTC),
        data,
        envelope.metadata,
    )
