"""The event bus on SQS under the contract of its port."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import ClassVar

from inventory_es.adapters.sqs import SqsEventBus, open_sqs_event_bus
from inventory_es.testing import EventBusContract, ManualClock, Site
from tests.contract.share import ShareOfRuns
from tests.servers.sqs import Server, own_sqs, url_of


class TestSqsEventBus(ShareOfRuns, EventBusContract):
    patience: float = 90.0  # each request costs the server's process 5 ms, and a case has hundreds
    server: ClassVar[Server]

    @classmethod
    @contextmanager
    def lifespan(cls) -> Iterator[None]:
        with own_sqs() as cls.server:
            yield

    @asynccontextmanager
    async def open_bus(self, site: Site) -> AsyncIterator[SqsEventBus]:
        async with open_sqs_event_bus(f"{url_of(site.name.replace('-', '_'))}&poll=1", clock=ManualClock(), window=8) as bus:
            yield bus
