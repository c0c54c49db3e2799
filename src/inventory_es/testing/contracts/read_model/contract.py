"""The contract of the read model."""

from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager
from typing import ClassVar

from inventory_es.ports import ReadModel
from inventory_es.testing.contracts.core.contract import Contract, Run
from inventory_es.testing.contracts.read_model.checkpoints import CheckpointCases, CheckpointFieldCases
from inventory_es.testing.contracts.read_model.forks import ForkCases
from inventory_es.testing.contracts.read_model.harness import ReadModelHarness
from inventory_es.testing.contracts.read_model.interruption import InterruptionCases
from inventory_es.testing.contracts.read_model.programs import ProgramCases
from inventory_es.testing.contracts.read_model.rebuilds import BuildingCases
from inventory_es.testing.contracts.read_model.refusals import RefusalCases
from inventory_es.testing.contracts.read_model.selects import ReadingCases
from inventory_es.testing.site import Site


class ReadModelContract(
    CheckpointCases,
    CheckpointFieldCases,
    BuildingCases,
    ReadingCases,
    ProgramCases,
    InterruptionCases,
    RefusalCases,
    ForkCases,
    Contract,
    ABC,
):
    """The promises of a read model, CK-1 to CK-9 and RM-1 to RM-19.

    A subclass opens the read model, and declares its properties::

        class TestMyReadModel(ReadModelContract):
            is_durable = True

            @asynccontextmanager
            async def open_read_model(self, site):
                async with MyReadModel(site.path) as read_model:
                    yield read_model

    Attributes:
        is_durable: True if rows and checkpoints survive closing and opening the site again.
        multi_process: True if several processes may open the same site.
        survives_fork: True if a process that has the read model open may fork. Both processes go on. The handle that the child inherited
            is closed.
    """

    kind: ClassVar[str] = "read model"
    is_durable: bool = False
    multi_process: bool = False
    survives_fork: bool = False

    @abstractmethod
    def open_read_model(self, site: Site) -> AbstractAsyncContextManager[ReadModel]:
        """Open a read model whose data lives at ``site``."""

    async def kill(self, site: Site) -> bool:  # noqa: ARG002  # what a host's hook needs
        """Take the backend away from an opened read model. Hook; returns False where that is not possible."""
        return False

    def harness(self, run: Run) -> ReadModelHarness:
        """Return the harness of one run."""
        return ReadModelHarness(self, run)
