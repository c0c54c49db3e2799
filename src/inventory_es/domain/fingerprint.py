"""Fingerprints: whether a command that comes again is the same command.

Over the caller's payload alone: the inventory and the fields of the command that change what it does. Not over its id,
reference, ``not_after``, time, actor or tracing. Defaults are left out, so a field added later with a default does not turn
old retries into conflicts.
"""

import hashlib
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import lru_cache
from json.encoder import encode_basestring
from operator import attrgetter
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
    kind = command.__class__
    values = _VALUES_OF[kind](command)
    return _of_reserve(values) if kind is ReserveStock else _of(kind, values)


def _of(kind: type[Any], values: Sequence[Any]) -> str:
    texts = [f'"command":"{kind.__name__}"']
    for (key, default), value in zip(_MEMBERS[kind], values, strict=True):
        if value is not default and value != default:
            texts.append(key + (encode_basestring(value) if isinstance(value, str) else _write(value)))
    canonical = "{" + ",".join(texts) + "}"
    return f"{VERSION}:{hashlib.sha256(canonical.encode('utf-8')).hexdigest()[:32]}"


@lru_cache(maxsize=1_024)
def _of_reserve(values: Sequence[Any]) -> str:
    """Kept, since many customers ask for the same: a reserve's id, which tells them apart, is no part of its fingerprint."""
    return _of(ReserveStock, values)


def _write(value: int | timedelta | None) -> str:
    if isinstance(value, timedelta):
        value = value // _MICROSECOND
    return "null" if value is None else str(value)


def _members(kind: type[Any]) -> list[tuple[str, object]]:
    """Key as written and default of everything that a fingerprint of this kind may hold, by key.

    The name of the command is not among them: it stands first, as its key is the first of all.
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
