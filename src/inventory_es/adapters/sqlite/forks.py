"""Forks of this process, and the SQLite connections that must not be carried over them.

SQLite keeps its table of locks per process. A fork copies the table, and the operating system copies none of the locks: the child
believes that it holds what only its parent holds, and both lose commits ("How To Corrupt An SQLite Database File", "Carrying an open
database connection across a fork()"). So every connection of this package is closed before a fork, when the statements that run have
ended, and each process opens its own again. A file that was open all the same is refused in the child: the statements took too long,
somebody else in the process had opened it, or the fork was not made by Python, so that nobody was asked before.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from stat import S_ISREG
from threading import Condition, RLock
from types import TracebackType
from typing import Protocol
from weakref import WeakSet

from inventory_es.ports.errors import StoreUnavailableError, UnsupportedCapabilityError

FORK_SECONDS = 10.0
"""How long a fork waits for the statements that run: longer than a commit waits for another process."""

Identity = tuple[int, int]
"""Device and inode of a file."""

_HEADER = b"SQLite format 3\x00"


class Closable(Protocol):
    """Connections that a fork must not carry over."""

    def close_idle(self) -> None:
        """Close those that no thread uses now."""
        ...

    def abandon(self) -> None:
        """Use none of them again and close none of them: they are another process's."""
        ...


class ForkGate:
    """Keeps the use of connections and the forks of this process apart. A ``with`` block is one use; uses do not nest."""

    def __init__(self) -> None:
        self._mutex = RLock()
        self._change = Condition(self._mutex)
        self._uses = 0
        self._forks = 0
        self._guarded: WeakSet[Closable] = WeakSet()
        self._inherited: frozenset[Identity] = frozenset()
        self._has_hooks = False

    def __enter__(self) -> None:
        with self._mutex:
            if self._forks and not self._change.wait_for(self._is_open, FORK_SECONDS):
                raise StoreUnavailableError(store="SQLite", reason="a fork of this process does not end")
            self._uses += 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.leave()

    def enter_now(self) -> bool:
        """Begin a use that :meth:`leave` ends, and return True; return False if a thread forks just now."""
        with self._mutex:
            self._uses += 0 if self._forks else 1
            return not self._forks

    def leave(self) -> None:
        """End a use."""
        with self._mutex:
            self._uses -= 1
            if self._forks:
                self._change.notify_all()

    def guard(self, connections: Closable) -> None:
        """Close these before each fork from now on. Called in a use."""
        if not self._has_hooks and hasattr(os, "register_at_fork"):
            os.register_at_fork(before=self._before, after_in_parent=self._after_in_parent, after_in_child=self._after_in_child)
            self._has_hooks = True
        self._guarded.add(connections)

    def check(self, path: str, *, name: str) -> None:
        """Refuse a file that was open when this process, or one that it descends from, was forked.

        Raises:
            UnsupportedCapabilityError: it was.
        """
        with suppress(OSError):
            if identity_of(path) in self._inherited:
                raise UnsupportedCapabilityError(
                    store=name,
                    capability="use in this process, because the file was open in SQLite when the process was forked",
                    way_out="close what else has opened the file before the fork, or start the process by exec (multiprocessing: 'spawn')",
                )

    def _is_open(self) -> bool:
        return self._forks == 0

    def _before(self) -> None:
        with self._mutex:
            self._forks += 1
            self._change.wait_for(lambda: self._uses == 0, FORK_SECONDS)
        for connections in tuple(self._guarded):
            connections.close_idle()

    def _after_in_parent(self) -> None:
        with self._mutex:
            self._forks -= 1
            self._change.notify_all()

    def _after_in_child(self) -> None:
        self._mutex = RLock()
        self._change = Condition(self._mutex)
        self._uses = self._forks = 0
        self._inherited |= frozenset(_open_databases())
        for connections in tuple(self._guarded):
            connections.abandon()
        self._guarded = WeakSet()


gate: ForkGate = ForkGate()


def identity_of(path: str) -> Identity:
    """Return which file is at a path now.

    Raises:
        OSError: none, or it can't be reached.
    """
    status = os.stat(path)  # noqa: PTH116  # Path.stat takes three times as long, and every commit asks
    return status.st_dev, status.st_ino


def _open_databases() -> Iterator[Identity]:
    """Yield every SQLite database of which this process has a descriptor, whoever opened it."""
    names: list[str] = []
    with suppress(OSError):
        names = os.listdir("/dev/fd")  # noqa: PTH208  # names are wanted
    for name in names:
        with suppress(OSError):
            status = os.fstat(int(name))
            if S_ISREG(status.st_mode) and os.pread(int(name), len(_HEADER), 0) == _HEADER:
                yield status.st_dev, status.st_ino
