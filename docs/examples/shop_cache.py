"""A cache in a table of a SQLite file: all processes of a machine share it, and it survives a restart."""

import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from pathlib import Path
from typing import TypeVar

from inventory_es.errors import CacheUnavailableError
from inventory_es.ports import CacheEntry, Clock
from inventory_es.ports.toolkit.blocking_calls import BlockingCalls
from inventory_es.ports.toolkit.cache_rules import MAX_VALUE_BYTES, check_entry, check_key, end_of_life

Answer = TypeVar("Answer")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
COLUMNS = "key TEXT PRIMARY KEY, value BLOB, version TEXT, until INTEGER, digest BLOB, used INTEGER"
LATER = "(SELECT coalesce(max(used), 0) + 1 FROM answers)"


class ShopCache:
    """Each call is a transaction in a worker thread, one at a time. No cursor leaves its thread."""

    def __init__(self, path: Path, *, clock: Clock, max_entries: int = 10_000) -> None:
        self._clock = clock
        self._max_entries = max_entries
        self._calls = BlockingCalls(None, name="ShopCache")
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF")  # a lost entry is a miss
        self._db.execute(f"CREATE TABLE IF NOT EXISTS answers ({COLUMNS})")
        self._db.execute("CREATE INDEX IF NOT EXISTS by_use ON answers (used)")

    async def get(self, key: str, /) -> CacheEntry | None:
        check_key(key)
        return await self._transact(lambda: self._get(key))

    async def set(self, key: str, value: bytes, /, *, version: int, ttl: timedelta) -> None:
        check_entry(key, value, version, max_value_bytes=MAX_VALUE_BYTES)
        until = microseconds(end_of_life(self._clock.now(), ttl))
        await self._transact(lambda: self._set(key, value, version, until))

    async def invalidate(self, *keys: str) -> None:
        for key in keys:
            check_key(key)
        delete = "DELETE FROM answers WHERE key = ?"
        await self._transact(lambda: self._db.executemany(delete, [(key,) for key in keys]).close())

    async def clear(self) -> None:
        await self._transact(lambda: self._db.execute("DELETE FROM answers").close())

    async def aclose(self) -> None:
        await self._calls.close(self._db.close)

    async def _transact(self, work: Callable[[], Answer]) -> Answer:
        def transact() -> Answer:
            with self._db:  # commits at the end, rolls back after an error
                self._db.execute("BEGIN IMMEDIATE")
                return work()

        try:
            return await self._calls.run(transact)
        except sqlite3.Error as error:
            raise CacheUnavailableError(cache="ShopCache", reason=type(error).__name__) from error

    def _get(self, key: str) -> CacheEntry | None:
        rows = self._db.execute("SELECT value, version, until, digest FROM answers WHERE key = ?", (key,))
        value, version, until, digest = rows.fetchone() or (b"", "", 0, None)
        if digest != digest_of(key, value, version, until) or until <= microseconds(self._clock.now()):
            return None
        self._db.execute(f"UPDATE answers SET used = {LATER} WHERE key = ?", (key,))
        return CacheEntry(value, int(version))

    def _set(self, key: str, value: bytes, version: int, until: int) -> None:
        kept = self._get(key)
        if kept is not None and kept.version > version:
            return
        row = (key, value, str(version), until, digest_of(key, value, str(version), until))
        self._db.execute(f"INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, {LATER})", row)
        self._db.execute("DELETE FROM answers WHERE until <= ?", (microseconds(self._clock.now()),))
        newest = "SELECT key FROM answers ORDER BY used DESC LIMIT ?"
        self._db.execute(f"DELETE FROM answers WHERE key NOT IN ({newest})", (self._max_entries,))


def microseconds(time: datetime) -> int:
    return (time - EPOCH) // timedelta(microseconds=1)


def digest_of(key: str, value: bytes, version: str, until: int) -> bytes:
    return blake2b(repr((key, value, version, until)).encode(), digest_size=16).digest()
