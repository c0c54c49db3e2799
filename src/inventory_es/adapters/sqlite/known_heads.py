"""What the one writing connection remembers of the tables between its commits, for as long as nobody else writes."""

import sqlite3

from inventory_es.adapters.sqlite.event_checksum import check_feed_rows
from inventory_es.adapters.sqlite.row_event import FEED_COLUMNS
from inventory_es.adapters.sqlite.stream_table import find_head

_LAST = f"SELECT {FEED_COLUMNS} FROM events LEFT JOIN streams ON id = stream_id ORDER BY position DESC LIMIT 1"  # noqa: S608  # a constant
_MOST = 10_000


class KnownHeads:
    """Versions of streams, and where the next event and the next stream go.

    SQLite tells whether another connection has written since (``PRAGMA data_version``); then all of it is forgotten. Each connection
    counts for itself, so the connection belongs to what is remembered.

    Args:
        store: its name, for errors.
    """

    def __init__(self, *, store: str) -> None:
        self.store: str = store
        self._known_by: sqlite3.Connection | None = None
        self._data_version: int | None = None
        self._streams: dict[str, tuple[int, int]] = {}
        self.position: int = 0
        self.last_stream: int = 0

    def refresh(self, connection: sqlite3.Connection) -> None:
        """Begin a transaction that nobody else can write beside.

        Raises:
            CorruptStoreError: the last event is damaged: it is not known where the next one goes.
        """
        (data_version,) = connection.execute("PRAGMA data_version").fetchone()
        if data_version != self._data_version or connection is not self._known_by:
            self._streams.clear()
            last = connection.execute(_LAST).fetchall()
            check_feed_rows(connection, last, store=self.store)
            self.position = last[0][1] if last else 0
            (self.last_stream,) = connection.execute("SELECT coalesce(max(id), 0) FROM streams").fetchone()
            self._known_by, self._data_version = connection, data_version

    def head(self, connection: sqlite3.Connection, name: str) -> tuple[int, int]:
        """The key and the version of a stream, given its text; zeros if it is not there.

        Raises:
            CorruptStoreError: as :func:`find_head`.
        """
        known = self._streams.get(name)
        if known is None:
            known = find_head(connection, name, store=self.store)
            self.keep(name, *known)
        return known

    def glance(self, connection: sqlite3.Connection, name: str) -> int | None:
        """The version of a stream, if it is remembered and nobody else has written since; outside of a transaction too."""
        known = self._streams.get(name)
        if known is None or connection is not self._known_by:
            return None
        (data_version,) = connection.execute("PRAGMA data_version").fetchone()
        return known[1] if data_version == self._data_version else None

    def keep(self, name: str, stream_id: int, version: int) -> None:
        """Remember the head of a stream."""
        if len(self._streams) >= _MOST:
            self._streams.clear()
        self._streams[name] = stream_id, version

    def forget(self) -> None:
        """Trust nothing any more: a commit may have failed."""
        self._data_version = None
