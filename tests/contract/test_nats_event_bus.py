"""The event bus on NATS JetStream under the contract of its port."""

from base64 import b64decode
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import ClassVar

from msgspec.msgpack import decode

from inventory_es.adapters.nats import NatsEventBus, open_nats_event_bus
from inventory_es.testing import EventBusContract, ManualClock, Site
from tests.contract.share import ShareOfRuns
from tests.servers.nats import Server, ask, own_nats, url_of


class TestNatsEventBus(ShareOfRuns, EventBusContract):
    server: ClassVar[Server]

    @classmethod
    @contextmanager
    def lifespan(cls) -> Iterator[None]:
        with own_nats() as cls.server:
            yield

    @asynccontextmanager
    async def open_bus(self, site: Site) -> AsyncIterator[NatsEventBus]:
        async with open_nats_event_bus(f"{url_of(site.name)}&shards=2&sync=always", clock=ManualClock(), window=8) as bus:
            yield bus

    async def drop(self, site: Site) -> None:
        url, groups = self.server.url, f"{site.name}-groups"
        info = await ask(url, f"STREAM.INFO.{groups}", subjects_filter=f"{site.name}.of.*.*")
        for subject in info.get("state", {}).get("subjects") or {}:
            state = (await ask(url, f"STREAM.MSG.GET.{groups}", last_by_subj=subject))["message"]["data"]
            assert decode(b64decode(state))[0] == "", "a bus that was closed owns nothing"
        for stream in (f"{site.name}-log", groups):
            await ask(url, f"STREAM.DELETE.{stream}")
