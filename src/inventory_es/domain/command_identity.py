"""The identity of a command: ids of its events, which make it idempotent, and a fingerprint of its payload.

Event ids are name-based UUIDs, version 5 (RFC 9562 §5.5): SHA-1 over a namespace and a name. The namespace is fixed and the name starts
with the stream, so the hash of that prefix is made once per stream. Test vectors freeze the ids, because stored events depend on them.

A fingerprint covers the caller's payload alone: the inventory and the fields of the command that change what it does. It leaves out the
id, reference, ``not_after``, time, actor and tracing. It leaves out defaults too, so a field added later with a default does not turn old
retries into conflicts.
"""

import hashlib
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import lru_cache
from json.encoder import encode_basestring
from operator import attrgetter
from typing import Any, Final, get_args
from uuid import UUID, SafeUUID

import attrs

from inventory_es.domain.commands import Command, ExpireReservations, ReserveStock
from inventory_es.domain.events import Event, StockReleasedEvent
from inventory_es.domain.reasons import ReleaseReason
from inventory_es.domain.stream_id import StreamId

NAMESPACE: Final = UUID("6f6f1b5c-5a0e-5d0b-9a3e-3a8f5f1f7c11")
"""The namespace of every event id of this package."""

_VERSION_5_OF_RFC_9562: Final = 5 << 76 | 0x8000 << 48
_CLEAR: Final = ~((0xF000 << 64) | (0xC000 << 48))


class EventIds:
    """Ids of the events of one stream.

    Attributes:
        stream: the stream.
    """

    __slots__ = ("_prefix", "stream")

    def __init__(self, stream: StreamId) -> None:
        self.stream: StreamId = stream
        self._prefix = hashlib.sha1(NAMESPACE.bytes + str(stream).encode("utf-8") + b"\x00", usedforsecurity=False)

    def own(self, command_id: str, index: int) -> UUID:
        """Return the id of a command's own event number ``index``, from 0. Events that close due reservations are not counted."""
        return self._name(f"own\x00{index}\x00{command_id}")

    def due(self, command_id: str, reservation_id: str) -> UUID:
        """Return the id of the event that closes a due reservation before a command."""
        return self._name(f"due\x00{len(command_id)}\x00{command_id}\x00{reservation_id}")

    def first_own(self, command: Command) -> UUID:
        """Return the id of the command's first own event. If that event is stored, the command was accepted.

        The event of a :class:`ReserveStock` is named by its reservation, whose id is the command's id too.
        """
        if type(command) is ReserveStock:
            return self._name("reserve\x00" + command.reservation_id)
        return self.own(command.command_id, 0)

    def of(self, command: Command, events: Sequence[Event]) -> list[UUID]:
        """Return the ids of the events of ``command``."""
        if len(events) == 1 and type(command) is not ExpireReservations:
            return [self.first_own(command)]
        ids: list[UUID] = []
        own = 0
        sweeping = isinstance(command, ExpireReservations)
        for event in events:
            if not sweeping and isinstance(event, StockReleasedEvent) and event.reason is ReleaseReason.EXPIRED:
                ids.append(self.due(command.command_id, event.reservation_id))
            elif isinstance(command, ReserveStock):
                ids.append(self.first_own(command))
            else:
                ids.append(self.own(command.command_id, own))
                own += 1
        return ids

    def _name(self, name: str) -> UUID:
        digest = self._prefix.copy()
        digest.update(name.encode("utf-8"))
        made = UUID.__new__(UUID)  # UUID(int=…) tries its other arguments first: a third of what deriving an id would cost
        _set_int(made, int.from_bytes(digest.digest()[:16]) & _CLEAR | _VERSION_5_OF_RFC_9562)
        _set_is_safe(made, _UNKNOWN)
        return made


_set_int = UUID.__dict__["int"].__set__
_set_is_safe = UUID.__dict__["is_safe"].__set__
_UNKNOWN: Final = SafeUUID.unknown

FINGERPRINT_VERSION = "1"
"""Prefix of every fingerprint. Raised when the rule changes; a fingerprint of another version is compared by its own rule."""

_LEFT_OUT = frozenset({"inventory_id", "command_id", "reference", "not_after"})
_MICROSECOND = timedelta(microseconds=1)


def fingerprint(command: Command) -> str:
    """Return the command's fingerprint: ``1:`` and 32 hexadecimal digits (128 bits of SHA-256 over canonical JSON).

    Canonical JSON has sorted keys, no blanks, text unescaped as far as JSON allows, and a time to live in microseconds.
    """
    kind = command.__class__
    values = _VALUES_OF[kind](command)
    return _of_reserve(kind, values) if kind is ReserveStock else _of(kind, values)


def _of(kind: type[Any], values: Sequence[Any]) -> str:
    texts = [f'"command":"{kind.__name__}"']
    for (key, default), value in zip(_MEMBERS[kind], values, strict=True):
        if value is not default and value != default:
            written = value // _MICROSECOND if isinstance(value, timedelta) else value
            texts.append(key + (encode_basestring(written) if isinstance(written, str) else "null" if written is None else str(written)))
    canonical = "{" + ",".join(texts) + "}"
    return f"{FINGERPRINT_VERSION}:{hashlib.sha256(canonical.encode('utf-8')).hexdigest()[:32]}"


_of_reserve: Callable[[Any, Any], str] = lru_cache(maxsize=1_024)(_of)
"""Cached, since many reserves differ by their id alone, which is no part of the fingerprint."""


def _members(kind: type[Any]) -> list[tuple[str, object]]:
    """Return the written key and the default of every member of a fingerprint, sorted by key.

    The name of the command is left out: its key sorts first.
    """
    left_out = _LEFT_OUT | ({"reservation_id"} if kind is ReserveStock else frozenset())
    defaults = {field.name: field.default for field in attrs.fields(kind) if field.name not in left_out}
    defaults |= dict.fromkeys(_IDENTITY, attrs.NOTHING)
    return [(f'"{key}":', defaults[key]) for key in sorted(defaults)]


def _values_of(kind: type[Any]) -> Callable[[Command], tuple[Any, ...]]:
    names = [key.strip('":') for key, _ in _MEMBERS[kind]]
    return attrgetter(*(_IDENTITY.get(name, name) for name in names))


_IDENTITY = {"product_id": "inventory_id.product_id", "store_id": "inventory_id.store_id"}
_MEMBERS = {kind: _members(kind) for kind in get_args(Command)}
_VALUES_OF = {kind: _values_of(kind) for kind in get_args(Command)}
