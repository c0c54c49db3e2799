"""The stored form of the domain events, on the fast path.

Measurements chose it (``benchmarks/engine/codec.py``). msgspec reads attrs classes directly, runs their checks, and is several times
faster than hooks generated for a dict in between. It would write the fields of slotted classes in alphabetical order, so writing uses a
struct with the fields in order of declaration.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from enum import Enum
from operator import attrgetter
from types import NoneType
from typing import Any, NoReturn, get_args, get_type_hints

import attrs
import msgspec

from inventory_es.adapters.serialization.strict_json import PayloadError, check_bounds, read_field, read_object, write_json
from inventory_es.domain.identifiers import INVENTORY_CATEGORY, identifier
from inventory_es.domain.stream_id import MAX_PART_LENGTH, StreamId
from inventory_es.ports.records import RecordedEvent

HOSTILE = (ValueError, RecursionError, OverflowError)
"""The errors that reading any bytes may raise."""

REFUSED = (msgspec.MsgspecError, UnicodeDecodeError)
"""The errors of msgspec for bytes and values that it refuses."""

_SHORT = 1_024


def domain_writer(kind: type[Any]) -> Callable[[Any], bytes]:
    """Return a function that writes events of one domain class: fields in order of declaration, instants with six digits of a second.

    Raises (the writer):
        InvalidIdentifierError: an identifier that reading would refuse. The event has checked quantities and instants.
        PayloadError: a reason or purpose that is no member of its enum.
    """
    types = _types(kind)
    row_of = msgspec.defstruct(kind.__name__, list(types), gc=False)
    values_of = attrgetter(*types)
    instants = [(at, name) for at, name in enumerate(types) if datetime in types[name]]
    members = [(at, name, types[name][0]) for at, name in enumerate(types) if issubclass(types[name][0], Enum)]
    identifiers = [(at, name, NoneType in types[name]) for at, name in enumerate(types) if name.endswith("_id")]

    def write(event: Any) -> bytes:
        values = values_of(event)
        for at, name, may_lack in identifiers:
            value = values[at]
            if type(value) is str and 0 < len(value) <= MAX_PART_LENGTH and value.isprintable():
                continue
            if value is not None or not may_lack:
                identifier(name, value)
        for at, name, enum in members:
            if type(values[at]) is not enum:
                msg = f"{name} must be a member of {enum.__name__}"
                raise PayloadError(msg)
        row = row_of(*values)
        for at, name in instants:
            instant = values[at]
            if instant is not None and not (type(instant) is datetime and instant.microsecond):
                setattr(row, name, _six_digits(instant))
        return write_json(row)

    return write


def domain_reader(kind: type[Any], max_bytes: int) -> Callable[[RecordedEvent], Any]:
    """Return a function that reads events of one domain class from recorded events, with all checks.

    A payload written by this package costs one pass and one count of its quotation marks. The keys and texts of the event account for
    all of them. Any other number means one more key (perhaps a duplicate) or an escape; then a strict parser reads the payload too. Short
    payloads are parsed before their depth is checked, because they can't exhaust the stack.
    """
    decode = msgspec.json.Decoder(kind).decode
    parsed_at_once = min(_SHORT, max_bytes)
    check = domain_checker(kind)
    types = _types(kind)
    texts = [name for name in types if int not in types[name]]
    most_quotes = 2 * (len(types) + len(texts))
    optional = [name for name in texts if NoneType in types[name]]
    has_owner, has_expiry, has_reservation = "owner_id" in optional, "expires_at" in optional, "reservation_id" in texts

    def read(recorded: RecordedEvent) -> Any:
        data = recorded.data
        if len(data) > parsed_at_once:
            check_bounds(data, max_bytes)
        try:
            event = decode(data)
        except REFUSED:
            check_bounds(data, max_bytes)
            refuse_event(kind, read_object(data))
        quotes, owner_id = most_quotes, None
        if has_owner and (owner_id := event.owner_id) is None:
            quotes -= 2
        if has_expiry and event.expires_at is None:
            quotes -= 2
        if data.count(b'"') != quotes:
            check_bounds(data, max_bytes)
            read_object(data)
        stream = recorded.stream
        # Every event that this package wrote passes these conditions without a call; for others, the check names the problem.
        if (
            (event.product_id, event.store_id) != stream.parts
            or stream.category != INVENTORY_CATEGORY
            or (has_reservation and not (0 < len(text := event.reservation_id) <= MAX_PART_LENGTH and text.isprintable()))
            or owner_id is not None
        ):
            check(event, stream)
        return event

    return read


def domain_batch_reader(kind: type[Any], max_bytes: int) -> Callable[[Sequence[bytes], Sequence[StreamId]], list[Any] | None]:
    """Return a function that reads many payloads of one domain class, as :func:`domain_reader` reads each.

    The function returns ``None`` if one payload must be read by itself. The quotation marks of all payloads are counted together. A
    payload that decodes has at least the marks of its keys and texts, so an equal sum means an equal number in each.
    """
    decode = msgspec.json.Decoder(kind).decode
    longest = min(_SHORT, max_bytes)
    types = _types(kind)
    texts = [name for name in types if int not in types[name]]
    most_quotes = 2 * (len(types) + len(texts))
    optional = [attrgetter(name) for name in texts if NoneType in types[name]]
    names = [attrgetter(name) for name in types if name in {"reservation_id", "owner_id"}]

    def read(payloads: Sequence[bytes], streams: Sequence[StreamId]) -> list[Any] | None:
        if max(map(len, payloads)) > longest:
            return None
        try:
            events = list(map(decode, payloads))
        except (*REFUSED, *HOSTILE):
            return None
        quotes = most_quotes * len(events) - 2 * sum([list(map(value_of, events)).count(None) for value_of in optional])
        is_plain = (
            b"".join(payloads).count(b'"') == quotes
            and [one.parts for one in streams] == [(one.product_id, one.store_id) for one in events]
            and {one.category for one in streams} == {INVENTORY_CATEGORY}
            and all(_are_plain(list(map(name_of, events))) for name_of in names)
        )
        return events if is_plain else None

    return read


def domain_event(kind: type[Any], plain: dict[str, Any]) -> Any:
    """Return the event of one domain class with these JSON values.

    Raises:
        PayloadError: the values are no such event.
    """
    try:
        return msgspec.convert(plain, kind)
    except REFUSED:
        refuse_event(kind, plain)


def refuse_event(kind: type[Any], plain: dict[str, Any]) -> NoReturn:
    """Raise ``PayloadError`` with the reason why these JSON values are no event of a class."""
    values = {name: read_field(plain, name, hint) for name, hint in get_type_hints(kind).items()}
    try:
        kind(**values)
    except ValueError as error:
        raise PayloadError(str(error)) from None
    msg = f"it is no {kind.__name__}"
    raise PayloadError(msg)


def domain_checker(kind: type[Any]) -> Callable[[Any, StreamId], None]:
    """Return a function that refuses an event of another stream, or with invalid identifiers."""
    check_identifiers = _identifiers_checker(kind)

    def check(event: Any, stream: StreamId) -> None:
        if (event.product_id, event.store_id) != stream.parts or stream.category != INVENTORY_CATEGORY:
            msg = "its product and store are not those of its stream"
            raise PayloadError(msg)
        check_identifiers(event)

    return check


def _identifiers_checker(kind: type[Any]) -> Callable[[Any], None]:
    """Return a function that checks the identifiers of an event other than its product and store."""
    types = _types(kind)
    has_reservation, has_owner = "reservation_id" in types, "owner_id" in types

    def check(event: Any) -> None:
        if has_reservation and not _is_plain(event.reservation_id):
            identifier("reservation_id", event.reservation_id)
        if has_owner and event.owner_id is not None and not _is_plain(event.owner_id):
            identifier("owner_id", event.owner_id)

    return check


def _are_plain(texts: Sequence[str | None]) -> bool:
    """Return True if all texts are identifiers at first sight. ``None`` is allowed."""
    given = [text for text in texts if text is not None]
    return not given or (all(given) and max(map(len, given)) <= MAX_PART_LENGTH and all(map(str.isprintable, given)))


def _is_plain(text: object) -> bool:
    """Return True if a text is an identifier at first sight. Printable text has no control characters and no lone surrogates."""
    return type(text) is str and 0 < len(text) <= MAX_PART_LENGTH and text.isprintable()


def _six_digits(instant: datetime) -> str:
    """Return ``2026-01-05T09:15:00.000000Z``, where msgspec would omit six zeros, or refuse a subclass of ``datetime``."""
    if type(instant) is not datetime:
        return f"{instant.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"
    return f"{write_json(instant)[1:20].decode()}.000000Z"


def _types(kind: type[Any]) -> dict[str, tuple[Any, ...]]:
    hints = get_type_hints(kind)
    return {field.name: get_args(hints[field.name]) or (hints[field.name],) for field in attrs.fields(kind)}
