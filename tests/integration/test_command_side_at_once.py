"""Refusals and questions that need no commit: answered in the step in which they come, and never from a state that is stale."""

import gc
from typing import Any

import anyio
import pytest

from inventory_es import InsufficientStockError
from inventory_es.adapters.memory import MemoryEventStore
from inventory_es.domain.errors import NegativeStockError
from inventory_es.domain.stream_id import StreamId
from tests.integration.command_side import Heap, P, S, figures, opened, outcome_of, seconds, turns


class GlancedStore(MemoryEventStore):
    """A memory store that counts what is read, and can be blind."""

    reads = 0
    is_blind = False

    def glance_version(self, stream: StreamId, /) -> int | None:
        return None if self.is_blind else super().glance_version(stream)

    async def read_stream(self, stream: StreamId, /, *, after: int = 0, limit: int) -> Any:
        self.reads += 1
        return await super().read_stream(stream, after=after, limit=limit)


async def sold_out(service: Any) -> None:
    await service.add_stock(P, S, 1)
    await service.reserve(P, S, 1, ttl=None)
    assert isinstance(await outcome_of(service.reserve(P, S, 1, ttl=None)), InsufficientStockError)


@pytest.mark.parametrize("is_blind, reads", [(False, 0), (True, 20)])
def test_when_it_is_sold_out_nobody_reads_or_waits(backend: str, is_blind: bool, reads: int) -> None:
    async def case() -> None:
        heap = Heap()
        store = GlancedStore(heap.log)
        service = heap.open(store)
        async with opened(service):
            await sold_out(service)
            store.is_blind, before = is_blind, store.reads
            for _ in range(10):
                refusal = await outcome_of(service.reserve(P, S, 1, ttl=None))
                assert refusal == InsufficientStockError(inventory=refusal.inventory, requested=1, available=0)
                assert await figures(service) == (1, 1, 2)
            assert store.reads - before == reads

    anyio.run(case, backend=backend)


def test_what_another_writer_did_is_seen(backend: str) -> None:
    async def case() -> None:
        heap = Heap()
        one, two = heap.open(GlancedStore(heap.log)), heap.open(GlancedStore(heap.log))
        async with opened(one, two):
            await sold_out(one)
            await two.add_stock(P, S, 5)
            assert await figures(one) == (6, 1, 3)
            assert (await one.reserve(P, S, 5, ttl=None)).version == 4
            assert isinstance(await outcome_of(one.reserve(P, S, 1, ttl=None)), InsufficientStockError)
            await two.add_stock(P, S, 1)
            assert (await one.reserve(P, S, 1, ttl=None)).version == 6

    anyio.run(case, backend=backend)


def test_what_becomes_due_is_free_at_once(backend: str) -> None:
    async def case() -> None:
        heap = Heap()
        service = heap.open(GlancedStore(heap.log))
        async with opened(service):
            await service.add_stock(P, S, 1)
            await service.reserve(P, S, 1, ttl=seconds(10))
            for _ in range(3):
                assert isinstance(await outcome_of(service.reserve(P, S, 1, ttl=None)), InsufficientStockError)
            heap.clock.advance(seconds(10))
            assert (await service.reserve(P, S, 1, ttl=None)).version == 4

    anyio.run(case, backend=backend)


def test_a_named_command_that_was_accepted_is_replayed_and_not_refused(backend: str) -> None:
    async def case() -> None:
        heap = Heap()
        service = heap.open(GlancedStore(heap.log))
        async with opened(service):
            await service.add_stock(P, S, 1)
            await service.reserve(P, S, 1, ttl=None, reservation_id="R1")
            assert isinstance(await outcome_of(service.reserve(P, S, 1, ttl=None)), InsufficientStockError)
            assert (await service.reserve(P, S, 1, ttl=None, reservation_id="R1")).replayed

    anyio.run(case, backend=backend)


def test_a_count_of_an_older_version_is_read_up_however_often_others_were_refused(backend: str) -> None:
    async def case() -> None:
        heap = Heap()
        service = heap.open(GlancedStore(heap.log))
        async with opened(service):
            await sold_out(service)
            assert isinstance(await outcome_of(service.adjust(P, S, -5, reason="LOSS")), NegativeStockError)
            await service.record_count(P, S, 3, observed_version=1)
            assert await figures(service) == (3, 1, 3)

    anyio.run(case, backend=backend)


def test_who_asks_without_end_lets_the_others_run(backend: str) -> None:
    async def case() -> None:
        heap = Heap()
        service = heap.open(GlancedStore(heap.log))
        async with opened(service):
            await sold_out(service)
            ran = 0

            async def other() -> None:
                nonlocal ran
                while True:
                    ran += 1
                    await turns(1)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(other)
                for _ in range(100):
                    await outcome_of(service.reserve(P, S, 1, ttl=None))
                tasks.cancel_scope.cancel()
            assert ran >= 20

    anyio.run(case, backend=backend)


def refusals() -> int:
    """How many are in memory: those of other tests too."""
    return sum(isinstance(one, InsufficientStockError) for one in gc.get_objects())


@pytest.mark.parametrize("is_blind", [False, True])
def test_a_refusal_leaves_nothing_to_the_garbage_collector(is_blind: bool) -> None:
    """An error names the frames that it passed, and a frame that still names the error would keep it until a full collection."""

    async def case() -> None:
        heap = Heap()
        store = GlancedStore(heap.log)
        service = heap.open(store)
        async with opened(service):
            await sold_out(service)
            store.is_blind = is_blind
            gc.collect()
            gc.disable()
            before = refusals()
            try:
                for _ in range(50):
                    await outcome_of(service.reserve(P, S, 1, ttl=None))
                assert refusals() == before
            finally:
                gc.enable()

    anyio.run(case)
