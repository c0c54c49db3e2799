"""The inbox of a host: each event is handled once, in the database of the host.

A bus delivers at least once. A host that notes (stream, version) in the transaction of its own changes sees a repeated event, and changes
nothing. So each change happens exactly once, whenever a process dies.
"""

import sqlite3
from inspect import iscoroutinefunction
from typing import Any

from inventory_es.domain.stream_id import StreamId

__all__ = ["TABLE", "handled"]

TABLE: str = """\
CREATE TABLE IF NOT EXISTS inventory_es_inbox (
    consumers TEXT NOT NULL,
    stream TEXT NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (consumers, stream, version)
)"""
"""The statement that creates the table, for SQLite and PostgreSQL."""

_INSERT = "INSERT INTO inventory_es_inbox (consumers, stream, version) VALUES ({0}, {0}, {0}) ON CONFLICT DO NOTHING"


def handled(connection: Any, group: str, stream: StreamId, version: int) -> bool:
    """Return True if the group has handled this event before. Otherwise note, in the current transaction, that it has handled it now.

    Make the changes of the event in the same transaction, commit, then acknowledge the delivery. A rollback takes the note back too. While
    another transaction handles the same event, the call waits until that one has ended.

    Args:
        connection: of ``sqlite3``, or of ``psycopg``. A table of :data:`TABLE` is in its database.
        group: of the consumers.
        stream: of the event.
        version: of the event in its stream.

    Raises:
        RuntimeError: the connection commits each statement by itself, and no transaction is open.
        TypeError: an asynchronous connection.
    """
    is_sqlite = isinstance(connection, sqlite3.Connection)
    if not is_sqlite and iscoroutinefunction(connection.execute):
        msg = f"a {type(connection).__name__} is asynchronous: give a connection of sqlite3 or psycopg, and call this in a thread"
        raise TypeError(msg)
    if not (_begins_in_sqlite(connection) if is_sqlite else _begins_in_postgresql(connection)):
        msg = "the connection commits each statement by itself: begin a transaction, which has the changes of the event too"
        raise RuntimeError(msg)
    cursor = connection.execute(_INSERT.format("?" if is_sqlite else "%s"), (group, stream.text, version))
    return bool(cursor.rowcount == 0)


def _begins_in_sqlite(connection: sqlite3.Connection) -> bool:
    """Return True if a transaction is open, or a statement begins one."""
    return connection.in_transaction or (connection.isolation_level is not None and getattr(connection, "autocommit", None) is not True)


def _begins_in_postgresql(connection: Any) -> bool:
    return not connection.autocommit or connection.info.transaction_status != 0  # idle
