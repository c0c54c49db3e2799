"""Wait for the locks of a folder: never longer than the host allows, and not after the caller was cancelled."""

import errno
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from math import inf
from time import monotonic

import attrs

from inventory_es.ports.file_system import LockFile
from inventory_es.ports.toolkit.blocking_calls import check_wanted

LOCK_TIMEOUT = 5.0
"""The default wait for a lock that another process holds, in seconds."""

_SLICE = 0.05


@attrs.frozen
class LockWait:
    """The longest wait for one lock.

    Attributes:
        path: of the lock file, for errors.
        timeout: in seconds, 0 or more.
    """

    path: str
    timeout: float

    def take(self, lock: LockFile, deadline: float | None = None) -> None:
        """Take the lock, until ``deadline`` if the wait began before.

        Raises:
            TimeoutError: another holder kept it all the time.
            WithdrawnError, or the caller's cancellation: no caller waits for it any more.
        """
        if not lock.acquire(timeout=0):
            self.until(lock.acquire, self.deadline if deadline is None else deadline)

    @contextmanager
    def in_turn(self, mutex: "threading.RLock") -> Generator[float, None, None]:
        """Hold a mutex of this process, whose holders take the lock; gives the deadline for that. Raises as :meth:`take`.

        A short timeout is meant for other processes: callers of one process do not refuse each other for it.
        """
        started = monotonic()
        try:
            if not mutex.acquire(blocking=False):
                self.until(mutex.acquire, started + max(self.timeout, LOCK_TIMEOUT))
            yield started + self.timeout
        finally:
            try:  # noqa: SIM105  # suppress is Python code, which a signal can keep from beginning
                mutex.release()
            except RuntimeError:  # it was not acquired
                pass

    @property
    def deadline(self) -> float:
        """The end of a wait that begins now, in seconds of the monotonic clock."""
        return monotonic() + self.timeout

    def until(self, acquire: Callable[..., bool], deadline: float) -> None:
        """Call ``acquire(timeout=…)`` until it succeeds; raises as :meth:`take`."""
        while not acquire(timeout=max(0.0, min(_SLICE, deadline - monotonic()))):
            check_wanted()
            if monotonic() >= deadline:
                problem = f"another process, or another handle, has held the lock {self.path} for {self.timeout:g} s"
                raise TimeoutError(errno.ETIMEDOUT, problem, self.path)


def check_lock_timeout(timeout: float) -> None:
    """Refuse a timeout out of range.

    Raises:
        ValueError: ``timeout`` is negative, infinite or not a number.
    """
    if not 0 <= timeout < inf:
        msg = "lock_timeout must be 0 or more seconds, and finite"
        raise ValueError(msg)
