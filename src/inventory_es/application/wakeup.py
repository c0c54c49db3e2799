"""How a task waits until another task of its event loop lets it go on."""

from collections.abc import Callable, Generator
from typing import Any

import anyio
from anyio.lowlevel import current_token


class Wakeup:
    """What one task waits for, once, by awaiting it. The futures of an event loop are wake-ups too, and cost a third of this one."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event = anyio.Event()

    def done(self) -> bool:
        """Whether it is set, or its task was cancelled."""
        return self._event.is_set()

    def set_result(self, _result: None, /) -> None:
        """Let the task go on; not if it is done."""
        self._event.set()

    def __await__(self) -> Generator[Any, Any, object]:
        return self._event.wait().__await__()


def wakeups() -> Callable[[], Wakeup]:
    """What makes wake-ups for the running event loop: futures, where it has them."""
    loop: Any = current_token().native_token
    make: Callable[[], Wakeup] = getattr(loop, "create_future", Wakeup)
    return make
