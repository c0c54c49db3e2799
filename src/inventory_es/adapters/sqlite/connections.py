"""The connections to one database file: lent for one use at a time, closed before a fork, refused when the file left its place."""

import os
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from inventory_es.adapters.sqlite.database import Synchronous, connect
from inventory_es.adapters.sqlite.forks import Identity, gate, identity_of
from inventory_es.ports.errors import StoreClosedError, StoreUnavailableError

_abandoned: list[sqlite3.Connection] = []
"""Inherited ones, kept from the garbage collector: closing them is the business of the process that opened them."""


class Connections:
    """One connection that writes, and as many that read as threads read at once.

    A use of a connection is a ``with`` block. Between two uses a fork may close it; the next use opens another. Each use compares the file
    at the path, and its log, with those that are open: SQLite itself goes on in a file that was moved, removed or replaced, and whoever
    opens the path would not find what was committed there.

    Args:
        path: of the database, absolute. A symbolic link is followed once; one that leads elsewhere later is a file that left its place.
        name: of what is in it, for errors.
        synchronous: of the writing connection.
        open_writer: opens the first connection, which brings the file into form.

    Raises:
        UnsupportedCapabilityError: the file was open when this process was forked.
        StoreClosedError: in any use, the file is not in its place any more.
    """

    def __init__(self, path: str, *, name: str, synchronous: Synchronous, open_writer: Callable[[], sqlite3.Connection]) -> None:
        self._place = path
        self._path = os.path.realpath(path)
        self._log = f"{self._path}-wal"
        self._name = name
        self._synchronous = synchronous
        self._writers: deque[sqlite3.Connection] = deque()
        self._readers: deque[sqlite3.Connection] = deque()
        self._lent: set[sqlite3.Connection] = set()
        self._log_identity: Identity | None = None
        with gate:
            gate.check(path, name=name)
            self._writers.append(open_writer())
            try:
                self._identity = self._find(self._place)
                self._log_identity = self._find(self._log)
            except BaseException:
                self.close_idle()
                raise
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
                self._check_place()
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
                self._check_place()
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
            if not self._writers or not self._is_in_place():
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
        """See :class:`~inventory_es.adapters.sqlite.forks.Closable`. The writing one is the last: it empties the log and removes it.

        SQLite removes nothing if the file is not at its path any more: the log there may be another database's.
        """
        for idle in (self._readers, self._writers):
            while idle:
                idle.pop().close()
        if not self._lent:
            self._log_identity = None

    def abandon(self) -> None:
        """See :class:`~inventory_es.adapters.sqlite.forks.Closable`."""
        _abandoned.extend([*self._readers, *self._writers, *self._lent])
        self._readers.clear()
        self._writers.clear()

    def _take(self, idle: deque[sqlite3.Connection], *, read_only: bool) -> sqlite3.Connection:
        try:
            connection = idle.pop()
        except IndexError:
            connection = self._connect(read_only=read_only)
        self._lent.add(connection)
        return connection

    def _connect(self, *, read_only: bool) -> sqlite3.Connection:
        self._check_place()
        connection = connect(self._path, synchronous=self._synchronous, read_only=read_only)
        try:
            if self._log_identity is None:
                connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # opens the log, or creates it
                self._log_identity = self._find(self._log)
        except BaseException:
            connection.close()
            raise
        return connection

    def _check_place(self) -> None:
        if self._is_in_place():
            return
        moved = self._log if self._find(self._place) == self._identity else self._place
        raise StoreClosedError(store=self._name, reason=f"{moved} was moved, removed or replaced while it was open")

    def _is_in_place(self) -> bool:
        try:
            return identity_of(self._place) == self._identity and (
                self._log_identity is None or identity_of(self._log) == self._log_identity
            )
        except OSError:
            return False

    def _find(self, path: str) -> Identity | None:
        try:
            return identity_of(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as problem:
            raise StoreUnavailableError(store=self._name, reason=problem.strerror or "the file system refused") from problem

    def _put_back(self, idle: deque[sqlite3.Connection], connection: sqlite3.Connection) -> None:
        self._lent.discard(connection)
        idle.append(connection)
