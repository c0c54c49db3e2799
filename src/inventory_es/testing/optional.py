"""Optional dependencies of the kit, and errors that say how to install them."""

from collections.abc import Iterable
from importlib.util import find_spec
from typing import NoReturn

INSTALL = "pip install 'inventory_es[testing]' brings it"


def is_installed(module: str) -> bool:
    """Return True if a module can be imported, without importing it."""
    return find_spec(module) is not None


def not_installed(backends: Iterable[str]) -> tuple[str, ...]:
    """Return the event loops among ``backends`` that are not installed."""
    return tuple(backend for backend in backends if not is_installed(backend))


def require_event_loop(backend: str) -> None:
    """Refuse an event loop that is not installed.

    Raises:
        ImportError: the event loop is not installed; the message says what brings it.
    """
    if not is_installed(backend):
        refuse(f"the event loop {backend}", backend)


def refuse(what: str, module: str) -> NoReturn:
    """Raise the error of something that needs a module which is not installed.

    Raises:
        ImportError: always.
    """
    msg = f"{what} needs {module}, which is not installed: {INSTALL}"
    raise ImportError(msg, name=module)
