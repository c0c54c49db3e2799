"""The index of event ids, held against the events where an id was not found in it.

An event is not repeated because the index knows its id. Damage of an entry hides the id, and the event would be written again. A search
ends beside the place where the id belongs, even if the entry there was changed. So the two entries around that place are compared with
the rows of their events.
"""

import sqlite3
from collections.abc import Sequence

from inventory_es.ports.errors import CorruptStoreError


def _misfit(comparison: str, direction: str) -> str:
    return f"""(
SELECT NOT EXISTS (SELECT 1 FROM events AS stored NOT INDEXED
    WHERE stored.position = near.position AND stored.stream_id = near.stream_id AND stored.event_id = near.event_id)
FROM events AS near INDEXED BY events_by_id
WHERE (near.stream_id, near.event_id) {comparison} (asked.stream_id, asked.event_id)
ORDER BY near.stream_id {direction}, near.event_id {direction} LIMIT 1)"""  # noqa: S608  # constants


_MISFITS = f"{_misfit('>', 'ASC')} OR {_misfit('<', 'DESC')}"
_NEW = f"SELECT 1 FROM events AS asked NOT INDEXED WHERE asked.position > ? AND ({_MISFITS}) LIMIT 1"  # noqa: S608  # constants


def check_new_events(connection: sqlite3.Connection, after: int, *, store: str) -> None:
    """Refuse events that were written behind a position, if the index is damaged where one of their ids went in.

    Raises:
        CorruptStoreError: it is.
    """
    _refuse_found(connection.execute(_NEW, (after,)), store)


def check_absent(connection: sqlite3.Connection, stream_id: int, event_ids: Sequence[bytes], *, store: str) -> None:
    """Refuse to say that a stream has none of these events, if the index is damaged where one of the ids belongs.

    Raises:
        CorruptStoreError: it is.
    """
    if event_ids:
        asked = ", ".join([f"({stream_id:d}, ?)"] * len(event_ids))
        query = f"WITH asked (stream_id, event_id) AS (VALUES {asked}) SELECT 1 FROM asked WHERE {_MISFITS} LIMIT 1"  # noqa: S608  # a number, and constants
        _refuse_found(connection.execute(query, event_ids), store)


def _refuse_found(found: sqlite3.Cursor, store: str) -> None:
    if found.fetchone() is not None:
        problem = "it says something else than the events: restore a backup, or build it again with SQLite's REINDEX"
        raise CorruptStoreError(store=store, place="the index of event ids", problem=problem)
