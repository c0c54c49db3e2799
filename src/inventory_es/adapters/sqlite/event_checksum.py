"""The checksum of an event's row: CRC-32 of all that the row says and of the name of its stream.

It covers position and version too, so a row that was changed, renamed, moved or exchanged with another is seen by itself; one that is
missing or there twice is seen by the versions and positions around it.

A code that is followed by its own check value leaves the register of the code in one and the same state, whatever stood before. Each
checksum is computed from that state on, and stored as the end of its row's text: so the rows of a page, joined to one text, are checked by
one call, which is a third of the cost of a call for each row. Damage of any row changes the state that it leaves, and no good row behind it
changes that state back.
"""

import sqlite3
from collections.abc import Sequence
from datetime import timedelta
from functools import lru_cache
from struct import Struct
from struct import error as StructError  # noqa: N812  # a class, for all its name
from typing import Any, NoReturn
from zlib import crc32

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.errors import CorruptStoreError

Row = tuple[Any, ...]

_STATE = 0x2144DF1C
_PARTS = 7
_FIRST_TIME = timedelta(days=-719_162) // timedelta(microseconds=1)
_LAST_TIME = timedelta(days=2_932_897) // timedelta(microseconds=1) - 1
_numbers = Struct("<4q").pack


def event_checksum(
    version: int,
    position: int,
    event_id: bytes,
    event_type: bytes,
    schema_version: int,
    time: int,
    data: bytes,
    metadata: bytes,
    name: bytes,
) -> bytes:
    """Return the checksum of a row, given its columns in the order in which they are read, and the name of its stream."""
    numbers = _numbers(version, position, schema_version, time)
    return crc32(b"\n%b\n%b\n%b\n%b\n%b\n%b\n" % (numbers, event_id, event_type, data, metadata, name), _STATE).to_bytes(4, "little")


def check_stream_rows(connection: sqlite3.Connection, rows: Sequence[Row], stream: str, *, store: str) -> None:
    """Refuse rows of one stream, each with its checksum as the last column, if one of them is damaged.

    Raises:
        CorruptStoreError: at the first that is.
    """
    name = stream.encode()
    if not are_good(rows, name):
        _refuse_damaged(connection, [(*row[:-1], name, row[-1]) for row in rows], store)


def check_feed_rows(connection: sqlite3.Connection, rows: Sequence[Row], *, store: str) -> None:
    """Refuse rows that have the name of their stream and their checksum as the last columns, if one of them is damaged.

    Raises:
        CorruptStoreError: at the first that is.
    """
    if not are_good(rows):
        _refuse_damaged(connection, rows, store)


def first_checked(connection: sqlite3.Connection) -> int:
    """Return the position behind which every row has a checksum. Rows up to it are of a file from before there were any."""
    row = connection.execute("SELECT max(since) FROM checksums").fetchone()
    return row[0] if row is not None and isinstance(row[0], int) else 0


def damage_of(row: Row, since: int) -> str | None:
    """Return the damage of a row that has its stream's name and its checksum as the last columns; ``None`` for a good one."""
    if row[-1] is None:
        if row[1] > since:
            return "it has no checksum"
        return None if _are_plausible([row]) else "a column holds what no event has"
    return None if are_good([row]) else "its checksum is that of another row"


def are_unchecked(rows: Sequence[Row], since: int) -> bool:
    """Return whether all rows, with the name of their stream, are of a file from before there were checksums, and are plausible."""
    return not any(row[-1] is not None or row[1] > since for row in rows) and _are_plausible(rows)


def are_good(rows: Sequence[Row], name: bytes | None = None) -> bool:
    """Return whether every row has its checksum; rows of one stream are without its name."""
    if not rows:
        return True
    version, position, event_id, event_type, schema_version, time, data, metadata, *names, checksum = zip(*rows, strict=True)
    parts = [b""] * (_PARTS * len(rows) + 1)
    try:
        parts[1::_PARTS] = map(_numbers, version, position, schema_version, time)
        parts[2::_PARTS] = event_id
        parts[3::_PARTS] = event_type
        parts[4::_PARTS] = data
        parts[5::_PARTS] = metadata
        parts[6::_PARTS] = [name] * len(rows) if name is not None else names[0]
        parts[7::_PARTS] = checksum
        return crc32(b"\n".join(parts), _STATE) == _STATE
    except (TypeError, StructError):  # a column of another type, or a row from before there were checksums
        return False


def _refuse_damaged(connection: sqlite3.Connection, rows: Sequence[Row], store: str) -> None:
    since = first_checked(connection)
    if are_unchecked(rows, since):
        return
    for row in rows:
        damage = damage_of(row, since)
        if damage is not None:
            _refuse(store, row, damage)


def _are_plausible(rows: Sequence[Row]) -> bool:
    """Return whether every column holds what one of an event may hold."""
    version, position, event_id, event_type, schema_version, time, data, metadata, name, _ = zip(*rows, strict=True)
    numbers, texts = (version, position, schema_version, time), (event_id, event_type, data, metadata, name)
    return (
        all({*map(type, values)} == {int} for values in numbers)
        and all({*map(type, values)} == {bytes} for values in texts)
        and min(*version, *position, *schema_version) >= 1
        and min(time) >= _FIRST_TIME
        and max(time) <= _LAST_TIME
        and {*map(len, event_id)} == {16}
        and all(map(_is_event_type, {*event_type}))
        and all(map(is_stream_name, {*name}))
    )


def _is_event_type(text: bytes) -> bool:
    return 1 <= len(text) <= 128 and text.isascii() and text.decode("ascii").isprintable()


@lru_cache(maxsize=8_192)
def is_stream_name(name: object) -> bool:
    """Return whether what a column holds is the text of a stream id, in bytes."""
    try:
        StreamId.parse(name.decode() if isinstance(name, bytes) else "")
    except ValueError:
        return False
    return True


def _refuse(store: str, row: Row, damage: str) -> NoReturn:
    name = row[8].decode("utf-8", "backslashreplace") if isinstance(row[8], bytes) else "without a name"
    place = f"stream {name}, version {row[0]}" if isinstance(row[0], int) else f"stream {name}, position {row[1]}"
    raise CorruptStoreError(store=store, place=place, problem=f"the event is damaged: {damage}")
