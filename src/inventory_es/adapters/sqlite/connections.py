"""Connections to one database file, and the forks that they must not be carried over.

SQLite keeps its table of locks per process. A fork copies the table, but the operating system copies no lock. The child then believes
that it holds locks that only its parent holds, and both lose commits. (See "How To Corrupt An SQLite Database File", "Carrying an open
database connection across a fork()".) So this package closes all its connections before a fork, once the running statements have ended.
Each process then opens its own again.

A file that is open at the fork all the same is refused in the child. This happens if a statement took too long, or other code in the
process had opened the file. It also happens if Python did not make the fork, so that no hook ran.

A user who may only read gets :class:`ReadOnlyConnections`. SQLite reads a write-ahead log only where it may write next to it, or finds
the log's index there (SQLite documentation, "Write-Ahead Logging", read-only databases). Where the log is missing or empty, the file
itself holds everything. It may then be opened as immutable while nobody changes it, which is checked before and after each transaction.
"""

import os
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from copy import copy
from pathlib import Path
from stat import S_ISREG
from weakref import WeakSet

from inventory_es.adapters.sqlite.database import Synchronous, begin_writing, connect
from inventory_es.ports.errors import StoreClosedError, StoreUnavailableError, UnavailableError, UnsupportedCapabilityError
from inventory_es.ports.toolkit.remedy import FORBIDDEN

FORK_SECONDS = 10.0
"""The longest that a fork waits for running statements: longer than a commit waits for another process."""

LONGEST_TURN = 0.2
"""Seconds after which a turn ends, so that others wait for the lock no longer than for a slow disk."""

READ_ONLY = "it was opened with read permission only"
READ_ONLY_REMEDY = "give this user permission to write to the file and its folder, and open it again"

Identity = tuple[int, int]
"""Device and inode of a file."""

_HEADER = b"SQLite format 3\x00"
_FORBIDDEN_CODES = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}
_abandoned: list[sqlite3.Connection] = []
"""Inherited connections, kept from the garbage collector. Only the process that opened them may close them."""


class ForkGate:
    """Keeps uses of connections and forks of this process apart. Uses do not nest.

    Attributes:
        uses: the running ones. A use ends by discarding it, and by a call of :meth:`tell` if a fork waits. A set and no count: a signal may
            come between two steps, and discarding is right whether the use was added or not.
        forks: the threads that fork.
    """

    def __init__(self) -> None:
        self._mutex = threading.RLock()
        self._change = threading.Condition(self._mutex)
        self.uses: set[object] = set()
        self.forks: set[int] = set()
        self._guarded: WeakSet[Connections] = WeakSet()
        self._inherited: frozenset[Identity] = frozenset()
        self._has_hooks = False

    def enter(self, use: object, *, wait: bool = True) -> bool:
        """Begin a use, and return True. While a thread forks, wait for its end, or return False.

        Raises:
            StoreUnavailableError: the fork does not end.
        """
        with self._mutex:
            if self.forks:
                if not wait:
                    return False
                if not self._change.wait_for(lambda: not self.forks, FORK_SECONDS):
                    raise StoreUnavailableError(store="SQLite", reason="a fork of this process does not end")
            self.uses.add(use)
            return True

    def tell(self) -> None:
        """Let the threads that fork look again."""
        with self._mutex:
            self._change.notify_all()

    def guard(self, connections: "Connections") -> None:
        """Close these connections before each fork from now on. Called in a use."""
        if not self._has_hooks and hasattr(os, "register_at_fork"):
            os.register_at_fork(before=self._before, after_in_parent=self._after_in_parent, after_in_child=self._after_in_child)
            self._has_hooks = True
        self._guarded.add(connections)

    def check(self, path: str, *, name: str) -> None:
        """Refuse a file that was open when this process, or one of its ancestors, was forked.

        Raises:
            UnsupportedCapabilityError: the file was open.
        """
        with suppress(OSError):
            if identity_of(path) in self._inherited:
                raise UnsupportedCapabilityError(
                    store=name,
                    capability="use in this process, because the file was open in SQLite when the process was forked",
                    way_out="close what else has opened the file before the fork, or start the process by exec (multiprocessing: 'spawn')",
                )

    def _before(self) -> None:
        with self._mutex:
            self.forks.add(threading.get_ident())
            self._change.wait_for(lambda: not self.uses, FORK_SECONDS)
        for connections in tuple(self._guarded):
            connections.close_idle()

    def _after_in_parent(self) -> None:
        with self._mutex:
            self.forks.discard(threading.get_ident())
            self._change.notify_all()

    def _after_in_child(self) -> None:
        self._mutex = threading.RLock()
        self._change = threading.Condition(self._mutex)
        self.uses, self.forks = set(), set()
        self._inherited |= frozenset(_open_databases())
        for connections in tuple(self._guarded):
            connections.abandon()
        self._guarded = WeakSet()


gate: ForkGate = ForkGate()


class Connections:
    """One writing connection, and as many reading ones as threads read at once.

    A connection is lent for a ``with`` block. Between two uses a fork may close it; the next use opens another. SQLite itself continues in
    a file that was moved, removed or replaced, and a process that opens the path would miss those commits. So each use compares the file
    at the path, and its log, with the open ones.

    Args:
        path: of the database, absolute. A symbolic link is followed once. If it leads elsewhere later, the file has left its place.
        name: of the store or read model, for errors.
        synchronous: of the writing connection.
        open_writer: opens the first connection, and migrates the file.

    Raises:
        UnsupportedCapabilityError: the file was open when this process was forked.
        StoreClosedError: in any use, the file is no longer in its place.
    """

    def __init__(self, path: str, *, name: str, synchronous: Synchronous, open_writer: Callable[[], sqlite3.Connection]) -> None:
        self._place = path
        self._path = os.path.realpath(path)
        self._log = f"{self._path}-wal"
        self._name = name
        self._synchronous = synchronous
        self._writers: deque[sqlite3.Connection] = deque()
        self._readers: deque[sqlite3.Connection] = deque()
        self._lent: set[sqlite3.Connection | None] = set()
        self._log_identity: Identity | None = None
        use = object()
        try:
            gate.enter(use)
            gate.check(path, name=name)
            self._writers.append(open_writer())
            try:
                self._identity = self._find(self._place)
                self._log_identity = self._find(self._log)
            except BaseException:
                self.close_idle()
                raise
            gate.guard(self)
        finally:
            gate.uses.discard(use)
            if gate.forks:
                gate.tell()

    @contextmanager
    def lend(self, *, read_only: bool) -> Iterator[sqlite3.Connection]:
        """Lend a reading connection, or the writing one, for which one thread at a time may ask.

        Raises:
            sqlite3.Error: a connection can't be opened.
        """
        idle = self._readers if read_only else self._writers
        use, connection = object(), None
        try:
            gate.enter(use)
            try:
                connection = idle.pop()
            except IndexError:
                connection = self._connect(read_only=read_only)
            self._lent.add(connection)
            if not self._is_in_place():
                raise self._moved()
            yield connection
        finally:  # a signal may come after each of these steps, and must not keep the others from being made
            try:
                self._lent.discard(connection)
            finally:
                try:
                    if connection is not None:
                        idle.append(connection)
                finally:
                    gate.uses.discard(use)
            if gate.forks:
                gate.tell()

    @contextmanager
    def lend_idle(self) -> Iterator[sqlite3.Connection | None]:
        """Lend the writing connection, or ``None`` if that takes waiting or opening it."""
        use, connection = object(), None
        try:
            if gate.enter(use, wait=False) and self._writers and self._is_in_place():
                connection = self._writers[0]  # at most one, and it may be in a transaction: a signal must not lose it
                self._lent.add(connection)
                self._writers.clear()
            yield connection
        finally:  # as in :meth:`lend`
            try:
                self._lent.discard(connection)
            finally:
                try:
                    if connection is not None and connection not in self._writers:
                        self._writers.append(connection)
                finally:
                    gate.uses.discard(use)
            if gate.forks:
                gate.tell()

    def close(self) -> None:
        """Close every connection. Called when none is in use."""
        use = object()
        try:
            gate.enter(use)
            self.close_idle()
        finally:
            gate.uses.discard(use)
            if gate.forks:
                gate.tell()

    def close_idle(self) -> None:
        """Close the connections that no thread uses now. The writing one is the last: it empties the log and removes it.

        SQLite removes nothing if the file has left its path: the log there may belong to another database.
        """
        for idle in (self._readers, self._writers):
            while idle:
                idle.pop().close()
        if not self._lent:
            self._log_identity = None

    def abandon(self) -> None:
        """Drop all connections without closing them, because they belong to another process."""
        _abandoned.extend([*self._readers, *self._writers, *filter(None, self._lent)])
        self._readers.clear()
        self._writers.clear()

    def _connect(self, *, read_only: bool) -> sqlite3.Connection:
        if not self._is_in_place():
            raise self._moved()
        connection = connect(self._path, synchronous=self._synchronous, read_only=read_only)
        try:
            if self._log_identity is None:
                connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # opens the log, or creates it
                self._log_identity = self._find(self._log)
        except BaseException:
            connection.close()
            raise
        return connection

    def _is_in_place(self) -> bool:
        try:
            return identity_of(self._place) == self._identity and (
                self._log_identity is None or identity_of(self._log) == self._log_identity
            )
        except OSError:
            return False

    def _moved(self) -> StoreClosedError:
        moved = self._log if self._find(self._place) == self._identity else self._place
        return StoreClosedError(store=self._name, reason=f"{moved} was moved, removed or replaced while it was open")

    def _find(self, path: str) -> Identity | None:
        try:
            return identity_of(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as problem:
            raise StoreUnavailableError(store=self._name, reason=problem.strerror or "the file system refused") from problem


class WriteTurn:
    """Transactions that hold the database's write lock, begun for one commit or ahead of it. A fork ends a turn.

    Args:
        connections: to the database. Nothing else begins or ends transactions of the writing connection.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._mutex = threading.Lock()
        self._turn: object = None
        self._timer: threading.Timer | None = None

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Lend the writing connection in a transaction that holds the write lock, in that of a taken turn if there is one."""
        with self._mutex, self._connections.lend(read_only=False) as connection:
            try:
                if not connection.in_transaction:
                    begin_writing(connection)
                yield connection
            finally:
                if self._turn is not None:
                    self._end(connection)  # if a signal keeps it from that, the turn lapses
                elif connection.in_transaction:
                    connection.execute("ROLLBACK")

    @contextmanager
    def idle(self) -> Iterator[sqlite3.Connection | None]:
        """Lend the writing connection without waiting, or ``None`` while another thread has it, or after a fork closed it."""
        if self._mutex.locked():  # and not acquire() before a try: a signal may come between the two
            yield None
            return
        with self._mutex, self._connections.lend_idle() as connection:
            yield connection

    def take(self) -> None:
        """Wait for the write lock, and hold it for the next transaction."""
        with self._mutex, self._connections.lend(read_only=False) as connection:
            try:
                if not connection.in_transaction:  # as in a turn that a signal kept from being given back
                    begin_writing(connection)
                self._turn = object()
                self._timer = threading.Timer(LONGEST_TURN, self._lapse, [self._turn])
                self._timer.daemon = True
                self._timer.start()
            except BaseException:  # no thread, no end of the turn: others would wait for it
                self._end(connection)
                raise

    def give_back(self) -> None:
        """Release the write lock, unless a transaction has released it already."""
        with self._mutex, self._connections.lend_idle() as connection:
            self._end(connection)

    def _lapse(self, turn: object) -> None:
        with self._mutex, self._connections.lend_idle() as connection:
            if turn is self._turn:
                with suppress(sqlite3.Error):  # the transaction goes on, and the next commit meets what is wrong
                    self._end(connection)

    def _end(self, connection: sqlite3.Connection | None) -> None:
        if connection is not None and connection.in_transaction:
            connection.execute("ROLLBACK")
        self._turn = None
        if self._timer is not None:
            self._timer.cancel()


class ChangedWhileReadError(OSError):
    """Another process began to write to the file while it was read as immutable."""


class ReadOnlyConnections(Connections):
    """Reading connections, each opened for one use, so that no fork carries one over.

    Args:
        path: of the file.
        refusal: raised by every use that would write.
    """

    def __init__(self, path: str, refusal: UnavailableError) -> None:  # the parent opens a connection that writes
        self.path = path
        self.refusal = refusal

    @contextmanager
    def lend(self, *, read_only: bool) -> Iterator[sqlite3.Connection]:
        """Lend a new reading connection, or raise the refusal.

        Raises:
            ChangedWhileReadError: the rows may be of several states: read again.
            sqlite3.Error: the file or its log can't be read.
        """
        if not read_only:
            raise copy(self.refusal)
        before = self._marks()
        is_whole = before[0] == 0
        with closing(connect(self.path, synchronous="FULL", read_only=True, immutable=is_whole)) as connection:
            yield connection
        if is_whole and self._marks() != before:
            msg = "another process writes to it"
            raise ChangedWhileReadError(0, msg)

    @contextmanager
    def lend_idle(self) -> Iterator[sqlite3.Connection | None]:
        """Lend ``None``."""
        yield None

    def close(self) -> None:
        """Do nothing: no connection outlives its use."""

    def _marks(self) -> tuple[int, int, int, int]:
        """Return the size of the log, and the facts about the file that a change of it changes."""
        place = Path(self.path)
        log = place.with_name(f"{place.name}-wal")
        found = place.stat()
        return log.stat().st_size if log.exists() else 0, found.st_ino, found.st_size, found.st_mtime_ns


def may_only_be_read(path: str, refused: UnavailableError) -> bool:
    """Return True if opening for writing was refused for lack of permission, and reading is allowed."""
    cause = refused.__cause__
    is_forbidden = (isinstance(cause, OSError) and cause.errno in FORBIDDEN) or (
        isinstance(cause, sqlite3.Error) and getattr(cause, "sqlite_errorcode", 0) & 0xFF in _FORBIDDEN_CODES
    )
    return is_forbidden and Path(path).is_file() and os.access(path, os.R_OK)


def identity_of(path: str) -> Identity:
    """Return which file is at a path now.

    Raises:
        OSError: there is no file, or it can't be reached.
    """
    status = os.stat(path)  # noqa: PTH116  # Path.stat takes three times as long, and every commit asks
    return status.st_dev, status.st_ino


def _open_databases() -> Iterator[Identity]:
    """Yield every SQLite database of which this process has a descriptor, opened by any code in it."""
    names: list[str] = []
    with suppress(OSError):
        names = os.listdir("/dev/fd")  # noqa: PTH208  # names are wanted
    for name in names:
        with suppress(OSError):
            status = os.fstat(int(name))
            if S_ISREG(status.st_mode) and os.pread(int(name), len(_HEADER), 0) == _HEADER:
                yield status.st_dev, status.st_ino
