"""References of reservations lead a runner to processes that were cut short; those of the host's own lead nowhere, and stop nobody."""

from datetime import timedelta
from typing import Any

import anyio
import pytest

from inventory_es import InventoryId
from inventory_es.adapters.memory import MemoryEventStore, MemoryReadModel
from inventory_es.processes import Orders, ProcessRunner, Transfers
from tests.integration.command_side import Heap, figures, opened

KINDS: dict[str, Any] = {"order": Orders, "transfer": Transfers}
TEXTS = [
    None,
    "invoice-7",
    "{kind}",
    "{kind}-",
    "{kind}--",
    "{kind}-never-begun",
    "{kind}-%zz",
    "{kind}-a b",
    "{kind}-é",
    "{kind}-" + "x" * 120,
]


@pytest.mark.parametrize("kind", KINDS)
def test_a_reference_of_the_hosts_own_stops_no_runner(kind: str, backend: str) -> None:
    async def case() -> None:
        heap = Heap()
        service = heap.open(heap.store(multi_stream=False))
        async with opened(service):
            await service.add_stock("A", "S1", len(TEXTS))
            for text in TEXTS:
                reference = None if text is None else text.format(kind=kind)
                await service.reserve("A", "S1", 1, ttl=None, reference=reference)
            runner = ProcessRunner(
                KINDS[kind](service),
                feed=MemoryEventStore(heap.log),
                read_model=MemoryReadModel(),
                clock=heap.clock,
                owner="one",
                patience=timedelta(0),
            )
            await runner.catch_up()
            assert not await runner.waiting()
            assert (await figures(service, InventoryId("A", "S1")))[:2] == (len(TEXTS), len(TEXTS))

    anyio.run(case, backend=backend)
