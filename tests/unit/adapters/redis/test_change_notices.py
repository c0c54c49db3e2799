"""Marks of keys while the thread that reads the notices is late."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from inventory_es.adapters.redis.connection import ChangeNotices

PATIENCE = 20.0


class LateChannel:
    """A channel of the driver that answers two questions, and then holds the thread up until it is released."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self._answers = iter(({"type": "pong"}, {"type": "pong"}))

    @contextmanager
    def pubsub(self) -> Iterator["LateChannel"]:
        yield self

    def execute_command(self, *_words: Any) -> None: ...
    def parse_response(self) -> bytes:
        return b"1"

    def subscribe(self, *_channels: str) -> None: ...
    def ping(self) -> None: ...
    def get_message(self, timeout: float) -> dict[str, str] | None:
        answer = next(self._answers, None)
        if answer is None:
            self.released.wait(PATIENCE + timeout)
        return answer


def wait_until(is_so: Callable[[], bool]) -> None:
    give_up = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < give_up


def test_a_late_thread_has_the_same_bound_as_a_late_server() -> None:
    channel = LateChannel()
    notices = ChangeNotices(lambda: channel, "p:")
    try:
        wait_until(lambda: notices.mark("k") is not None)
        wait_until(lambda: notices.mark("k") is None)
    finally:
        channel.released.set()
        notices.close()
