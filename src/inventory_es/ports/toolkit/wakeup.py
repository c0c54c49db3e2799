"""How a task waits until another task of its event loop lets it go on."""

from collections.abc import Callable, Generator
from typing import Any

import anyio
from anyio.lowlevel import current_token


class Wakeup:
    """What one task waits for, once, by awaiting it. The futures of an event loop are wake-ups too, and cost a third of an event.

    Args:
        event: what is behind it. Others may wait for it too, and be woken without this one.
    """

    __slots__ = ("_event", "_is_set")

    def __init__(self, event: anyio.Event) -> None:
        self._event = event
        self._is_set = False

    def done(self) -> bool:
        """Whether it is set, or its task was cancelled."""
        return self._is_set

    def set_result(self, _result: None, /) -> None:
        """Let the task go on; not if it is done."""
        self._is_set = True
        self._event.set()

    def __await__(self) -> Generator[Any, Any, object]:
        yield from self._event.wait().__await__()
        while not self._is_set:  # others were woken
            self._event = anyio.Event()
            yield from self._event.wait().__await__()
        return None


def futures() -> Callable[[], Wakeup | None]:
    """What makes futures of the running event loop; ``None`` where it has none."""
    loop: Any = current_token().native_token
    make: Callable[[], Wakeup | None] = getattr(loop, "create_future", _none)
    return make


def _none() -> None:
    return None
