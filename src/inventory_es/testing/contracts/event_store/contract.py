"""The contract of the event store."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import ClassVar

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import EventStore
from inventory_es.testing.contracts.core.contract import Contract, Run
from inventory_es.testing.contracts.event_store.atomicity import AtomicityCases
from inventory_es.testing.contracts.event_store.catalogue import CatalogueCases
from inventory_es.testing.contracts.event_store.feed import FeedCases
from inventory_es.testing.contracts.event_store.fidelity import FidelityCases
from inventory_es.testing.contracts.event_store.freshness import QuestionCases
from inventory_es.testing.contracts.event_store.glances import GlanceCases
from inventory_es.testing.contracts.event_store.groups import GroupCases
from inventory_es.testing.contracts.event_store.harness import Interference, StoreHarness
from inventory_es.testing.contracts.event_store.idempotency import IdentityCases
from inventory_es.testing.contracts.event_store.interruption import InterruptionCases
from inventory_es.testing.contracts.event_store.lifetime import ClosingCases, PlaceCases
from inventory_es.testing.contracts.event_store.processes import ForkCases, ProcessCases
from inventory_es.testing.contracts.event_store.races import RaceCases
from inventory_es.testing.contracts.event_store.reads import PageCases, ReadingCases
from inventory_es.testing.contracts.event_store.refusals import RefusalCases
from inventory_es.testing.contracts.event_store.subscriptions import FollowingCases
from inventory_es.testing.contracts.event_store.turns import TurnCases
from inventory_es.testing.contracts.event_store.unknown_outcomes import OutcomeCases
from inventory_es.testing.contracts.event_store.versions import VersionCases
from inventory_es.testing.contracts.processes.other_process import worker_command
from inventory_es.testing.site import Site


class EventStoreContract(
    VersionCases,
    AtomicityCases,
    IdentityCases,
    ReadingCases,
    FidelityCases,
    FeedCases,
    FollowingCases,
    RaceCases,
    ProcessCases,
    ForkCases,
    InterruptionCases,
    GlanceCases,
    CatalogueCases,
    TurnCases,
    PageCases,
    QuestionCases,
    PlaceCases,
    OutcomeCases,
    RefusalCases,
    GroupCases,
    ClosingCases,
    Contract,
    ABC,
):
    """The promises of an event store, ES-01 to ES-95, over its protocols and its declared capabilities.

    A subclass opens the store, and is its whole test::

        class TestMyStore(EventStoreContract):
            @asynccontextmanager
            async def open_store(self, site):
                async with MyStore(site.path) as store:
                    yield store

    Cases run where the store declares what they need. A store is held to a declared absence too. Without ``multi_stream`` it refuses
    appends to several streams. It refuses appends above a declared maximum, and lacks the methods of an optional protocol that it does not
    declare.
    """

    kind: ClassVar[str] = "store"

    @abstractmethod
    def open_store(self, site: Site) -> AbstractAsyncContextManager[EventStore]:
        """Open a store whose data lives at ``site``; the same site opened again has the same data."""

    def spawn(self, site: Site) -> Sequence[str] | None:  # noqa: ARG002  # what a host's hook needs
        """Return the command line of a second process that opens ``site`` and writes. Hook; ``None`` where there can be none.

        The kit adds the task in JSON as one more argument. Its own worker imports this class and calls :meth:`open_store`. So a class at
        the top level of a module or a file needs no hook.
        """
        return worker_command(self)

    async def take_away(self, site: Site) -> bool:  # noqa: ARG002  # what a host's hook needs
        """Move the data at ``site`` to another place, behind the back of an open store. Hook; returns False where that is not possible."""
        return False

    async def lose(self, site: Site, stream: StreamId) -> bool:  # noqa: ARG002  # what a host's hook needs
        """Remove a part of the data of ``stream``, not its end, with the store closed. Hook; returns False where that is not possible."""
        return False

    async def interfere(self, site: Site, what: Interference, /) -> bool:  # noqa: ARG002  # what a host's hook needs
        """Make the backend of an open store misbehave. Hook; returns False where that is not possible, and the case runs without it.

        The kit calls it before the append that it is about, with one of these texts:

        - ``lose the connection before the commit``, ``lose the connection after the commit``: cut the connection of the next append then.
        - ``shut down after the commit``: end the backend at that moment, and start it again.
        - ``warn that the replica was not waited for``: answer the next append with that warning, even if its events are stored already.
        - ``lose the connection in the next read``: cut the connection before the answer.
        - ``hold the next append back``: keep the request from the backend.
        - ``let the held append arrive``: pass that request to the backend.
        - ``let settles_within pass``: move the backend's clock on, or wait. Without it the kit waits, up to 5 seconds.
        """
        return False

    def harness(self, run: Run) -> StoreHarness:
        """Return the harness of one run."""
        return StoreHarness(self, run)
