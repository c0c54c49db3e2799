"""A correct cache whose entries are bytes in cells. A back door may write to the cells, and they may be taken away."""

import json
from datetime import datetime, timedelta

import attrs

from inventory_es.ports import CacheEntry, Clock
from inventory_es.ports.errors import CacheUnavailableError
from tests.contract.stores.plain_cache import Kept, PlainCache


@attrs.define(eq=False)
class Cells:
    """The backend: bytes by key, whether it answers, and a count of changes for caches that tell them."""

    content: dict[str, bytes] = attrs.field(factory=dict[str, bytes])
    is_away: bool = False
    changes: int = 0


class CellCache(PlainCache):
    """The cache over the cells."""

    def __init__(self, clock: Clock, *, capacity: int, cells: Cells) -> None:
        super().__init__(clock, capacity=capacity)
        self.cells = cells

    async def begin(self) -> None:
        await super().begin()
        if self.cells.is_away:
            self.fail()

    async def invalidate(self, *keys: str) -> None:
        await super().invalidate(*keys)
        for key in keys:
            self.cells.content.pop(key, None)

    async def clear(self) -> None:
        await super().clear()
        self.cells.content.clear()

    def fail(self) -> None:
        raise CacheUnavailableError(cache="CellCache", reason="its cells are away")

    def live(self, name: str) -> Kept | None:
        cell = self.cells.content.get(name)
        kept = None if cell is None else self.decode(cell)
        return kept if kept is not None and self.clock.now() < kept.until else None

    def use(self, name: str, kept: Kept) -> None:
        self.cells.content[name] = self.cells.content.pop(name)

    def put(self, name: str, kept: Kept) -> None:
        self.cells.content.pop(name, None)
        self.cells.content[name] = self.encode(kept)
        while len(self.cells.content) > self.capacity:
            self.cells.content.pop(next(iter(self.cells.content)))

    def encode(self, kept: Kept) -> bytes:
        head = json.dumps({"version": kept.version, "until": kept.until.isoformat(), "size": len(kept.value)})
        return head.encode() + b"\n" + kept.value

    def decode(self, cell: bytes) -> Kept | None:
        head, _, value = cell.partition(b"\n")
        try:
            facts = json.loads(head)
            return Kept(value, facts["version"], datetime.fromisoformat(facts["until"])) if facts["size"] == len(value) else None
        except (ValueError, KeyError, TypeError):
            return None


class MissingWhenAway(CellCache):
    """The same cache with the other policy: while its cells are away, every get is a miss and nothing is kept."""

    async def get(self, key: str, /) -> CacheEntry | None:
        return await super().get(key) if not self.cells.is_away else None

    async def set(self, key: str, value: bytes, /, *, version: int, ttl: timedelta) -> None:
        if not self.cells.is_away:
            await super().set(key, value, version=version, ttl=ttl)

    async def invalidate(self, *keys: str) -> None:
        if not self.cells.is_away:
            await super().invalidate(*keys)
