"""The asynchronous service in an event loop of its own thread: what the synchronous one calls into."""

import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from typing import Any, TypeVar

import anyio
from anyio.from_thread import BlockingPortal

from inventory_es.application.context import CommandContext, command_context, current_context
from inventory_es.application.service import InventoryService
from inventory_es.ports.errors import StoreClosedError

T = TypeVar("T")

_ITEMS_A_CALL = 500
_NAME = "the service"
_ENDED = "its thread was ended by an unexpected error"
_logger = logging.getLogger(__name__)


class EngineThread:
    """One event loop in one thread, and the service that is open in it. Any number of threads may call.

    Args:
        service: not yet opened.
    """

    def __init__(self, service: InventoryService) -> None:
        self._service = service
        self._started: Future[BlockingPortal] = Future()
        self._waiting: set[Future[Any]] = set()
        self._has_ended = False
        self._thread = threading.Thread(target=self._run_loop, name="inventory_es", daemon=True)
        self._thread.start()
        self._portal = self._started.result()
        try:
            self._portal.call(service.__aenter__)
        except BaseException:
            self._stop()
            raise
        self.is_durable: bool = service.store_capabilities.durability != "none"

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

    def close(self) -> None:
        """Close the service and end the thread. A thread that has ended before is no error: its callers were told."""
        try:
            self._run(self._service.aclose)
        except StoreClosedError as problem:
            if problem.store != _NAME:
                raise
        finally:
            self._stop()

    # anyio's start_blocking_portal is a generator: dropped in a forked child, it would wait there for the parent's thread.
    def _run_loop(self) -> None:
        async def serve() -> None:
            async with BlockingPortal() as portal:
                self._started.set_result(portal)
                await portal.sleep_until_stopped()

        try:
            anyio.run(serve)
        except BaseException as problem:
            if self._started.done():
                _logger.exception("service_thread_failed")
            else:
                self._started.set_exception(problem)
        finally:
            self._has_ended = True
            for call in tuple(self._waiting):  # those that the loop took and never began
                call.cancel()

    def _stop(self) -> None:
        with suppress(RuntimeError):  # it has ended before
            self._portal.call(self._portal.stop)
        self._thread.join()

    def _items(self, iterator: AsyncIterator[T]) -> Iterator[T]:
        while items := self._run(_some, iterator):
            yield from items

    def _run(self, function: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        if threading.current_thread() is self._thread:
            msg = "a policy or an observer must not call the service that is asking it: it would wait for itself"
            raise RuntimeError(msg)
        try:
            call = self._portal.start_task_soon(_told, function, args)
        except RuntimeError as ended:  # the loop takes nothing any more
            raise StoreClosedError(store=_NAME, reason=_ENDED) from ended
        self._waiting.add(call)
        try:
            if self._has_ended:
                call.cancel()
            answer, problem = call.result()
        except CancelledError as ended:  # nobody but the end of the loop cancels a call
            raise StoreClosedError(store=_NAME, reason=_ENDED) from ended
        finally:
            self._waiting.discard(call)
        if problem is not None:
            raise problem
        return answer


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
