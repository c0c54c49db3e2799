"""The database file: what it must look like, and connections to it.

Write-ahead logging with ``synchronous=FULL``: every commit is synced before it is acknowledged, and readers never wait for the
writer (SQLite documentation, "Write-Ahead Logging" and "PRAGMA synchronous"). Transactions are begun explicitly.
"""

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from time import monotonic, sleep  # noqa: TID251  # in a thread, between two looks whether anybody still waits
from typing import Literal

from inventory_es.ports.errors import CorruptStoreError, IncompatibleStoreError, StoreUnavailableError
from inventory_es.ports.toolkit.blocking_calls import check_wanted
from inventory_es.ports.toolkit.remedy import no_folder
from inventory_es.ports.toolkit.remedy import reason_of as reason_of_file
from inventory_es.ports.toolkit.remedy import remedy_of as remedy_of_file

Synchronous = Literal["FULL", "EXTRA", "NORMAL"]

APPLICATION_ID = 0x49455331
"""Marks the file as ours: ``IES1`` in ASCII."""

BUSY_SECONDS = 5.0
"""The longest wait for the lock that another process holds."""

_FIRST_WAIT = 100
"""Milliseconds for which SQLite waits to begin writing, with longer and longer rests between its looks at the lock."""

_REST = 0.000_2
"""Seconds between two looks after that: one that rests for longer loses each race with a writer that begins again at once."""

_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)  # not on Windows

LOG_BYTES = 8 << 20
"""The size that the log is cut back to, twice that at which SQLite empties it: only a log that a reader had kept from it is longer."""

LEAST_SQLITE = (3, 37, 0)
"""The first one with strict tables, in which a column holds what it says."""

_SCHEMA = (
    """
    CREATE TABLE streams (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        version INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE events (
        position INTEGER PRIMARY KEY,
        stream_id INTEGER NOT NULL REFERENCES streams (id),
        version INTEGER NOT NULL,
        event_id BLOB NOT NULL,
        event_type TEXT NOT NULL,
        schema_version INTEGER NOT NULL,
        recorded_at INTEGER NOT NULL,
        data TEXT NOT NULL,
        metadata TEXT NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX events_by_version ON events (stream_id, version);
    CREATE UNIQUE INDEX events_by_id ON events (stream_id, event_id);
    """,
    """
    CREATE TABLE snapshots (
        stream TEXT NOT NULL,
        schema_version INTEGER NOT NULL,
        version INTEGER NOT NULL,
        event_id BLOB NOT NULL,
        data BLOB NOT NULL,
        PRIMARY KEY (stream, schema_version)
    ) STRICT;
    """,
    """
    ALTER TABLE events ADD COLUMN checksum BLOB;
    ALTER TABLE snapshots ADD COLUMN checksum BLOB;
    CREATE TABLE checksums (since INTEGER NOT NULL) STRICT;
    INSERT INTO checksums SELECT coalesce(max(position), 0) FROM events;
    CREATE TABLE stream_names (stream_id INTEGER PRIMARY KEY, checksum INTEGER NOT NULL) STRICT;
    CREATE INDEX stream_names_by_checksum ON stream_names (checksum);
    """,
)
"""What each version of the tables adds to the one before. Steps are added, and never edited: files of every version are out there."""

SCHEMA_VERSION = len(_SCHEMA)
"""Of the tables. A newer file is refused; an older one is migrated when it is opened."""

CORRUPT = {
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_FORMAT,
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_TOOBIG,
}
"""The codes by which SQLite says that a file is damaged, or has not the tables that it says. Waiting mends none of them."""

_REMEDIES = {
    sqlite3.SQLITE_FULL: "free space on its disk",
    sqlite3.SQLITE_READONLY: "give this user permission to write to the file and its folder",
    sqlite3.SQLITE_CANTOPEN: "give this user permission to the file and its folder",
    sqlite3.SQLITE_PERM: "give this user permission",
    sqlite3.SQLITE_AUTH: "give this user permission",
}

_creating = Lock()
"""Nobody in this process connects to a file between its creation and the closing of the descriptor that created it."""


def open_database(path: str, *, synchronous: Synchronous) -> sqlite3.Connection:
    """Open the file for writing, or make it in an existing folder. After an unclean stop its integrity is checked first.

    Raises:
        IncompatibleStoreError: the file holds something else, or a newer version, or this Python's SQLite is too old. Nothing was
            changed.
        CorruptStoreError: the file is damaged.
        StoreUnavailableError: it can't be opened or locked now.
    """
    place = Path(path)
    if sqlite3.sqlite_version_info < LEAST_SQLITE:
        problem = f"it needs SQLite {'.'.join(map(str, LEAST_SQLITE))} or newer, and this Python has {sqlite3.sqlite_version}"
        raise IncompatibleStoreError(store="sqlite store", place=path, problem=problem)
    if place.is_dir():
        raise IncompatibleStoreError(store="sqlite store", place=path, problem="it is a folder: name a file in it")
    was_unclean = place.with_name(f"{place.name}-wal").exists()
    try:
        create_private(path)
    except OSError as problem:
        raise StoreUnavailableError(store=f"sqlite store {path}", reason=reason_of(problem), remedy=remedy_of(problem)) from problem
    with translated(path):
        connection = connect(path, synchronous=synchronous)
        try:
            _prepare(connection, path)
            if was_unclean:
                _check_integrity(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def create_private(path: str) -> None:
    """Create an empty file that only its owner can read, if there is none.

    A file that is there is not opened: the operating system drops every lock that a process holds on a file when the process closes any
    descriptor of it, so that a second handle would cost the first one its locks.

    Raises:
        OSError: it can't be, or it belongs to somebody else.
    """
    with _creating, suppress(FileExistsError):
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | _NO_FOLLOW, 0o600))
        except FileNotFoundError:
            missing = next((folder for folder in reversed(Path(path).absolute().parents) if not folder.exists()), None)
            if missing is None:
                raise
            raise no_folder(str(missing)) from None
        return
    if not os.access(path, os.R_OK | os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def connect(path: str, *, synchronous: Synchronous, read_only: bool = False, immutable: bool = False) -> sqlite3.Connection:
    """A connection for use by one thread at a time, without transactions of its own making."""
    mode = "ro" if read_only else "rw"
    connection = sqlite3.connect(
        f"{Path(path).absolute().as_uri()}?mode={mode}{'&immutable=1' if immutable else ''}",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=64,
    )
    try:
        if not read_only:
            connection.execute(f"PRAGMA synchronous = {synchronous}")
            connection.execute("PRAGMA fullfsync = ON")
            connection.execute("PRAGMA checkpoint_fullfsync = ON")
            connection.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
        connection.execute("PRAGMA cache_size = -16384")
    except BaseException:
        connection.close()
        raise
    return connection


def marks(connection: sqlite3.Connection) -> tuple[int, int, int]:
    """Application id, schema version and number of tables and indexes, in a transaction of the caller's; zeros for an empty file."""
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return application_id, version, tables


def use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Switch the file over, outside a transaction.

    The switch goes from reading to writing in one statement, for which SQLite never waits: if several open a new file at once, it is
    refused in all but one. They wait for that one's turn to end, and find the file switched.
    """
    give_up = monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").close()
        except sqlite3.OperationalError as problem:
            if problem.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or monotonic() > give_up:
                raise
        else:
            return
        with writing(connection):
            pass


@contextmanager
def reading(connection: sqlite3.Connection) -> Iterator[None]:
    """A transaction that sees one state of the file."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


@contextmanager
def writing(connection: sqlite3.Connection) -> Iterator[None]:
    """A transaction that has the file for itself, waiting for it for at most ``BUSY_SECONDS``."""
    begin_writing(connection)
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:  # a full disk may have ended it
            connection.execute("ROLLBACK")


def begin_writing(connection: sqlite3.Connection) -> None:
    """Begin a transaction that has the file for itself, waiting for it for at most ``BUSY_SECONDS`` and not after the caller has gone.

    Raises:
        sqlite3.OperationalError: another process has it.
        WithdrawnError, or the caller's cancellation: nobody waits for it any more.
    """
    give_up = monotonic() + BUSY_SECONDS
    connection.execute(f"PRAGMA busy_timeout = {_FIRST_WAIT}")
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as problem:
            if getattr(problem, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_BUSY or monotonic() > give_up:
                raise
        else:
            return
        check_wanted()
        connection.execute("PRAGMA busy_timeout = 0")
        sleep(_REST)


def check_readable(connection: sqlite3.Connection, path: str) -> None:
    """Refuse a file that is not the event store's, or whose tables would have to be brought up to date, which takes writing.

    Raises:
        IncompatibleStoreError: it is one of these.
    """
    application_id, version = _marks(connection, path)
    if application_id != APPLICATION_ID or version < SCHEMA_VERSION:
        problem = "its tables have to be made or brought up to date: open it once with permission to write"
        raise IncompatibleStoreError(store="sqlite store", place=path, problem=problem)


@contextmanager
def translated(path: str) -> Iterator[None]:
    """Turn the driver's errors into the port's, where nothing was written."""
    try:
        yield
    except UnicodeDecodeError as problem:  # the driver, at a text of the schema, or at what SQLite says about one
        raise CorruptStoreError(store="sqlite store", place=path, problem="a text in it is not UTF-8") from problem
    except OSError as problem:
        raise StoreUnavailableError(store=f"sqlite store {path}", reason=reason_of(problem), remedy=remedy_of(problem)) from problem
    except sqlite3.Error as problem:
        code = getattr(problem, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_NOTADB:
            raise IncompatibleStoreError(store="sqlite store", place=path, problem="it is no SQLite database") from problem
        if is_damage(problem):
            raise CorruptStoreError(store="sqlite store", place=path, problem=reason_of(problem)) from problem
        raise StoreUnavailableError(store=f"sqlite store {path}", reason=reason_of(problem), remedy=remedy_of(problem)) from problem


def reason_of(problem: sqlite3.Error | OSError) -> str:
    """SQLite's own name for it, or what the operating system says."""
    return reason_of_file(problem) if isinstance(problem, OSError) else getattr(problem, "sqlite_errorname", "") or type(problem).__name__


def remedy_of(problem: sqlite3.Error | OSError) -> str | None:
    """Return what mends it; ``None``: it may pass."""
    return remedy_of_file(problem) if isinstance(problem, OSError) else _REMEDIES.get(getattr(problem, "sqlite_errorcode", 0) & 0xFF)


def is_damage(problem: sqlite3.Error) -> bool:
    """Return whether an error of the driver tells of damage. One without a code of SQLite's is its own: a text that is not UTF-8."""
    code = getattr(problem, "sqlite_errorcode", None)
    return isinstance(problem, sqlite3.OperationalError) if code is None else code & 0xFF in CORRUPT


def _prepare(connection: sqlite3.Connection, path: str) -> None:
    with reading(connection):
        application_id, version = _marks(connection, path)
    if application_id == APPLICATION_ID and version == SCHEMA_VERSION:
        return
    use_write_ahead_log(connection)
    with writing(connection):
        application_id, version = _marks(connection, path)
        for step in _SCHEMA[version if application_id == APPLICATION_ID else 0 :]:
            for statement in step.split(";"):
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _marks(connection: sqlite3.Connection, path: str) -> tuple[int, int]:
    application_id, version, tables = marks(connection)
    if application_id != APPLICATION_ID and (application_id or tables):
        raise IncompatibleStoreError(store="sqlite store", place=path, problem="the database belongs to another application")
    if version > SCHEMA_VERSION:
        newer = f"its schema version is {version}, this package knows up to {SCHEMA_VERSION}: update the package"
        raise IncompatibleStoreError(store="sqlite store", place=path, problem=newer)
    return application_id, version


def _check_integrity(connection: sqlite3.Connection, path: str) -> None:
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise CorruptStoreError(store="sqlite store", place=path, problem="SQLite's quick_check found damage")
