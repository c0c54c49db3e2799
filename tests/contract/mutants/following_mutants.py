"""Event stores over which a subscription fails."""

import anyio
import attrs

from inventory_es.ports import FeedPage
from tests.contract.mutants.mutant import breaks
from tests.contract.stores.plain_store import PlainStore


@breaks("ES-37", "The last page of the feed says to go on after the newest position as of its answer, which may be past its events.")
class SkipsAtTheHandOver(PlainStore):
    async def read_all(self, *, after: int, limit: int) -> FeedPage:
        page = await super().read_all(after=after, limit=limit)
        await anyio.lowlevel.checkpoint()
        return attrs.evolve(page, next_after=max(page.next_after, self.head_now())) if page.is_end else page


@breaks("ES-38", "A page that is cut says to go on after the newest position.")
class JumpsToTheEnd(PlainStore):
    async def read_all(self, *, after: int, limit: int) -> FeedPage:
        page = await super().read_all(after=after, limit=limit)
        return attrs.evolve(page, next_after=self.head_now())


@breaks("ES-39", "Gives the whole feed, whatever limit is asked for.")
class FloodsTheSlow(PlainStore):
    async def read_all(self, *, after: int, limit: int) -> FeedPage:
        return await super().read_all(after=after, limit=limit * 1_000)


@breaks("ES-40", "Whoever reads the feed holds a lock, and keeps it when it is cancelled.")
class ReadersKeepTheLock(PlainStore):
    async def read_all(self, *, after: int, limit: int) -> FeedPage:
        free: anyio.Semaphore = self.shelf.__dict__.setdefault("reading", anyio.Semaphore(1))
        await free.acquire()
        page = await super().read_all(after=after, limit=limit)
        free.release()
        return page


@breaks("ES-65", "Whoever waits at the end of the feed holds a lock, and keeps it when it is cancelled.")
class WaitersKeepTheLock(PlainStore):
    async def wait_for_position(self, position: int, /, *, timeout: float) -> bool:
        free: anyio.Semaphore = self.shelf.__dict__.setdefault("waiting", anyio.Semaphore(1))
        await free.acquire()
        seen = await super().wait_for_position(position, timeout=timeout)
        free.release()
        return seen
