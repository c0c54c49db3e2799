"""Waiting for the locks of a folder: never longer than the host allows, and not after the caller has gone."""

import errno
from collections.abc import Callable
from math import inf
from time import monotonic

import attrs

from inventory_es.ports.blocking_calls import check_wanted
from inventory_es.ports.file_system import LockFile

LOCK_TIMEOUT = 5.0
"""Seconds to wait for a lock that another process holds, unless the host gives others."""

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

    def take(self, lock: LockFile) -> None:
        """Take the lock.

        Raises:
            TimeoutError: somebody else held it all the time.
            WithdrawnError, or the caller's cancellation: nobody waits for it any more.
        """
        if not lock.acquire(timeout=0):
            self.until(lock.acquire, self.deadline)

    @property
    def deadline(self) -> float:
        """When a wait that begins now is over, in seconds of the monotonic clock."""
        return monotonic() + self.timeout

    def until(self, acquire: Callable[..., bool], deadline: float) -> None:
        """Call ``acquire(timeout=…)`` until it succeeds; raises as :meth:`take`."""
        while not acquire(timeout=max(0.0, min(_SLICE, deadline - monotonic()))):
            check_wanted()
            if monotonic() >= deadline:
                problem = f"another process, or another handle, has held the lock {self.path} for {self.timeout:g} s"
                raise TimeoutError(errno.ETIMEDOUT, problem, self.path)


def check_lock_timeout(timeout: float) -> None:
    """Refuse a bound that is none.

    Raises:
        ValueError: ``timeout`` is negative, infinite or not a number.
    """
    if not 0 <= timeout < inf:
        msg = "lock_timeout must be 0 or more seconds, and finite"
        raise ValueError(msg)
