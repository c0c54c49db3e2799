"""Notices of changed keys: the server's own tracking (``CLIENT TRACKING`` in broadcast mode), read by one thread per cache.

The thread asks for an answer every 0.2 seconds. A notice is sent before the answer to the second question after the change, so such an
answer proves that every earlier change is known. No mark is given from a second after the last proof on. So a frozen server, a lost
connection and a late thread all have the same bound.
"""

import threading
import time
from collections.abc import Callable
from itertools import pairwise, repeat
from typing import Any
from zlib import crc32

import redis

from inventory_es.adapters.redis.connection import FAILURES

_CHANNEL = "__redis__:invalidate"
_ASK = 0.2
"""Seconds between two questions."""
_TRUSTED = 1.0
"""Seconds after a question within which its answer counts."""
_PAUSE = 1.0
"""Seconds between two attempts to connect."""
_UNUSED = 10.0
"""Seconds without a question for a mark after which the thread ends."""
_SLOTS = 4_096
"""Counters, each for all keys of one checksum: so memory has a bound, and a change may end the marks of other keys too."""


class ChangeNotices:
    """The changes of all keys of a prefix, as marks. For any number of threads.

    Args:
        client: returns the driver's client of one server.
        prefix: of the keys.
    """

    def __init__(self, client: Callable[[], Any], prefix: str) -> None:
        self._client = client
        self._prefix = prefix
        self._counts = [0] * _SLOTS
        self._start = 0
        self._until = 0.0
        self._asked = 0.0
        self._not_before = 0.0
        self._is_closed = False
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self.refusal: redis.ResponseError | None = None

    def mark(self, key: str) -> int | None:
        """Return the mark of a key, which differs after a change; ``None`` while changes are not known. The first call connects."""
        self._asked = now = time.monotonic()
        if now < self._until:
            return self._start + self._counts[crc32(key.encode()) % _SLOTS]
        with self._lock:
            if now >= self._not_before and not self._is_closed and not (self._thread and self._thread.is_alive()):
                self._not_before = now + _PAUSE
                self._thread = threading.Thread(target=self._listen, name="inventory_es change notices", daemon=True)
                self._thread.start()
        return None

    def close(self) -> None:
        """End the thread, and wait for it: for one question and its answer at most."""
        with self._lock:
            self._is_closed, self._until, thread = True, 0.0, self._thread
        if thread is not None:
            thread.join()

    def _listen(self) -> None:
        try:
            with self._client().pubsub() as channel:
                self._track(channel)
                questions = map(self._ask, repeat(channel))
                for proved, _ in pairwise(questions):
                    self._until = proved + _TRUSTED
                    self._read(channel, until=time.monotonic() + _ASK)
                    if self._is_closed or time.monotonic() - self._asked > _UNUSED:
                        break
        except redis.ResponseError as problem:
            self.refusal = problem
        except FAILURES:
            pass  # the calls of the cache tell it
        finally:
            self._until = 0.0

    def _track(self, channel: Any) -> None:
        """Let the server send notices to this connection, and begin other marks."""
        channel.execute_command("CLIENT", "ID")
        channel.execute_command("CLIENT", "TRACKING", "ON", "REDIRECT", channel.parse_response(), "BCAST", "PREFIX", self._prefix)
        channel.parse_response()
        channel.subscribe(_CHANNEL)
        self._start = time.monotonic_ns()
        self.refusal = None

    def _ask(self, channel: Any) -> float:
        """Read every notice up to the answer to a question, and return the time of the question."""
        asked = time.monotonic()
        channel.ping()
        while (message := channel.get_message(timeout=_TRUSTED)) is None or message["type"] != "pong":
            if message is None:
                raise redis.TimeoutError
            self._count(message)
        return asked

    def _read(self, channel: Any, *, until: float) -> None:
        while (left := until - time.monotonic()) > 0:
            if (message := channel.get_message(timeout=left)) is not None:
                self._count(message)

    def _count(self, message: dict[str, Any]) -> None:
        if message["type"] != "message":
            return
        if message["data"] is None:  # every key is gone
            self._start = time.monotonic_ns()
            return
        for key in message["data"]:
            self._counts[crc32(key) % _SLOTS] += 1
