"""One line of text for an event, a command or an error, and one per field that differs."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

import attrs

from inventory_es.domain.errors import InventoryError, PolicyRejectedError

_ADDRESS = frozenset({"product_id", "store_id", "inventory_id", "inventory"})
_MISSING = "nothing of that name"


def describe(thing: object) -> str:
    """Return one line: the class and its fields, without the product and the store that every one of them names."""
    kind: type[Any] = type(thing)
    if isinstance(thing, PolicyRejectedError):
        facts = {"reason": thing.reason, **thing.details}
    elif isinstance(thing, InventoryError):
        facts = thing.facts()
    elif attrs.has(kind):
        facts = {field.name: getattr(thing, field.name) for field in attrs.fields(kind)}
    else:
        return describe_value(thing)
    return describe_facts(kind.__name__, {name: value for name, value in facts.items() if name not in _ADDRESS})


def describe_facts(name: str, facts: Mapping[str, object]) -> str:
    """Return ``Name(fact=value, …)``."""
    return f"{name}({', '.join(f'{name}={describe_value(value)}' for name, value in facts.items())})"


def describe_value(value: object) -> str:
    """Return a value in few characters."""
    match value:
        case Enum():
            return str(value.value)
        case datetime():
            return value.isoformat()
        case timedelta():
            return f"{value.total_seconds():g}s"
        case _:
            return repr(value)


def differences(expected: object, got: object) -> list[str]:
    """Return one line for each field that differs between two events or two states.

    Args:
        expected: an instance of an attrs class.
        got: anything.
    """
    if type(expected) is not type(got):
        return [f"expected {type(expected).__name__}, got {type(got).__name__}"]
    kind: type[Any] = type(expected)
    return fact_differences({field.name: getattr(expected, field.name) for field in attrs.fields(kind)}, got)


def fact_differences(expected: Mapping[str, object], got: object) -> list[str]:
    """Return one line for each attribute of ``got`` that is not as expected, or is missing."""
    found = {name: getattr(got, name, _MISSING) for name in expected}
    return [
        f"{name}: expected {describe_value(wanted)}, got {describe_value(found[name])}"
        for name, wanted in expected.items()
        if found[name] != wanted
    ]
