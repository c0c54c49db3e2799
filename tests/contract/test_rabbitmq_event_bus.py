"""The event bus on RabbitMQ under the contract of its port."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import ClassVar

from inventory_es.adapters.rabbitmq import RabbitEventBus, open_rabbitmq_event_bus
from inventory_es.testing import EventBusContract, ManualClock, Site
from tests.contract.share import ShareOfRuns
from tests.servers.rabbitmq import Server, needs_rabbitmq, own_rabbitmq, url_of


@needs_rabbitmq
class TestRabbitEventBus(ShareOfRuns, EventBusContract):
    server: ClassVar[Server]

    @classmethod
    @contextmanager
    def lifespan(cls) -> Iterator[None]:
        with own_rabbitmq() as cls.server:
            yield

    @asynccontextmanager
    async def open_bus(self, site: Site) -> AsyncIterator[RabbitEventBus]:
        async with open_rabbitmq_event_bus(f"{url_of(site.name)}&shards=2", clock=ManualClock(), window=8) as bus:
            yield bus
