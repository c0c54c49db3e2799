"""The connections to one database file: lent for one use at a time, and closed before a fork."""

import sqlite3
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from inventory_es.adapters.sqlite.database import Synchronous, connect
from inventory_es.adapters.sqlite.forks import gate

_abandoned: list[sqlite3.Connection] = []
"""Inherited ones, kept from the garbage collector: closing them is the business of the process that opened them."""


class Connections:
    """One connection that writes, and as many that read as threads read at once.

    A use of a connection is a ``with`` block. Between two uses a fork may close it; the next use opens another.

    Args:
        path: of the database.
        name: of what is in it, for errors.
        synchronous: of the writing connection.
        open_writer: opens the first connection, which brings the file into form.

    Raises:
        UnsupportedCapabilityError: the file was open when this process was forked.
    """

    def __init__(self, path: str, *, name: str, synchronous: Synchronous, open_writer: Callable[[], sqlite3.Connection]) -> None:
        self._path = path
        self._synchronous = synchronous
        self._writers: deque[sqlite3.Connection] = deque()
        self._readers: deque[sqlite3.Connection] = deque()
        self._lent: set[sqlite3.Connection] = set()
        with gate:
            gate.check(path, name=name)
            self._writers.append(open_writer())
            gate.guard(self)

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Lend the writing connection; one thread at a time asks.

        Raises:
            sqlite3.Error: it can't be opened.
        """
        with gate:
            connection = self._take(self._writers, read_only=False)
            try:
                yield connection
            finally:
                self._put_back(self._writers, connection)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Lend a reading connection.

        Raises:
            sqlite3.Error: it can't be opened.
        """
        with gate:
            connection = self._take(self._readers, read_only=True)
            try:
                yield connection
            finally:
                self._put_back(self._readers, connection)

    @contextmanager
    def at_hand(self) -> Iterator[sqlite3.Connection | None]:
        """Lend the writing connection without waiting and without opening it; ``None`` where that can't be."""
        if not gate.enter_now():
            yield None
            return
        try:
            if not self._writers:
                yield None
                return
            connection = self._take(self._writers, read_only=False)
            try:
                yield connection
            finally:
                self._put_back(self._writers, connection)
        finally:
            gate.leave()

    def close(self) -> None:
        """Close every connection. Nothing uses one any more."""
        with gate:
            self.close_idle()

    def close_idle(self) -> None:
        """See :class:`~inventory_es.adapters.sqlite.forks.Closable`. The writing one is the last: it empties the log."""
        for idle in (self._readers, self._writers):
            while idle:
                idle.pop().close()

    def abandon(self) -> None:
        """See :class:`~inventory_es.adapters.sqlite.forks.Closable`."""
        _abandoned.extend([*self._readers, *self._writers, *self._lent])
        self._readers.clear()
        self._writers.clear()

    def _take(self, idle: deque[sqlite3.Connection], *, read_only: bool) -> sqlite3.Connection:
        try:
            connection = idle.pop()
        except IndexError:
            connection = connect(self._path, synchronous=self._synchronous, read_only=read_only)
        self._lent.add(connection)
        return connection

    def _put_back(self, idle: deque[sqlite3.Connection], connection: sqlite3.Connection) -> None:
        self._lent.discard(connection)
        idle.append(connection)
