"""The limits of this machine: the raw work below one command, without an engine.

Each limit is measured right after a command of W1, one for one, so that both meet the same disk.
"""

import os
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio.to_thread

Limit = Callable[[], Awaitable[object]]

LINE = b"x" * 420 + b"\n"
"""As long as the line of one reservation in the file store."""


@contextmanager
def limits_of(store: str, folder: Path) -> Iterator[dict[str, Limit]]:
    """Return the limits for a store of this kind, by name."""
    if store in {"memory", "postgresql"}:  # those of a server are a contender, in benchmarks.engine.raw_postgresql
        yield {}
    elif store == "file":
        raw = os.open(folder / "raw", os.O_CREAT | os.O_WRONLY | os.O_APPEND)

        def write_and_sync() -> None:
            os.write(raw, LINE)
            os.fdatasync(raw)

        yield {"write + fdatasync": _here(write_and_sync), "write + fdatasync + thread hop": _in_a_thread(write_and_sync)}
        os.close(raw)
    else:
        connection = sqlite3.connect(folder / "raw.db", isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("CREATE TABLE lines (position INTEGER PRIMARY KEY, line TEXT NOT NULL) STRICT")

        def commit() -> None:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO lines (line) VALUES (?)", (LINE.decode(),))
            connection.execute("COMMIT")

        yield {"BEGIN IMMEDIATE … COMMIT": _here(commit), "BEGIN IMMEDIATE … COMMIT + thread hop": _in_a_thread(commit)}
        connection.close()


def _here(work: Callable[[], None]) -> Limit:
    async def call() -> None:
        work()

    return call


def _in_a_thread(work: Callable[[], None]) -> Limit:
    async def call() -> None:
        await anyio.to_thread.run_sync(work)

    return call
