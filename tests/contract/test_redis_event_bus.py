"""The event bus on Valkey under the contract of its port."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import ClassVar

import redis

from inventory_es.adapters.redis import RedisEventBus, open_redis_event_bus
from inventory_es.testing import EventBusContract, ManualClock, Site
from tests.contract.share import ShareOfRuns
from tests.servers.valkey import DURABLE, Server, own_valkey, url_of


class TestRedisEventBus(ShareOfRuns, EventBusContract):
    server: ClassVar[Server]

    @classmethod
    @contextmanager
    def lifespan(cls) -> Iterator[None]:
        with own_valkey(DURABLE) as cls.server:
            yield

    @asynccontextmanager
    async def open_bus(self, site: Site) -> AsyncIterator[RedisEventBus]:
        async with open_redis_event_bus(f"{url_of(site.name)}&shards=2", clock=ManualClock(), window=8) as bus:
            yield bus

    async def drop(self, site: Site) -> None:
        with redis.Redis.from_url(self.server.url) as raw:
            leases = list(raw.scan_iter(f"{{{site.name}:b}}:lease:*"))
            assert leases == [], "a bus that was closed owns nothing"
            for key in raw.scan_iter(f"{{{site.name}:b}}:*"):
                raw.unlink(key)
