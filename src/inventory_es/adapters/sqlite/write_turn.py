"""The write lock of the database, taken before there is anything to write, and given back by itself if nothing comes."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Lock, Timer

from inventory_es.adapters.sqlite.connections import Connections
from inventory_es.adapters.sqlite.database import begin_writing

LONGEST_TURN = 0.2
"""Seconds after which a turn is over, whatever its owner does: others wait for the lock no longer than they would for a slow disk."""


class WriteTurn:
    """Transactions of the writing connection, begun for one commit, or before it. A fork ends a turn.

    Args:
        connections: of the database. Nothing else begins or ends transactions of the writing one.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._mutex = Lock()
        self._turn: object = None
        self._timer: Timer | None = None

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """The connection in a transaction that holds the write lock: that of the turn, if one was taken. The block ends it."""
        with self._mutex, self._connections.writing() as connection:
            if not connection.in_transaction:
                begin_writing(connection)
            try:
                yield connection
            finally:
                self._end(connection)

    @contextmanager
    def idle(self) -> Iterator[sqlite3.Connection | None]:
        """The connection for a moment, or nothing, where another thread has it or a fork closed it."""
        if not self._mutex.acquire(blocking=False):
            yield None
            return
        try:
            with self._connections.at_hand() as connection:
                yield connection
        finally:
            self._mutex.release()

    def take(self) -> None:
        """Wait for the write lock, and hold it for the next transaction."""
        with self._mutex, self._connections.writing() as connection:
            begin_writing(connection)
            self._turn = object()
            self._timer = Timer(LONGEST_TURN, self._lapse, [self._turn])
            self._timer.daemon = True
            try:
                self._timer.start()
            except BaseException:  # no thread, no end of the turn: others would wait for it
                self._end(connection)
                raise

    def give_back(self) -> None:
        """Let others write, if no transaction did so already."""
        with self._mutex, self._connections.at_hand() as connection:
            self._end(connection)

    def _lapse(self, turn: object) -> None:
        with self._mutex, self._connections.at_hand() as connection:
            if turn is self._turn:
                with suppress(sqlite3.Error):  # the transaction goes on, and the next commit meets what is wrong
                    self._end(connection)

    def _end(self, connection: sqlite3.Connection | None) -> None:
        self._turn = None
        if self._timer is not None:
            self._timer.cancel()
        if connection is not None and connection.in_transaction:
            connection.execute("ROLLBACK")
