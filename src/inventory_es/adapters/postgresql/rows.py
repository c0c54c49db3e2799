"""The statements that read events, streams and snapshots. Each is one snapshot, in one round trip."""

from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any, ClassVar, LiteralString
from uuid import UUID

from inventory_es.adapters.postgresql.append_batch import EPOCH
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.snapshot_store import Snapshot
from inventory_es.ports.toolkit.event_rows import RowEvent

PAGE_EVENTS = 1_000
"""The most events of a page."""

PAGE_BYTES = 4 << 20
"""The bytes after which a page ends."""

LARGEST = (1 << 63) - 1
"""The largest number in a column. Nothing stored is larger, so a bound above it means the same."""

_EVENT: LiteralString = "version, position, event_id, event_type, schema_version, recorded_at, data, metadata"
_BEFORE: LiteralString = ", sum(octet_length(data) + octet_length(metadata)) OVER earlier AS before "
_EARLIER: LiteralString = " ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) "
_NEWEST: LiteralString = (
    "(SELECT e.version FROM {schema}.events e WHERE e.part = s.part AND e.stream_id = s.id ORDER BY e.version DESC LIMIT 1) AS head"
)


def _stream_pages(condition: LiteralString, order: LiteralString) -> LiteralString:
    """Return the query of pages. ``LIMIT 1`` has the head looked up once, not for each row, whatever plan the server has kept."""
    return (
        "SELECT e.version, e.position, e.event_id, e.event_type, e.schema_version, e.recorded_at, e.data, e.metadata, s.head, asked.n FROM "
        "unnest(%s::bytea[], %s::bigint[], %s::integer[]) WITH ORDINALITY asked (name_key, bound, most, n) CROSS JOIN LATERAL ("
        "SELECT s.part, s.id, " + _NEWEST + " FROM {schema}.streams s WHERE s.part = 0 AND s.name_key = asked.name_key LIMIT 1) s "
        "LEFT JOIN LATERAL (SELECT " + _EVENT + _BEFORE + "FROM {schema}.events e WHERE e.part = s.part AND e.stream_id = s.id "
        "AND e.version " + condition + " asked.bound WINDOW earlier AS (ORDER BY version " + order + _EARLIER + "ORDER BY "
        "version " + order + " LIMIT asked.most) e ON (e.before < %s::bigint) IS NOT FALSE ORDER BY asked.n, e.version " + order
    )


FORWARD: LiteralString = _stream_pages(">", "ASC")
BACKWARD: LiteralString = _stream_pages("<", "DESC")
"""Pages of streams: arrays of the streams' keys, of the versions at which they begin, and of their most events; then the bytes of each."""

FIND: LiteralString = (
    "SELECT e.version, e.position, e.event_id, e.event_type, e.schema_version, e.recorded_at, e.data, e.metadata, s.name "
    "FROM unnest(%s::bytea[], %s::uuid[]) asked (name_key, event_id) JOIN {schema}.streams s ON s.part = 0 AND s.name_key = asked.name_key "
    "JOIN {schema}.events e ON e.part = 0 AND e.stream_id = s.id AND e.event_id = asked.event_id ORDER BY s.id, e.version"
)
"""The events of streams that have one of the ids asked for: two arrays of the same length."""

FEED: LiteralString = (
    "SELECT e.version, e.position, e.event_id, e.event_type, e.schema_version, e.recorded_at, e.data, e.metadata, s.name, "
    "(SELECT max(position) FROM {schema}.events WHERE part = 0) FROM ("
    "SELECT stream_id, " + _EVENT + _BEFORE + "FROM {schema}.events WHERE part = 0 AND position > %s WINDOW earlier AS (ORDER BY "
    "position" + _EARLIER + "ORDER BY position LIMIT %s) e CROSS JOIN LATERAL (SELECT name FROM {schema}.streams WHERE part = 0 "
    "AND id = e.stream_id LIMIT 1) s WHERE (e.before < 4194304) IS NOT FALSE ORDER BY e.position"
)
"""A page of the feed. ``LIMIT 1`` has each name looked up by its key: plans without statistics compare each event with every stream."""
FEED_DIGEST: LiteralString = (
    "SELECT sha256(coalesce(string_agg(uuid_send(event_id), ''::bytea ORDER BY position), ''::bytea)), (SELECT coalesce(max(position), 0) "
    "FROM {schema}.events WHERE part = 0) FROM {schema}.events WHERE part = 0 AND position > %s AND position <= %s"
)
"""The digest of the ids between two positions, and the head of the feed."""

HEAD: LiteralString = "SELECT coalesce(max(position), 0) FROM {schema}.events WHERE part = 0"
STREAMS: LiteralString = (
    "SELECT s.name, " + _NEWEST + " FROM {schema}.streams s WHERE s.part = 0 AND left(s.name, 200) >= left(%s, 200) "
    "AND s.name > %s AND s.name >= %s AND s.name < %s ORDER BY left(s.name, 200), s.name LIMIT %s"
)
LOAD_SNAPSHOT: LiteralString = (
    "SELECT version, event_id, data FROM {schema}.snapshots WHERE part = 0 AND name_key = %s AND schema_version = %s AND version <= %s"
)
SAVE_SNAPSHOT: LiteralString = (
    "INSERT INTO {schema}.snapshots AS kept VALUES (0, %s, %s, %s, %s, %s) ON CONFLICT (part, name_key, schema_version) DO UPDATE "
    "SET version = excluded.version, event_id = excluded.event_id, data = excluded.data WHERE kept.version <= excluded.version"
)
DISCARD_SNAPSHOTS: LiteralString = "DELETE FROM {schema}.snapshots WHERE part = 0 AND name_key = ANY(%s)"
CLEAR_SNAPSHOTS: LiteralString = "DELETE FROM {schema}.snapshots"


class ServerEvent(RowEvent):
    """An event over the row that the server sent."""

    epoch: ClassVar[datetime] = EPOCH

    __slots__ = ()


def name_key(stream: StreamId) -> bytes:
    """Return the key of a stream's name. A name has up to 8 kB, and a row of an index 2.7."""
    return sha256(stream.text.encode()).digest()


def turn_key(stream: StreamId) -> int:
    """Return the key of the lock that a turn over a stream takes."""
    return int.from_bytes(name_key(stream)[:4], signed=True)


def snapshot_of(stream: StreamId, schema_version: int, row: Sequence[Any] | None) -> Snapshot | None:
    """Return the snapshot of a row."""
    if row is None:
        return None
    version, event_id, data = row
    return Snapshot(stream=stream, schema_version=schema_version, version=version, event_id=UUID(bytes=event_id), data=data)
