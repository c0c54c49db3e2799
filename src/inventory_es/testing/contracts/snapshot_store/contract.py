"""The contract of the snapshot store."""

from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager
from typing import ClassVar

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import SnapshotStore
from inventory_es.testing.contracts.core.contract import Contract, Run
from inventory_es.testing.contracts.snapshot_store.forks import ForkCases
from inventory_es.testing.contracts.snapshot_store.harness import SnapshotHarness
from inventory_es.testing.contracts.snapshot_store.interruption import InterruptionCases
from inventory_es.testing.contracts.snapshot_store.programs import ProgramCases
from inventory_es.testing.contracts.snapshot_store.retention import ForgettingCases, KeepingCases
from inventory_es.testing.site import Site


class SnapshotStoreContract(KeepingCases, ForgettingCases, ProgramCases, InterruptionCases, ForkCases, Contract, ABC):
    """The promises of a snapshot store, SN-1 to SN-17.

    A subclass opens the store, and declares its properties::

        class TestMySnapshots(SnapshotStoreContract):
            is_durable = True

            @asynccontextmanager
            async def open_snapshots(self, site):
                yield MySnapshots(site.path)

    A store may forget snapshots for lack of room. The cases expect it to keep those of the last 16 streams.

    Attributes:
        is_durable: True if snapshots survive closing and opening the site again.
        multi_process: True if several processes may open the same site.
        survives_fork: True if a process that has the store open may fork. Both processes go on. The handle that the child inherited is
            closed.
    """

    kind: ClassVar[str] = "snapshots"
    is_durable: bool = False
    multi_process: bool = False
    survives_fork: bool = False

    @abstractmethod
    def open_snapshots(self, site: Site) -> AbstractAsyncContextManager[SnapshotStore]:
        """Open a snapshot store whose data lives at ``site``."""

    async def tear(self, site: Site, stream: StreamId) -> bool:  # noqa: ARG002  # what a host's hook needs
        """Cut short the stored snapshot of ``stream``, as a crash during a write would. Hook; returns False where that is not possible."""
        return False

    def harness(self, run: Run) -> SnapshotHarness:
        """Return the harness of one run."""
        return SnapshotHarness(self, run)
