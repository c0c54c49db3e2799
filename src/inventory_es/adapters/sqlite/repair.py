"""Adding what is derived from the events of a database. Events and streams are never touched."""

import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from inventory_es.adapters.sqlite.database import open_database, translated, writing
from inventory_es.adapters.sqlite.engine import fetch_page
from inventory_es.adapters.sqlite.event_checksum import event_checksum
from inventory_es.adapters.sqlite.row_event import FEED_COLUMNS
from inventory_es.adapters.sqlite.snapshot_table import forget_damaged_snapshots
from inventory_es.adapters.sqlite.stream_table import name_checksum
from inventory_es.adapters.sqlite.verify import Finding, verify
from inventory_es.ports.errors import CorruptStoreError, IncompatibleStoreError

_UNCHECKED = f"""
SELECT {FEED_COLUMNS} FROM events LEFT JOIN streams ON id = stream_id
WHERE position > ? AND events.checksum IS NULL ORDER BY position LIMIT 2000
"""  # noqa: S608  # a constant
_UNNAMED = "SELECT id, name FROM streams WHERE id > ? AND id NOT IN (SELECT stream_id FROM stream_names) ORDER BY id LIMIT 2000"


def repair(path: str | os.PathLike[str]) -> Sequence[Finding]:
    """Bring a store to the newest schema version, add the checksums that it lacks, and forget snapshots that are damaged.

    An event without a checksum is taken for what it says: nobody can tell what it said before. Checksums are added in small commits, so
    others may go on writing, memory is bounded, and a repair that was interrupted goes on where it was.

    Args:
        path: of the file.

    Returns:
        What :func:`verify` still finds.

    Raises:
        CorruptStoreError: an event, a stream or the database itself is damaged. Nothing was repaired.
        IncompatibleStoreError: there is no store, or one of a newer schema version.
        StoreUnavailableError: the file can't be read or written now.
    """
    place = os.fspath(path)
    if not Path(place).is_file():
        raise IncompatibleStoreError(store="sqlite store", place=place, problem="there is no such file")
    with closing(open_database(place, synchronous="FULL")) as connection, translated(place):
        for finding in verify(place):
            if not finding.is_derived:
                raise CorruptStoreError(store="sqlite store", place=f"{place}, {finding.place}", problem=finding.problem)
        connection.text_factory = bytes
        _add_event_checksums(connection)
        _add_name_checksums(connection)
        with writing(connection):
            forget_damaged_snapshots(connection)
    return list(verify(place))


def _add_event_checksums(connection: sqlite3.Connection) -> None:
    position, is_done = 0, False
    while not is_done:
        with writing(connection):
            rows = fetch_page(connection.execute(_UNCHECKED, (position,)))
            checksums = [(event_checksum(*row[:9]), row[1]) for row in rows]
            connection.executemany("UPDATE events SET checksum = ? WHERE position = ?", checksums)
            if rows:
                position = rows[-1][1]
            else:
                connection.execute("UPDATE checksums SET since = 0")
                is_done = True


def _add_name_checksums(connection: sqlite3.Connection) -> None:
    key, is_done = 0, False
    while not is_done:
        with writing(connection):
            rows = connection.execute(_UNNAMED, (key,)).fetchall()
            names = [(stream_id, name_checksum(name)) for stream_id, name in rows]
            connection.executemany("INSERT INTO stream_names (stream_id, checksum) VALUES (?, ?)", names)
            is_done = not rows
            key = key if is_done else rows[-1][0]
