"""The contract of the event bus."""

from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager
from typing import ClassVar

from inventory_es.ports import EventBus
from inventory_es.testing.contracts.core.contract import Contract, Run
from inventory_es.testing.contracts.event_bus.concurrency import CrowdCases
from inventory_es.testing.contracts.event_bus.delivery import AnswerCases, DeliveryCases
from inventory_es.testing.contracts.event_bus.forks import ForkCases
from inventory_es.testing.contracts.event_bus.harness import BusHarness
from inventory_es.testing.contracts.event_bus.interruption import CancellationCases, InterruptionCases
from inventory_es.testing.contracts.event_bus.names import NameCases
from inventory_es.testing.contracts.event_bus.program import ProgramCases
from inventory_es.testing.contracts.event_bus.redelivery import DeadLetterCases, RedeliveryCases
from inventory_es.testing.contracts.event_bus.subscribers import ReopeningCases, SubscriberCases
from inventory_es.testing.contracts.event_bus.transparency import TransparencyCases
from inventory_es.testing.site import Site


class EventBusContract(
    DeliveryCases,
    RedeliveryCases,
    AnswerCases,
    DeadLetterCases,
    NameCases,
    SubscriberCases,
    InterruptionCases,
    CancellationCases,
    CrowdCases,
    ReopeningCases,
    ProgramCases,
    TransparencyCases,
    ForkCases,
    Contract,
    ABC,
):
    """The promises of an event bus, EB-01 to EB-40.

    A subclass opens the bus, and is its whole test::

        class TestMyBus(EventBusContract):
            @asynccontextmanager
            async def open_bus(self, site):
                async with MyBus(site.path, max_pending=16) as bus:
                    yield bus

    Open the bus with a small ``max_pending`` (8 at least, 16 for example) and a small ``max_deliveries``. The cases reach both bounds, and
    should not take long.

    Every delivery, answer and dead letter of every case is compared with a model of the events that each group still has to get.

    Attributes:
        patience_for_delivery: seconds to wait for a delivery that must come.
    """

    kind: ClassVar[str] = "bus"
    patience_for_delivery: float = 5.0

    @abstractmethod
    def open_bus(self, site: Site) -> AbstractAsyncContextManager[EventBus]:
        """Open a bus whose data, if it keeps any, lives at ``site``."""

    def harness(self, run: Run) -> BusHarness:
        """Return the harness of one run."""
        return BusHarness(self, run)
