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
from inventory_es.testing.contracts.event_store.lifetime import ClosingCases
from inventory_es.testing.contracts.event_store.lost_data import PlaceCases
from inventory_es.testing.contracts.event_store.pages import PageCases
from inventory_es.testing.contracts.event_store.processes import ForkCases, ProcessCases
from inventory_es.testing.contracts.event_store.races import RaceCases
from inventory_es.testing.contracts.event_store.reads import ReadingCases
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
    """Every promise of an event store, ES-01 to ES-95, over its protocols and its declared capabilities.

    A subclass says how to open the store, and is its whole test::

        class TestMyStore(EventStoreContract):
            @asynccontextmanager
            async def open_store(self, site):
                async with MyStore(site.path) as store:
                    yield store

    Cases run where the store declares what they need. A declared absence is held to it: several streams without ``multi_stream``
    are refused, too much is refused, an optional protocol that is not declared is not there.
    """

    kind: ClassVar[str] = "store"

    @abstractmethod
    def open_store(self, site: Site) -> AbstractAsyncContextManager[EventStore]:
        """Open a store whose data lives at ``site``; the same site opened again has the same data."""

    def spawn(self, site: Site) -> Sequence[str] | None:  # noqa: ARG002  # what a host's hook needs
        """Hook: the command line of a second process that opens ``site`` and writes; ``None`` where there can be none.

        The kit adds what to do as one more argument, in JSON. Its own worker imports this class and calls :meth:`open_store`, so
        nothing is needed as long as the class stands at the top level of a module or a file.
        """
        return worker_command(self)

    async def take_away(self, site: Site) -> bool:  # noqa: ARG002  # what a host's hook needs
        """Hook: move what is stored at ``site`` to another place, behind the back of an open store; whether that is possible."""
        return False

    async def lose(self, site: Site, stream: StreamId) -> bool:  # noqa: ARG002  # what a host's hook needs
        """Hook: remove a part of what is stored of ``stream``, but not its end, with the store closed; whether that is possible."""
        return False

    async def interfere(self, site: Site, what: Interference, /) -> bool:  # noqa: ARG002  # what a host's hook needs
        """Hook: make the backend of an open store misbehave, and tell whether that is possible; False tries the case with nothing.

        Called before the append that it is about. ``lose the connection before the commit`` and ``… after the commit`` cut the
        connection of the next append at that moment; ``shut down after the commit`` ends the backend there, and starts it again.
        ``warn that the replica was not waited for`` has the next append answered by such a warning, also one that finds its events stored.
        ``lose the connection in the next read`` cuts it before the answer. ``hold the next append back`` keeps
        the request from the backend, and ``let the held append arrive`` gives it to the backend at last. ``let settles_within pass``
        moves the backend's clock on, or waits; where it can't, the kit waits, for up to 5 seconds.
        """
        return False

    def harness(self, run: Run) -> StoreHarness:
        """The harness of one run."""
        return StoreHarness(self, run)
