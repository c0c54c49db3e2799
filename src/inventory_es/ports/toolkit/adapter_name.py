"""The name of an adapter, in errors and reports."""

from typing import Any


def adapter_name(adapter: Any) -> str:
    """Return the name of an adapter's type, or of the type of the adapter that it wraps as ``__wrapped__``."""
    return type(unwrapped(adapter)).__name__


def unwrapped(adapter: Any) -> object:
    """Return the innermost adapter, through wrappers that store the wrapped one as ``__wrapped__``."""
    while (inner := getattr(adapter, "__wrapped__", None)) is not None:
        adapter = inner
    return adapter
