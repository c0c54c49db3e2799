"""Fingerprints: whether a command that comes again is the same command.

Over the caller's payload alone: the inventory and the fields of the command that change what it does. Not over its id,
reference, ``not_after``, time, actor or tracing. Defaults are left out, so a field added later with a default does not turn
old retries into conflicts.
"""

import hashlib
import json
from datetime import timedelta
from typing import Any, get_args

import attrs

from inventory_es.domain.commands import Command, ReserveStock

VERSION = "1"
"""Prefix of every fingerprint. Raised when the rule changes; a fingerprint of another version is compared by its own rule."""

_LEFT_OUT = frozenset({"inventory_id", "command_id", "reference", "not_after"})
_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode


def fingerprint(command: Command) -> str:
    """The command's fingerprint: ``1:`` and 32 hexadecimal digits (128 bits of SHA-256 over canonical JSON)."""
    payload: dict[str, object] = {
        "command": type(command).__name__,
        "product_id": command.inventory_id.product_id,
        "store_id": command.inventory_id.store_id,
    }
    for name, default in _FIELDS[command.__class__]:
        value = getattr(command, name)
        if value != default:
            payload[name] = value // timedelta(microseconds=1) if isinstance(value, timedelta) else value
    return f"{VERSION}:{hashlib.sha256(_canonical(payload).encode('utf-8')).hexdigest()[:32]}"


def _fields(kind: type[Any]) -> tuple[tuple[str, object], ...]:
    left_out = _LEFT_OUT | ({"reservation_id"} if kind is ReserveStock else frozenset())
    return tuple((field.name, field.default) for field in attrs.fields(kind) if field.name not in left_out)


_FIELDS: dict[type[Any], tuple[tuple[str, object], ...]] = {kind: _fields(kind) for kind in get_args(Command)}
