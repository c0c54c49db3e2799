"""The stored form of metadata: the fields that have a value, in order, then a host's own keys."""

from operator import attrgetter
from typing import Any

import msgspec

from inventory_es.adapters.serialization.strict_json import PayloadError, check_bounds, read_field, read_object, write_json, write_object
from inventory_es.ports.metadata import OWN_FIELDS, EventMetadata, is_own


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


def write_metadata(metadata: EventMetadata, max_bytes: int) -> bytes:
    """Metadata as one JSON object; what is ``None`` is left out.

    Raises:
        PayloadError: an extra value that JSON has no form for, or a lone surrogate.
    """
    if metadata.extra:
        own = {name: value for name in OWN_FIELDS if (value := getattr(metadata, name)) is not None}
        more = {"more": True} if metadata.more else {}
        return write_object(own | more | dict(metadata.extra), max_bytes)
    values = (
        metadata.command_id,
        metadata.fingerprint,
        metadata.correlation_id,
        metadata.causation_id,
        metadata.actor_id,
        metadata.reference,
    )
    return write_fields(values, max_bytes, more=metadata.more or None)


def write_fields(values: tuple[str | None, ...], max_bytes: int, *, more: bool | None = None) -> bytes:
    """Metadata of these fields, in their order, and nothing extra, as one JSON object.

    Raises:
        PayloadError: a lone surrogate.
    """
    row = _Row(*values)
    row.more = more
    try:
        data = write_json(row)
    except UnicodeEncodeError:
        msg = "it has a lone surrogate, which no encoding can carry"
        raise PayloadError(msg) from None
    if len(data) > max_bytes:
        check_bounds(data, max_bytes)
    return data


def read_metadata(data: bytes, max_bytes: int) -> EventMetadata:
    """The metadata that ``data`` holds; unknown keys go to ``extra``.

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
    # Every quotation mark belongs to a field that was read, or there is more than that.
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
