"""A correct cache of the tests' own, built in steps that can be broken one at a time."""

from datetime import datetime, timedelta

import attrs
from anyio.lowlevel import checkpoint

from inventory_es.domain.errors import InvalidTtlError
from inventory_es.ports import CacheEntry, Clock
from inventory_es.ports.errors import StoreClosedError


@attrs.frozen
class Kept:
    """An entry and its end."""

    value: bytes
    version: int
    until: datetime


class PlainCache:
    """The cache itself."""

    def __init__(self, clock: Clock, *, capacity: int) -> None:
        self.clock = clock
        self.capacity = capacity
        self.entries: dict[str, Kept] = {}
        self.closed = False

    async def get(self, key: str, /) -> CacheEntry | None:
        await self.begin()
        self.check_key(key)
        kept = self.live(self.name(key))
        if kept is None:
            return None
        self.use(self.name(key), kept)
        return CacheEntry(kept.value, kept.version)

    async def set(self, key: str, value: bytes, /, *, version: int, ttl: timedelta) -> None:
        await self.begin()
        self.check_key(key)
        self.check_value(value, version)
        self.check_ttl(ttl)
        kept = self.live(self.name(key))
        if kept is None or self.may_overwrite(kept, version):
            self.put(self.name(key), Kept(value, version, self.until(kept, ttl)))

    async def invalidate(self, *keys: str) -> None:
        await self.begin()
        for key in keys:
            self.entries.pop(self.name(key), None)

    async def clear(self) -> None:
        await self.begin()
        self.entries.clear()

    async def aclose(self) -> None:
        self.closed = True

    # ── step by step ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def begin(self) -> None:
        if self.closed:
            raise StoreClosedError(store="PlainCache")
        await checkpoint()

    def name(self, key: str) -> str:
        return key

    def check_key(self, key: str) -> None:
        if not 1 <= len(key) <= 1_024:
            msg = "a key has 1 to 1,024 characters"
            raise ValueError(msg)

    def check_value(self, value: bytes, version: int) -> None:
        if type(value) is not bytes or version < 0:
            msg = "a value is bytes, its version a count"
            raise ValueError(msg)

    def check_ttl(self, ttl: timedelta) -> None:
        if ttl <= timedelta(0):
            raise InvalidTtlError(problem="must be above zero")

    def may_overwrite(self, kept: Kept, version: int) -> bool:
        return version >= kept.version

    def until(self, kept: Kept | None, ttl: timedelta) -> datetime:
        return self.clock.now() + ttl

    def live(self, name: str) -> Kept | None:
        kept = self.entries.get(name)
        return kept if kept is not None and self.clock.now() < kept.until else None

    def use(self, name: str, kept: Kept) -> None:
        self.entries[name] = self.entries.pop(name)

    def put(self, name: str, kept: Kept) -> None:
        self.entries.pop(name, None)
        self.entries[name] = kept
        while len(self.entries) > self.capacity:
            self.entries.pop(self.victim())

    def victim(self) -> str:
        return next(iter(self.entries))
