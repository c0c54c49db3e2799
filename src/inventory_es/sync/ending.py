"""The end of the main thread, told to what would keep the process alive."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class EndOfMainThread:
    """Stops what runs until it is stopped, in threads of the host, when the main thread has ended.

    The interpreter waits for every thread that is no daemon before it calls what was registered with ``atexit``. So a thread that ends
    only when the service is closed there would never end.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stops: list[Callable[[], object]] = []
        self._watcher: threading.Thread | None = None
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    @contextmanager
    def stopping(self, stop: Callable[[], object]) -> Iterator[None]:
        """Call ``stop`` in a thread of its own if the main thread ends inside the block."""
        with self._lock:
            self._stops.append(stop)
            if self._watcher is None or not self._watcher.is_alive():
                self._watcher = threading.Thread(target=self._watch, name="inventory_es end of main thread", daemon=True)
                self._watcher.start()
        try:
            yield
        finally:
            with self._lock:
                self._stops.remove(stop)

    def _watch(self) -> None:
        threading.main_thread().join()
        with self._lock:
            stops, self._watcher = list(self._stops), None
        for stop in stops:
            stop()

    def _forget(self) -> None:
        """In a forked child: threads of the parent do not exist here."""
        self._lock, self._stops, self._watcher = threading.Lock(), [], None


END = EndOfMainThread()
"""One for the process: it starts a thread when something runs, and none before."""
