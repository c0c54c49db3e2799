"""How the domain kit tells a person what it saw: one line for an event, a command, an error, and what differs."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

import attrs

from inventory_es.domain.errors import InventoryError, PolicyRejectedError

_PLACE = frozenset({"product_id", "store_id", "inventory_id", "inventory"})


def describe(thing: object) -> str:
    """One line: the class and its fields, without the product and the store that every one of them names."""
    kind: type[Any] = type(thing)
    if isinstance(thing, PolicyRejectedError):
        facts = {"reason": thing.reason, **thing.details}
    elif isinstance(thing, InventoryError):
        facts = thing.facts()
    elif attrs.has(kind):
        facts = {field.name: getattr(thing, field.name) for field in attrs.fields(kind)}
    else:
        return describe_value(thing)
    return f"{kind.__name__}({', '.join(f'{name}={describe_value(value)}' for name, value in facts.items() if name not in _PLACE)})"


def describe_value(value: object) -> str:
    """One value, in few characters."""
    match value:
        case Enum():
            return str(value.value)
        case datetime():
            return value.isoformat()
        case timedelta():
            return f"{value.total_seconds():g}s"
        case _:
            return repr(value)


def differences(expected: object, got: object) -> Iterator[str]:
    """What differs between two events or two states: one line for each field.

    Args:
        expected: an instance of an attrs class.
        got: anything.
    """
    if type(expected) is not type(got):
        yield f"expected {type(expected).__name__}, got {type(got).__name__}"
        return
    kind: type[Any] = type(expected)
    for field in attrs.fields(kind):
        wanted, found = getattr(expected, field.name), getattr(got, field.name)
        if wanted != found:
            yield f"{field.name}: expected {describe_value(wanted)}, got {describe_value(found)}"
