"""The database file: its tables, transactions and errors.

The file uses write-ahead logging with ``synchronous=FULL``. Every commit is synced before it is acknowledged, and readers never wait for
the writer (SQLite documentation, "Write-Ahead Logging" and "PRAGMA synchronous"). Transactions are begun explicitly.
"""

import errno
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep  # noqa: TID251  # in a thread, between two looks whether anybody still waits
from typing import Literal

from inventory_es.ports.errors import CorruptStoreError, IncompatibleStoreError, StoreUnavailableError
from inventory_es.ports.toolkit.blocking_calls import check_wanted
from inventory_es.ports.toolkit.remedy import no_folder
from inventory_es.ports.toolkit.remedy import reason_of as reason_of_file
from inventory_es.ports.toolkit.remedy import remedy_of as remedy_of_file

Synchronous = Literal["FULL", "EXTRA", "NORMAL"]

APPLICATION_ID = 0x49455331
"""The application id of an event store's file: ``IES1`` in ASCII."""

BUSY_SECONDS = 5.0
"""The longest wait for the lock that another process holds."""

_FIRST_WAIT = 100
"""Milliseconds for which SQLite itself waits to begin writing, with longer and longer pauses between its attempts."""

_REST = 0.000_2
"""Seconds between two attempts after that. With a longer pause, each race with a writer that begins again at once is lost."""

_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)  # not on Windows

LOG_BYTES = 8 << 20
"""The size to which the log is cut back: twice the size at which SQLite empties it. A reader that delays this makes the log longer."""

LEAST_SQLITE = (3, 37, 0)
"""The first version with strict tables, whose columns hold their declared type."""

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
"""The steps from each schema version to the next. Steps are added and never edited, because files of every version exist."""

SCHEMA_VERSION = len(_SCHEMA)
"""The schema version of the tables. A newer file is refused; an older one is migrated when it is opened."""

CORRUPT = {
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_FORMAT,
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_TOOBIG,
}
"""SQLite's codes for a damaged file, or a file without the expected tables. Waiting helps against none of them."""

_REMEDIES = {
    sqlite3.SQLITE_FULL: "free space on its disk",
    sqlite3.SQLITE_READONLY: "give this user permission to write to the file and its folder",
    sqlite3.SQLITE_CANTOPEN: "give this user permission to the file and its folder",
    sqlite3.SQLITE_PERM: "give this user permission",
    sqlite3.SQLITE_AUTH: "give this user permission",
}

_creating = threading.Lock()
"""Held from the creation of a file until its descriptor is closed, so that no thread connects to it in between."""


def open_database(path: str, *, synchronous: Synchronous) -> sqlite3.Connection:
    """Open the file for writing, or create it in an existing folder. After an unclean stop its integrity is checked first.

    Raises:
        IncompatibleStoreError: the file holds something else, or a newer version, or this Python's SQLite is too old. Nothing was
            changed.
        CorruptStoreError: the file is damaged.
        StoreUnavailableError: the file can't be opened or locked now.
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

    An existing file is not opened. When a process closes any descriptor of a file, the operating system drops all its locks on the file.
    So a second handle would cost the first one its locks.

    Raises:
        OSError: the file can't be created, or this user may not read and write it.
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
    """Return a connection for use by one thread at a time. It begins no transaction by itself."""
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
    """Return application id, schema version and number of tables and indexes, in the caller's transaction; zeros for an empty file."""
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return application_id, version, tables


def use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Switch the file to a write-ahead log, outside a transaction.

    The statement goes from reading to writing, and SQLite never waits for that. If several processes open a new file at once, the
    statement fails in all but one. The others wait for that process, and then find the file switched.
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
    """Run a transaction that sees one state of the file."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


@contextmanager
def writing(connection: sqlite3.Connection) -> Iterator[None]:
    """Run a transaction that holds the write lock, after a wait of at most ``BUSY_SECONDS``."""
    begin_writing(connection)
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:  # a full disk may have ended it
            connection.execute("ROLLBACK")


def begin_writing(connection: sqlite3.Connection) -> None:
    """Begin a transaction that holds the write lock. The wait takes at most ``BUSY_SECONDS``, and ends with the caller.

    Raises:
        sqlite3.OperationalError: another process holds the lock.
        WithdrawnError, or the caller's cancellation: no caller waits for the transaction any more.
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
    """Refuse a file of another application, or one that must be migrated, which takes writing.

    Raises:
        IncompatibleStoreError: the file is one of these.
    """
    application_id, version = _marks(connection, path)
    if application_id != APPLICATION_ID or version < SCHEMA_VERSION:
        problem = "its tables have to be made or brought up to date: open it once with permission to write"
        raise IncompatibleStoreError(store="sqlite store", place=path, problem=problem)


@contextmanager
def translated(path: str) -> Iterator[None]:
    """Translate the driver's errors into those of the port, for calls that have written nothing."""
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
    """Return SQLite's name of an error, or the text of the operating system."""
    return reason_of_file(problem) if isinstance(problem, OSError) else getattr(problem, "sqlite_errorname", "") or type(problem).__name__


def remedy_of(problem: sqlite3.Error | OSError) -> str | None:
    """Return the remedy of an error, or ``None`` if the error may pass by itself."""
    return remedy_of_file(problem) if isinstance(problem, OSError) else _REMEDIES.get(getattr(problem, "sqlite_errorcode", 0) & 0xFF)


def is_damage(problem: sqlite3.Error) -> bool:
    """Return True if an error of the driver means damage. An error without a code of SQLite is about a text that is not UTF-8."""
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
