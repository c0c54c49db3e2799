"""A synchronous store behind the asynchronous port: each call runs in a worker thread and is waited for, cancelled or not."""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread

T = TypeVar("T")


class InThreads:
    """An event store and feed over a synchronous one."""

    def __init__(self, store: Any) -> None:
        self._store = store

    @property
    def capabilities(self) -> Any:
        return self._store.capabilities

    async def append(self, *args: Any) -> Any:
        return await _run(self._store.append, *args)

    async def read_stream(self, *args: Any, **kwargs: Any) -> Any:
        return await _run(self._store.read_stream, *args, **kwargs)

    async def read_stream_backwards(self, *args: Any, **kwargs: Any) -> Any:
        return await _run(self._store.read_stream_backwards, *args, **kwargs)

    async def find_events(self, *args: Any) -> Any:
        return await _run(self._store.find_events, *args)

    async def read_all(self, **kwargs: Any) -> Any:
        return await _run(self._store.read_all, **kwargs)

    async def head(self) -> Any:
        return await _run(self._store.head)

    async def wait_for_position(self, position: int, /, *, timeout: float) -> bool:
        with anyio.move_on_after(timeout):
            while await self.head() < position:
                await anyio.lowlevel.checkpoint()
        return bool(await self.head() >= position)

    async def aclose(self) -> None:
        await _run(self._store.close)


async def _run(call: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    return await anyio.to_thread.run_sync(partial(call, *args, **kwargs))
