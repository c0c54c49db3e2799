"""The rows of streams: found by name, listed, and held against what else knows them.

The version is held against the last event. The table ``stream_names`` has a checksum of each name beside the key of the stream: a stream
whose row was renamed or lost is not taken for one that never was.
"""

import sqlite3
from collections.abc import Sequence
from typing import Any, NoReturn
from zlib import crc32

from inventory_es.adapters.sqlite.event_checksum import is_stream_name
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.errors import CorruptStoreError
from inventory_es.ports.records import StreamHead

_COLUMNS = """
named.id, named.name, stored.name, stored.version, stream_names.checksum,
(SELECT max(version) FROM events WHERE stream_id = named.id)
FROM streams AS named LEFT JOIN streams AS stored ON stored.id = named.id LEFT JOIN stream_names ON stream_id = named.id
"""
"""``named`` is read from the index of names, ``stored`` from the table: damage of one of them contradicts the other."""

_FIND = f"SELECT {_COLUMNS} WHERE named.name = ?"  # a constant
_LIST = f"SELECT {_COLUMNS} WHERE named.name >= ? AND named.name < ? AND named.name > ? ORDER BY named.name LIMIT ?"  # a constant
_SAME_CHECKSUM = """
SELECT name FROM stream_names LEFT JOIN streams ON streams.id = stream_id WHERE stream_names.checksum = ?
"""


def name_checksum(name: bytes) -> int:
    """Return what ``stream_names`` has of a name."""
    return crc32(name)


def find_head(connection: sqlite3.Connection, name: str, *, store: str) -> tuple[int, int]:
    """Return the key and the version of a stream, given its text; zeros if it is not there.

    Raises:
        CorruptStoreError: its row contradicts its events, or is gone.
    """
    row = connection.execute(_FIND, (name,)).fetchone()
    if row is None:
        _check_absent(connection, name, store)
        return 0, 0
    return _key(row, store), row[3]


def list_heads(connection: sqlite3.Connection, bounds: tuple[str, str, str], limit: int, *, store: str) -> Sequence[StreamHead]:
    """Return streams by name, from a bound to before a second one and after a third.

    Raises:
        CorruptStoreError: a row contradicts its events.
    """
    rows = connection.execute(_LIST, (*bounds, limit)).fetchall()
    for row in rows:
        _key(row, store)
    return [StreamHead(StreamId.parse(row[1].decode()), row[3]) for row in rows]


def _key(row: tuple[Any, ...], store: str) -> int:
    key, name, stored_name, version, checksum, newest = row
    if name != stored_name or not is_stream_name(name) or checksum not in {None, name_checksum(name)}:
        _refuse(store, name, "its row has another name")
    if version != newest or type(version) is not int or version < 1:
        _refuse(store, name, f"its row says version {version!r}, and its last event has version {newest!r}")
    return int(key)


def _check_absent(connection: sqlite3.Connection, name: str, store: str) -> None:
    checksum = name_checksum(name.encode())
    for (found,) in connection.execute(_SAME_CHECKSUM, (checksum,)):
        if not isinstance(found, bytes) or found == name.encode() or name_checksum(found) != checksum:
            _refuse(store, name.encode(), "it was there, and its row is lost or has another name")


def _refuse(store: str, name: object, problem: str) -> NoReturn:
    text = name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else repr(name)
    raise CorruptStoreError(store=store, place=f"stream {text}", problem=problem)
