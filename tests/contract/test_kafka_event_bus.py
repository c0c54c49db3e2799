"""The event bus on Kafka under the contract of its port."""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, ClassVar
from unittest.mock import patch

from confluent_kafka import Producer

from inventory_es.adapters.kafka import KafkaEventBus, broker, open_kafka_event_bus
from inventory_es.testing import EventBusContract, ManualClock, Site
from tests.contract.share import ShareOfRuns
from tests.servers.kafka import Server, own_kafka, url_of


class ReadyProducers:
    """Producers that are made one ahead of their use: the driver waits 0.5 to 1 s for the id of a new one, which a test need not."""

    def __init__(self) -> None:
        self._ready: Producer | None = None
        self._settings: Mapping[str, Any] = {}

    def __call__(self, settings: Mapping[str, Any]) -> Producer:
        """Return a producer with these settings, and make the next one."""
        found = self._ready if self._ready is not None and settings == self._settings else Producer({**settings})
        self._settings = {**settings}
        self._ready = Producer({**settings})
        return found


class TestKafkaEventBus(ShareOfRuns, EventBusContract):
    server: ClassVar[Server]

    @classmethod
    @contextmanager
    def lifespan(cls) -> Iterator[None]:
        with own_kafka() as cls.server, patch.object(broker, "Producer", ReadyProducers()):
            yield

    @asynccontextmanager
    async def open_bus(self, site: Site) -> AsyncIterator[KafkaEventBus]:
        async with open_kafka_event_bus(f"{url_of(site.name)}&shards=2&lease=6", clock=ManualClock(), window=8) as bus:
            yield bus
