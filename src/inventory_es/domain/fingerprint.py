"""Fingerprints: whether a command that comes again is the same command.

Over the caller's payload alone: the inventory and the fields of the command that change what it does. Not over its id,
reference, ``not_after``, time, actor or tracing. Defaults are left out, so a field added later with a default does not turn
old retries into conflicts.
"""

import hashlib
from datetime import timedelta
from json.encoder import encode_basestring
from typing import Any, get_args

import attrs

from inventory_es.domain.commands import Command, ReserveStock

VERSION = "1"
"""Prefix of every fingerprint. Raised when the rule changes; a fingerprint of another version is compared by its own rule."""

_LEFT_OUT = frozenset({"inventory_id", "command_id", "reference", "not_after"})
_MICROSECOND = timedelta(microseconds=1)


def fingerprint(command: Command) -> str:
    """The command's fingerprint: ``1:`` and 32 hexadecimal digits (128 bits of SHA-256 over canonical JSON).

    Canonical: keys in order, no blanks, text unescaped as far as JSON allows, a time to live in microseconds.
    """
    inventory_id = command.inventory_id
    texts: list[str] = []
    for key, name, default in _MEMBERS[command.__class__]:
        value = getattr(inventory_id if name in _IDENTITY else command, name) if name else command.__class__.__name__
        if value != default:
            texts.append(key + _write(value))
    canonical = "{" + ",".join(texts) + "}"
    return f"{VERSION}:{hashlib.sha256(canonical.encode('utf-8')).hexdigest()[:32]}"


def _write(value: object) -> str:
    if isinstance(value, str):
        return encode_basestring(value)
    if isinstance(value, timedelta):
        value = value // _MICROSECOND
    return "null" if value is None else str(value)


_IDENTITY = frozenset({"product_id", "store_id"})


def _members(kind: type[Any]) -> tuple[tuple[str, str, object], ...]:
    """Key as written, attribute and default of everything that a fingerprint of this kind may hold, by key."""
    left_out = _LEFT_OUT | ({"reservation_id"} if kind is ReserveStock else frozenset())
    members: dict[str, tuple[str, object]] = {field.name: (field.name, field.default) for field in attrs.fields(kind)}
    members |= {"command": ("", attrs.NOTHING)} | {name: (name, attrs.NOTHING) for name in _IDENTITY}
    return tuple((f'"{key}":', *members[key]) for key in sorted(members.keys() - left_out))


_MEMBERS: dict[type[Any], tuple[tuple[str, str, object], ...]] = {kind: _members(kind) for kind in get_args(Command)}
