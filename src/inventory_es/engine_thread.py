"""The asynchronous service in an event loop of its own thread: what the synchronous one calls into."""

import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

import anyio
from anyio.from_thread import BlockingPortal

from inventory_es.application.context import CommandContext, command_context, current_context
from inventory_es.application.service import InventoryService

T = TypeVar("T")

_ITEMS_A_CALL = 500


class EngineThread:
    """One event loop in one thread, and the service that is open in it. Any number of threads may call.

    Args:
        service: not yet opened.
    """

    def __init__(self, service: InventoryService) -> None:
        self._service = service
        self._started: Future[BlockingPortal] = Future()
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
        """
        answer: T = self._run(_in_context, current_context(), method, self._service, args, kwargs)
        return answer

    def each(self, method: Callable[..., AsyncIterator[T]], *args: Any, **kwargs: Any) -> Iterator[T]:
        """Iterate over what a method of the service gives, some items at a time."""
        iterator: AsyncIterator[T] = self._run(_begin, method, self._service, args, kwargs)
        return self._items(iterator)

    def close(self) -> None:
        """Close the service and end the thread."""
        try:
            self._run(self._service.aclose)
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
                raise
            self._started.set_exception(problem)

    def _stop(self) -> None:
        self._portal.call(self._portal.stop)
        self._thread.join()

    def _items(self, iterator: AsyncIterator[T]) -> Iterator[T]:
        while items := self._run(_some, iterator):
            yield from items

    def _run(self, function: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        if threading.current_thread() is self._thread:
            msg = "a policy or an observer must not call the service that is asking it: it would wait for itself"
            raise RuntimeError(msg)
        return self._portal.call(function, *args)


async def _in_context(
    context: CommandContext,
    method: Callable[..., Awaitable[T]],
    service: InventoryService,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> T:
    with command_context(actor_id=context.actor_id, correlation_id=context.correlation_id, causation_id=context.causation_id):
        return await method(service, *args, **kwargs)


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
