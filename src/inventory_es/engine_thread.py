"""The background thread whose event loop runs the asynchronous service for the synchronous one."""

import atexit
import logging
import os
import threading
import warnings
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any, TypeVar

import anyio
import anyio.lowlevel
from anyio.from_thread import BlockingPortal

from inventory_es.application.context import CommandContext, command_context, current_context
from inventory_es.application.service import InventoryService
from inventory_es.ports.errors import StoreClosedError

T = TypeVar("T")

_logger = logging.getLogger(__name__)
_ITEMS_A_CALL = 500
_NAME = "the inventory service"
_ENDED = "its thread was ended by an unexpected error"
_SECONDS_AT_EXIT = 10.0


class EngineThread:
    """One event loop in one thread, and the service that is open in it. Any number of threads may call.

    The thread does not refer to this object: one that nobody holds any more warns, and its service is closed by the thread. Those that
    are open when the interpreter ends are closed then, within ten seconds in all.

    Args:
        service: not yet opened.
    """

    _is_open = False

    def __init__(self, service: InventoryService) -> None:
        self._service = service
        self._process = os.getpid()
        self._calls = _Calls()
        started: Future[tuple[BlockingPortal, Callable[[], object]]] = Future()
        self._thread = threading.Thread(target=_run_loop, args=(service, started, self._calls), name="inventory_es", daemon=True)
        self._thread.start()
        self._portal, self._let_go = started.result()
        self._is_open = True
        try:
            self._run(service.__aenter__)
        except BaseException:
            self._release()
            self._thread.join()
            raise
        self.is_durable: bool = service.store_capabilities.durability != "none"
        _open[id(self)] = weakref.ref(self)

    def __del__(self) -> None:
        if self._release():
            message = "an inventory service was dropped and not closed: use 'with', or call close()"
            warnings.warn(message, ResourceWarning, stacklevel=2, source=self)

    def call(self, method: Callable[..., Awaitable[T]], *args: Any, **kwargs: Any) -> T:
        """Call a method of the service in the loop, with the caller's command context, and wait for it.

        Raises:
            RuntimeError: called from the loop's own thread, where waiting would never end.
            StoreClosedError: an unexpected error, which no caller could be told, ended the loop.
        """
        answer: T = self._run(_in_context, current_context(), method, self._service, args, kwargs)
        return answer

    def each(self, method: Callable[..., AsyncIterator[T]], *args: Any, **kwargs: Any) -> Iterator[T]:
        """Iterate over what a method of the service gives, some items at a time."""
        iterator: AsyncIterator[T] = self._run(_begin, method, self._service, args, kwargs)
        return self._items(iterator)

    def tell(self, function: Callable[[InventoryService], None]) -> None:
        """Call a function of the service that waits for nothing, in the loop."""

        async def do(service: InventoryService) -> None:
            function(service)

        self.call(do)

    def close(self) -> None:
        """Close the service and end the thread. Closing twice is allowed, and so is closing after the thread has ended."""
        try:
            if self._is_open and not self._calls.has_ended:
                self._run(self._service.aclose)
        finally:
            self._release()
            self._thread.join()

    def _release(self) -> bool:
        """Have the thread close the service and end, without waiting; ``False``: not open, or of another process."""
        is_open, self._is_open = self._is_open and os.getpid() == self._process, False
        if is_open:
            _open.pop(id(self), None)
            with suppress(RuntimeError):  # the loop has ended before
                self._let_go()
        return is_open

    def _items(self, iterator: AsyncIterator[T]) -> Iterator[T]:
        while items := self._run(_some, iterator):
            yield from items

    def _run(self, function: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        if threading.current_thread() is self._thread:
            msg = "a policy or an observer must not call the service that is asking it: it would wait for itself"
            raise RuntimeError(msg)
        if not self._is_open or os.getpid() != self._process:
            reason = "it was closed" if os.getpid() == self._process else "it was inherited by fork"
            raise StoreClosedError(store=_NAME, reason=reason)
        calls = self._calls
        try:
            call = self._portal.start_task_soon(_told, function, args)
        except RuntimeError as ended:  # the loop takes nothing any more
            raise StoreClosedError(store=_NAME, reason=_ENDED) from ended
        calls.waiting.add(call)
        try:
            if calls.has_ended:
                call.cancel()
            answer, problem = call.result()
        except CancelledError as ended:  # nobody but the end of the loop cancels a call that is waited for
            raise StoreClosedError(store=_NAME, reason=_ENDED) from ended
        except BaseException:  # an interruption, as by Ctrl-C: nobody waits for it any more
            call.cancel()
            raise
        finally:
            calls.waiting.discard(call)
        if problem is not None:
            raise problem
        return answer


class _Calls:
    """The calls that wait for a loop. The thread of the loop shares them, and refers to nothing else of the engine."""

    def __init__(self) -> None:
        self.waiting: set[Future[Any]] = set()
        self.has_ended = False

    def end(self) -> None:
        """Refuse those that the loop took and never began, and all that come later."""
        self.has_ended = True
        for call in tuple(self.waiting):
            call.cancel()


_open: dict[int, "weakref.ref[EngineThread]"] = {}


@atexit.register
def close_all() -> None:
    """Close what is open when the interpreter ends; what a fork brought here is the parent's."""
    closing = [engine for alive in tuple(_open.values()) if (engine := alive()) is not None and engine._release()]  # noqa: SLF001  # same module
    give_up = monotonic() + _SECONDS_AT_EXIT
    for engine in closing:
        engine._thread.join(max(0.0, give_up - monotonic()))  # noqa: SLF001  # same module
        if engine._thread.is_alive():  # noqa: SLF001  # same module
            _logger.warning("service_not_closed_at_exit", extra={"seconds": _SECONDS_AT_EXIT})


# anyio's start_blocking_portal is a generator: dropped in a forked child, it would wait there for the parent's thread.
def _run_loop(service: InventoryService, started: "Future[tuple[BlockingPortal, Callable[[], object]]]", calls: _Calls) -> None:
    async def serve() -> None:
        async with BlockingPortal() as portal:
            is_over = anyio.Event()
            loop: Any = anyio.lowlevel.current_token().native_token
            started.set_result((portal, partial(loop.call_soon_threadsafe, is_over.set)))  # a finalizer may run in any thread, this one too
            await is_over.wait()
            await service.aclose()

    try:
        anyio.run(serve)
    except BaseException as problem:
        if started.done():
            _logger.exception("service_thread_failed")
        else:
            started.set_exception(problem)
    finally:
        calls.end()


async def _in_context(
    context: CommandContext,
    method: Callable[..., Awaitable[T]],
    service: InventoryService,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> T:
    with command_context(actor_id=context.actor_id, correlation_id=context.correlation_id, causation_id=context.causation_id):
        return await method(service, *args, **kwargs)


async def _told(function: Callable[..., Awaitable[Any]], args: tuple[Any, ...]) -> tuple[Any, BaseException | None]:
    """Call the function, and return what would end the loop, and with it the calls of everybody else, if it were raised there."""
    try:
        return await function(*args), None
    except (KeyboardInterrupt, SystemExit) as problem:
        return None, problem


async def _begin(
    method: Callable[..., AsyncIterator[T]], service: InventoryService, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> AsyncIterator[T]:
    return method(service, *args, **kwargs)


async def _some(iterator: AsyncIterator[T]) -> list[T]:
    items: list[T] = []
    async for item in iterator:
        items.append(item)
        if len(items) == _ITEMS_A_CALL:
            break
    return items
