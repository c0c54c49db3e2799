"""The event bus on SQS under the contract of its port."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import ClassVar

from inventory_es.adapters.sqs import SqsEventBus, open_sqs_event_bus
from inventory_es.testing import EventBusContract, ManualClock, Site
from tests.servers.sqs import Server, own_sqs, url_of


class TestSqsEventBus(EventBusContract):
    backends: Sequence[str] = (
        "asyncio",
    )  # each request costs the server's process 5 ms, and a case has hundreds; the bus is that of others
    seeds: Sequence[int] | None = (0,)  # the plain schedule: the others are run over a broker in memory
    patience: float = 90.0  # as above
    server: ClassVar[Server]

    @classmethod
    @contextmanager
    def lifespan(cls) -> Iterator[None]:
        with own_sqs() as cls.server:
            yield

    @asynccontextmanager
    async def open_bus(self, site: Site) -> AsyncIterator[SqsEventBus]:
        async with open_sqs_event_bus(f"{url_of(site.name.replace('-', '_'))}&poll=0.3", clock=ManualClock(), window=8) as bus:
            yield bus
