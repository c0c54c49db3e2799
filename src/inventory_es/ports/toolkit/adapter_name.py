"""The name of an adapter, in errors and reports."""

from typing import Any


def adapter_name(adapter: Any) -> str:
    """Return the type's name of an adapter, or of the one that it wraps and names as ``__wrapped__``."""
    return type(unwrapped(adapter)).__name__


def unwrapped(adapter: Any) -> object:
    """Return the adapter itself: the innermost one, where wrappers name what they wrap as ``__wrapped__``."""
    while (inner := getattr(adapter, "__wrapped__", None)) is not None:
        adapter = inner
    return adapter
