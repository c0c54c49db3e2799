"""The first field in which two records differ: one comparison for the contracts of all ports."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import zip_longest
from typing import Any

import attrs

_LONGEST = 80
_MISSING = object()


def difference(before: object, after: object) -> str | None:
    """Return the first field in which two values differ, with both values, and with their types where those differ.

    Records are compared by field, mappings by key, sequences by index, each recursively: ``rows[3].units was 4 and is 5``. Equal values of
    different types differ, as 1 and True do.

    Args:
        before: the written or expected value. Of two records of different types, its fields are compared.
        after: the value that was read.

    Returns:
        ``None`` where nothing differs.
    """
    return next(_differences("", before, after), None)


def _differences(path: str, before: object, after: object) -> Iterator[str]:
    kind: type[Any] = type(before)
    if attrs.has(kind) and attrs.has(type(after)):
        for field in attrs.fields(kind):
            yield from _differences(
                f"{path}.{field.name}" if path else field.name, getattr(before, field.name), getattr(after, field.name, _MISSING)
            )
    elif isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in [*before, *(key for key in after if key not in before)]:
            yield from _differences(f"{path}[{key!r}]", before.get(key, _MISSING), after.get(key, _MISSING))
    elif _is_sequence(before) and _is_sequence(after):
        for place, (one, other) in enumerate(zip_longest(before, after, fillvalue=_MISSING)):  # type: ignore[call-overload]  # both are sequences
            yield from _differences(f"{path}[{place}]", one, other)
    elif before != after or type(before) is not type(after):
        yield f"{path or 'it'} {_both(before, after)}" + _types(before, after)


def _is_sequence(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray | memoryview)


def _both(before: object, after: object) -> str:
    """Return both values. Two long texts are shown from the place where they differ."""
    if isinstance(before, str | bytes) and type(before) is type(after) and max(len(before), len(after)) > _LONGEST:
        one, other = before, after
        place = next((at for at, (own, its) in enumerate(zip(one, other, strict=False)) if own != its), min(len(one), len(other)))
        return f"differs from place {place} on: was {one[place : place + 20]!r} and is {other[place : place + 20]!r}"
    return f"was {_short(before)} and is {_short(after)}"


def _types(before: object, after: object) -> str:
    if before is _MISSING or after is _MISSING or type(before) is type(after):
        return ""
    return f" ({type(before).__name__}, then {type(after).__name__})"


def _short(value: object) -> str:
    if value is _MISSING:
        return "missing"
    text = value.isoformat() if isinstance(value, datetime) else repr(value)
    return text if len(text) <= _LONGEST else f"{text[:60]}…({len(text)} characters)"
