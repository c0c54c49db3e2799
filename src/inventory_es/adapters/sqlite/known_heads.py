"""What the one writing connection remembers of the tables between its commits, for as long as nobody else writes."""

import sqlite3

_MOST = 10_000


class KnownHeads:
    """Versions of streams, and where the next event and the next stream go.

    SQLite tells whether another connection has written since (``PRAGMA data_version``); then all of it is forgotten.
    """

    def __init__(self) -> None:
        self._data_version: int | None = None
        self._streams: dict[str, tuple[int, int]] = {}
        self.position: int = 0
        self.last_stream: int = 0

    def refresh(self, connection: sqlite3.Connection) -> None:
        """Begin a transaction that nobody else can write beside."""
        (data_version,) = connection.execute("PRAGMA data_version").fetchone()
        if data_version != self._data_version:
            self._streams.clear()
            (self.position,) = connection.execute("SELECT coalesce(max(position), 0) FROM events").fetchone()
            (self.last_stream,) = connection.execute("SELECT coalesce(max(id), 0) FROM streams").fetchone()
            self._data_version = data_version

    def head(self, connection: sqlite3.Connection, name: str) -> tuple[int, int]:
        """The key and the version of a stream, given its text; zeros if it is not there."""
        known = self._streams.get(name)
        if known is None:
            row: tuple[int, int] | None = connection.execute("SELECT id, version FROM streams WHERE name = ?", (name,)).fetchone()
            known = (0, 0) if row is None else row
            self.keep(name, *known)
        return known

    def glance(self, connection: sqlite3.Connection, name: str) -> int | None:
        """The version of a stream, if it is remembered and nobody else has written since; outside of a transaction too."""
        known = self._streams.get(name)
        if known is None:
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
