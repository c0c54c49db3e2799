"""The engines behind the synchronous service: the callers' own threads, or the thread of an event loop."""

import atexit
import logging
import os
import warnings
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextvars import ContextVar
from time import monotonic
from typing import Any, Protocol, TypeVar, cast

from inventory_es.application.service import InventoryService
from inventory_es.ports.errors import StoreClosedError
from inventory_es.ports.toolkit.waiting import each_to_end, run_to_end, scope

T = TypeVar("T")

_logger = logging.getLogger(__name__)
_NAME = "the inventory service"
_SECONDS_AT_EXIT = 10.0
_calling: ContextVar[tuple[int, ...]] = ContextVar("inventory_es_calling", default=())


class Engine(Protocol):
    """An open asynchronous service that threads call.

    Attributes:
        is_durable: True if its store outlives the process.
    """

    is_durable: bool

    def call(self, method: Callable[..., Awaitable[T]], /, *args: Any, **kwargs: Any) -> T:
        """Call a method of the service, and return its result."""
        ...

    def each(self, method: Callable[..., AsyncIterator[T]], /, *args: Any, **kwargs: Any) -> Iterator[T]:
        """Iterate over what a method of the service yields."""
        ...

    def tell(self, function: Callable[[InventoryService], None], /) -> None:
        """Call a function of the service that waits for nothing, from anywhere, a signal handler too."""

    def close(self) -> None:
        """Close the service. Idempotent."""


class DirectEngine:
    """The service, run by the threads that call it: no event loop, and no thread of its own.

    One that nobody holds any more warns, and closes the service. Those that are open when the interpreter ends are closed then, and wait
    for calls in flight within ten seconds in all. Derived files are finished after that.

    Args:
        service: not yet opened, over adapters that serve threads.
    """

    _is_open = False

    def __init__(self, service: InventoryService) -> None:
        self._service = service
        self._process = os.getpid()
        run_to_end(service.__aenter__())
        self.is_durable: bool = service.store_capabilities.durability != "none"
        # The service is held there too: the collector must not finalize its store before this object.
        _open[id(self)] = weakref.ref(self), service
        self._is_open = True

    def __del__(self) -> None:
        if self._is_open and os.getpid() == self._process:
            message = "an inventory service was dropped and not closed: use 'with', or call close()"
            warnings.warn(message, ResourceWarning, stacklevel=2, source=self)
            self.close()

    def call(self, method: Callable[..., Awaitable[T]], /, *args: Any, **kwargs: Any) -> T:
        """Run a method of the service in this thread, and return its result.

        Raises:
            RuntimeError: called by a policy or an observer of the same service, which would wait for itself.
            StoreClosedError: the service was closed.
        """
        calling = _calling.get()
        if id(self) in calling:
            raise _waits_for_itself()
        if not self._is_open:
            raise StoreClosedError(store=_NAME, reason="it was closed")
        try:
            _calling.set((*calling, id(self)))
            return run_to_end(cast("Coroutine[Any, Any, T]", method(self._service, *args, **kwargs)))
        finally:
            _calling.set(calling)

    def each(self, method: Callable[..., AsyncIterator[T]], /, *args: Any, **kwargs: Any) -> Iterator[T]:
        """Iterate over what a method of the service yields, in the threads that ask for the items."""
        items = each_to_end(method(self._service, *args, **kwargs))
        return self._each(items)

    def tell(self, function: Callable[[InventoryService], None], /) -> None:
        """Call a function of the service that waits for nothing, from anywhere, a signal handler too."""
        function(self._service)

    def close(self) -> None:
        """Close the service. Idempotent. In a forked child nothing is done: the service is the parent's."""
        is_open, self._is_open = self._is_open and os.getpid() == self._process, False
        _open.pop(id(self), None)
        if is_open:
            run_to_end(self._service.aclose())

    def _each(self, items: Iterator[T]) -> Iterator[T]:
        while True:
            if os.getpid() != self._process:
                raise StoreClosedError(store=_NAME, reason="it was inherited by fork")
            calling = _calling.get()
            if id(self) in calling:
                raise _waits_for_itself()
            try:
                _calling.set((*calling, id(self)))
                item = next(items)
            except StopIteration:
                return
            finally:
                _calling.set(calling)
            yield item


def _waits_for_itself() -> RuntimeError:
    return RuntimeError("a policy or an observer must not call the service that is asking it: it would wait for itself")


_open: dict[int, "tuple[weakref.ref[DirectEngine], InventoryService]"] = {}


@atexit.register
def close_all() -> None:
    """Close what is open when the interpreter ends; what a fork brought here is the parent's."""
    closing = [engine for alive, _ in tuple(_open.values()) if (engine := alive()) is not None and engine._process == os.getpid()]  # noqa: SLF001  # same module
    give_up = monotonic() + _SECONDS_AT_EXIT

    async def close(engine: DirectEngine) -> None:
        with scope(max(0.0, give_up - monotonic())) as patience:
            await engine._service.aclose()  # noqa: SLF001  # same module
        if patience.cancelled_caught:
            _logger.warning("service_not_closed_at_exit", extra={"seconds": _SECONDS_AT_EXIT})

    for engine in closing:
        engine._is_open = False  # noqa: SLF001  # same module
        try:
            run_to_end(close(engine))
        except Exception:
            _logger.warning("service_not_closed_at_exit", exc_info=True, extra={"seconds": _SECONDS_AT_EXIT})  # and the others are closed
