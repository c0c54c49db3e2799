"""A database file that this user may read and not write.

SQLite reads a write-ahead log only where it may write beside it, or finds the log's index there (SQLite documentation, "Write-Ahead
Logging", read-only databases). Where the log is missing or empty, all is in the file itself, which may then be opened as immutable, for
as long as nobody changes it: that is looked at before and after each transaction.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from copy import copy
from os import R_OK, access
from pathlib import Path
from typing import NoReturn

from inventory_es.adapters.sqlite.connections import Connections
from inventory_es.adapters.sqlite.database import connect
from inventory_es.ports.errors import UnavailableError
from inventory_es.ports.toolkit.remedy import FORBIDDEN

READ_ONLY = "it was opened with read permission only"
READ_ONLY_REMEDY = "give this user permission to write to the file and its folder, and open it again"
_CODES = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}


class ChangedWhileReadError(OSError):
    """Another process began to write to the file while it was read as immutable."""


class ReadOnlyConnections(Connections):
    """Connections that read, each opened for one use; none is left for a fork to carry over.

    Args:
        path: of the file.
        refusal: why nothing can be written.
    """

    def __init__(self, path: str, refusal: UnavailableError) -> None:  # the parent opens a connection that writes
        self.path = path
        self.refusal = refusal

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection.

        Raises:
            ChangedWhileReadError: what was read may be mixed: read again.
            sqlite3.Error: the file can't be read, or its log can't.
        """
        before = self._marks()
        is_whole = before[0] == 0
        with closing(connect(self.path, synchronous="FULL", read_only=True, immutable=is_whole)) as connection:
            yield connection
        if is_whole and self._marks() != before:
            msg = "another process writes to it"
            raise ChangedWhileReadError(0, msg)

    def writing(self) -> NoReturn:
        """Raise the refusal."""
        raise copy(self.refusal)

    @contextmanager
    def at_hand(self) -> Iterator[sqlite3.Connection | None]:
        """Lend nothing."""
        yield None

    def close(self) -> None:
        """Do nothing: no connection outlives its use."""

    def _marks(self) -> tuple[int, int, int, int]:
        """The size of the log, and what a change of the file changes."""
        place = Path(self.path)
        log = place.with_name(f"{place.name}-wal")
        found = place.stat()
        return log.stat().st_size if log.exists() else 0, found.st_ino, found.st_size, found.st_mtime_ns


def may_only_be_read(path: str, refused: UnavailableError) -> bool:
    """Return whether opening for writing was refused because this user has no permission, and reading is allowed."""
    cause = refused.__cause__
    is_forbidden = (isinstance(cause, OSError) and cause.errno in FORBIDDEN) or (
        isinstance(cause, sqlite3.Error) and getattr(cause, "sqlite_errorcode", 0) & 0xFF in _CODES
    )
    return is_forbidden and Path(path).is_file() and access(path, R_OK)
