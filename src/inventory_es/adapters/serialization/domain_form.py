"""The stored form of the six domain events, on the fast path.

Chosen by measurement (``benchmarks/codec.py``): msgspec reads attrs classes directly, runs their checks, and is several times
faster than hooks generated for a dict in between. It would write the fields of slotted classes by alphabet, so writing goes
through a struct that has them in order of declaration.
"""

from collections.abc import Callable
from datetime import datetime
from operator import attrgetter
from typing import Any, get_args, get_type_hints

import attrs
import msgspec

from inventory_es.adapters.serialization.strict_json import PayloadError, check_bounds, read_object, write_json
from inventory_es.domain.identifiers import INVENTORY_CATEGORY, identifier
from inventory_es.domain.stream_id import MAX_PART_LENGTH, StreamId
from inventory_es.ports.records import RecordedEvent

_IDENTIFIERS = ("reservation_id", "owner_id")


def domain_writer(kind: type[Any]) -> Callable[[Any], bytes]:
    """What writes events of one domain class: fields in order of declaration, instants with six digits of a second."""
    names = [field.name for field in attrs.fields(kind)]
    row_of = msgspec.defstruct(kind.__name__, names, gc=False)
    values_of = attrgetter(*names)
    instants = [name for name, types in _types(kind) if datetime in types]

    def write(event: Any) -> bytes:
        return write_json(row_of(*values_of(event)))

    def write_with_instants(event: Any) -> bytes:
        row = row_of(*values_of(event))
        for name in instants:
            instant = getattr(row, name)
            # Microseconds other than 0 come out with six digits by themselves.
            if instant is not None and not instant.microsecond:
                setattr(row, name, f"{write_json(instant)[1:20].decode()}.000000Z")
        return write_json(row)

    return write_with_instants if instants else write


def domain_reader(kind: type[Any], max_bytes: int) -> Callable[[RecordedEvent], Any]:
    """What reads events of one domain class from recorded ones, with all checks.

    A payload of canonical size costs one pass. Any other number of quotation marks means a key more (perhaps one that stands
    twice) or an escape: then a strict parser reads it too.
    """
    decode = msgspec.json.Decoder(kind).decode
    types = _types(kind)
    texts = [name for name, types_ in types if int not in types_]
    optional = [name for name, types_ in types if int not in types_ and type(None) in types_]
    quotes_of_required = 2 * (len(types) + len(texts) - len(optional))
    check = domain_checker(kind)

    def read(recorded: RecordedEvent) -> Any:
        data = recorded.data
        check_bounds(data, max_bytes)
        event = decode(data)
        quotes = quotes_of_required
        for name in optional:
            if getattr(event, name) is not None:
                quotes += 2
        if data.count(b'"') != quotes:
            read_object(data)
        check(event, recorded.stream)
        return event

    return read


def domain_checker(kind: type[Any]) -> Callable[[Any, StreamId], None]:
    """What refuses an event that is not of its stream, or whose identifiers break the rules."""
    identifiers = [field.name for field in attrs.fields(kind) if field.name in _IDENTIFIERS]

    def check(event: Any, stream: StreamId) -> None:
        if stream.parts != (event.product_id, event.store_id) or stream.category != INVENTORY_CATEGORY:
            msg = "its product and store are not those of its stream"
            raise PayloadError(msg)
        for name in identifiers:
            value = getattr(event, name)
            if value is not None and not (0 < len(value) <= MAX_PART_LENGTH and value.isprintable()):
                identifier(name, value)

    return check


def _types(kind: type[Any]) -> list[tuple[str, tuple[Any, ...]]]:
    hints = get_type_hints(kind)
    return [(field.name, get_args(hints[field.name]) or (hints[field.name],)) for field in attrs.fields(kind)]
