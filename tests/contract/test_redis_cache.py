"""The cache on Valkey under the contract of its port."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Any, ClassVar

import redis

from inventory_es.adapters.redis import RedisCache, open_redis_cache
from inventory_es.testing import CacheContract, ManualClock, Site
from tests.contract.share import ShareOfRuns
from tests.servers.valkey import Server, own_valkey, url_of


class TestRedisCache(ShareOfRuns, CacheContract):
    is_durable = True
    multi_process = True
    survives_fork = True
    server: ClassVar[Server]
    sites: ClassVar[dict[int, str]] = {}

    @classmethod
    @contextmanager
    def lifespan(cls) -> Iterator[None]:
        with own_valkey() as cls.server:
            yield

    @asynccontextmanager
    async def open_cache(self, site: Site, *, clock: ManualClock) -> AsyncIterator[RedisCache]:
        self.sites[id(clock)] = site.name
        async with open_redis_cache(url_of(site.name), timeout=5) as cache:
            yield cache

    async def let_time_pass(self, clock: ManualClock, by: timedelta) -> None:
        clock.advance(by)
        with self._raw() as raw:
            for key in raw.scan_iter(f"{self.sites[id(clock)]}:*"):
                left: Any = raw.pttl(key)
                raw.pexpire(key, left - by // timedelta(milliseconds=1))  # which removes an entry whose time is over

    async def raw(self, site: Site, key: str, junk: bytes) -> bool:
        with self._raw() as raw:
            name = f"{site.name}:c:k:{key}"
            raw.delete(name)
            if len(junk) % 2:
                raw.hset(name, mapping={"v": junk, "d": junk})
            else:
                raw.set(name, junk)
        return True

    async def kill(self, site: Site) -> bool:
        self.server.kill()
        return True

    async def drop(self, site: Site) -> None:
        if not self.server.is_running:
            self.server.start()
        with self._raw() as raw:
            assert not [key for key in raw.scan_iter(f"{site.name}:*") if raw.pttl(key) == -1], "an entry without an end"
            for key in raw.scan_iter(f"{site.name}:*"):
                raw.unlink(key)

    def _raw(self) -> redis.Redis:
        return redis.Redis.from_url(self.server.url)
