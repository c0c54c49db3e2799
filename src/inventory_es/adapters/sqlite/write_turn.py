"""The write lock of the database, taken before there is anything to write, and given back by itself if nothing comes."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Lock, Timer

LONGEST_TURN = 0.2
"""Seconds after which a turn is over, whatever its owner does: others wait for the lock no longer than they would for a slow disk."""


class WriteTurn:
    """Transactions of the writing connection, begun for one commit, or before it.

    Args:
        connection: the writing one. Nothing else begins or ends its transactions.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._mutex = Lock()
        self._turn: object = None
        self._timer: Timer | None = None

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """The connection in a transaction that holds the write lock: that of the turn, if one was taken. The block ends it."""
        with self._mutex:
            if not self._connection.in_transaction:
                self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            finally:
                self._end()

    @contextmanager
    def idle(self) -> Iterator[sqlite3.Connection | None]:
        """The connection for a moment, or nothing, where another thread has it."""
        if not self._mutex.acquire(blocking=False):
            yield None
            return
        try:
            yield self._connection
        finally:
            self._mutex.release()

    def take(self) -> None:
        """Wait for the write lock, and hold it for the next transaction."""
        with self._mutex:
            self._connection.execute("BEGIN IMMEDIATE")
            self._turn = object()
            self._timer = Timer(LONGEST_TURN, self._lapse, [self._turn])
            self._timer.daemon = True
            try:
                self._timer.start()
            except BaseException:  # no thread, no end of the turn: others would wait for it
                self._end()
                raise

    def give_back(self) -> None:
        """Let others write, if no transaction did so already."""
        with self._mutex:
            self._end()

    def _lapse(self, turn: object) -> None:
        with self._mutex:
            if turn is self._turn:
                with suppress(sqlite3.Error):  # the transaction goes on, and the next commit meets what is wrong
                    self._end()

    def _end(self) -> None:
        self._turn = None
        if self._timer is not None:
            self._timer.cancel()
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
