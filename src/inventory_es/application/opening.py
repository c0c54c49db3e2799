"""The life of a service's engine: opened once, used in one event loop, closed."""

from collections.abc import Awaitable, Callable
from sys import get_asyncgen_hooks

import anyio
from anyio.lowlevel import current_token

from inventory_es.application.engine import Engine, EngineParts, open_engine
from inventory_es.ports import EventStore
from inventory_es.ports.errors import StoreClosedError


class Opening:
    """Opens an engine and closes it, with what it owns.

    Args:
        open_store: gives the event store.
        parts: what the engine is assembled from.
        owns_store: whether closing the engine closes the store.
    """

    def __init__(self, open_store: Callable[[], Awaitable[EventStore]], parts: EngineParts, *, owns_store: bool) -> None:
        self._open_store = open_store
        self._parts = parts
        self._owns_store = owns_store
        self._engine: Engine | None = None
        self._token: object = None
        self._hooks: object = None

    async def open(self) -> None:
        """Open it.

        Raises:
            RuntimeError: it is open already.
        """
        if self._engine is not None:
            msg = "the service is open already: use one 'async with' for it"
            raise RuntimeError(msg)
        self._engine = await open_engine(self._open_store, self._parts, owns_store=self._owns_store)
        # A plain tuple: Python's collector sees no cycle through the other one, and the hooks know the loop, which may know the service.
        self._token, self._hooks = current_token(), tuple(get_asyncgen_hooks())

    async def close(self) -> None:
        """End what follows the feed, and close what the engine owns. Twice is fine."""
        engine, self._engine = self._engine, None
        if engine is not None:
            with anyio.CancelScope(shield=True):
                await engine.aclose()

    @property
    def engine(self) -> Engine:
        """The open engine.

        Raises:
            StoreClosedError: it is not open.
        """
        if self._engine is None:
            raise StoreClosedError(store="the inventory service", reason="it is not open: use 'async with'")
        return self._engine

    def here(self) -> Engine:
        """The open engine, for a task of the event loop that opened it.

        Raises:
            StoreClosedError: it is not open.
            RuntimeError: another event loop.
        """
        engine = self._engine or self.engine
        if get_asyncgen_hooks() != self._hooks and current_token() != self._token:  # every running loop has hooks of its own
            msg = "the inventory service was opened in another event loop: open one in each loop, or use inventory_es.sync"
            raise RuntimeError(msg)
        return engine
