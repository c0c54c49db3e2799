"""What a batch of a lane is told, when more is due than one append closes, and who shares a turn."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import anyio
import attrs
import pytest

from inventory_es import StreamId, StreamWrite, open_inventory
from inventory_es.adapters.memory import MemoryEventStore
from inventory_es.application.commands.decision import CommandRequest, Decider
from inventory_es.application.commands.lane import _Batch
from inventory_es.application.context import CommandContext
from inventory_es.application.observers import CommandFinished
from inventory_es.domain.commands import AddStock
from inventory_es.domain.events import Event, StockAddedEvent, StockReservedEvent
from inventory_es.domain.inventory import Inventory
from inventory_es.domain.reasons import AddReason, Purpose
from inventory_es.ports import AppendResult
from inventory_es.ports.event_store import StoreCapabilities
from inventory_es.testing.domain.scenarios import SHELF, START

PLACE = (SHELF.product_id, SHELF.store_id)
UNTIL = START + timedelta(minutes=5)


def holding(number: int) -> Inventory:
    """An inventory with so many reservations that are due at the same time."""
    events: list[Event] = [StockAddedEvent(*PLACE, 9, AddReason.RECEIVED, 9, 0)]
    events += [StockReservedEvent(*PLACE, 1, f"R{at}", Purpose.ORDER, None, UNTIL, 9, at) for at in range(1, number + 1)]
    inventory = Inventory(SHELF)
    for version, event in enumerate(events, start=1):
        inventory.apply((event, version, START))
    return inventory


@pytest.mark.parametrize("number", range(5))
def test_a_backlog_is_more_than_one_append_closes(number: int) -> None:
    chunk = cast(Any, SimpleNamespace(expiry_chunk=2))
    assert Decider.has_backlog(chunk, holding(number), UNTIL) is (number > 2)
    assert not Decider.has_backlog(chunk, holding(number), UNTIL - timedelta(microseconds=1))


@pytest.mark.parametrize("number", [1, 3])
def test_a_command_knows_the_batch_that_it_is_served_in_last(number: int) -> None:
    commands = [AddStock(inventory_id=SHELF, command_id=f"c{at}", quantity=1) for at in range(number)]
    requests = [CommandRequest(one, named=True, expected_version=None, context=CommandContext()) for one in commands]
    for request in requests:
        request.batch_size = 7
    assert _Batch(requests, look_up=False).commands == requests
    assert {request.batch_size for request in requests} == {number}


class _Queue(MemoryEventStore):
    """A memory store whose turns are by stream, and are given when the test says so. Its appends may be told to be contested."""

    def __init__(self) -> None:
        super().__init__()
        self.may_begin = anyio.Event()
        self.turns: list[StreamId] = []
        self.is_contested = False

    @property
    def capabilities(self) -> StoreCapabilities:
        return attrs.evolve(super().capabilities, turns_by_stream=True)

    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        return attrs.evolve(await super().append(writes), is_contested=self.is_contested)

    @asynccontextmanager
    async def turn(self, *streams: StreamId) -> AsyncIterator[None]:
        self.turns += streams
        await self.may_begin.wait()
        yield


def test_a_lane_that_is_told_of_others_waits_for_its_turn_and_takes_what_came_meanwhile(backend: str) -> None:
    async def case() -> None:
        store = _Queue()
        async with open_inventory(store, observers=[notes := _Notes()]) as inventory:
            await inventory.add_stock("tea", "berlin", 9)
            await inventory.add_stock("tea", "berlin", 9)
            assert store.turns == []
            store.is_contested = True
            await inventory.add_stock("tea", "berlin", 9)
            assert store.turns == []
            async with anyio.create_task_group() as tasks:
                for _ in range(3):
                    tasks.start_soon(inventory.add_stock, "tea", "berlin", 1)
                    await anyio.wait_all_tasks_blocked()
                store.may_begin.set()
            assert store.turns == [StreamId("inventory", "tea", "berlin")]
            assert notes.sizes == [1, 1, 1, 3, 3, 3]
            assert (await inventory.stock("tea", "berlin")).on_hand == 30

    anyio.run(case, backend=backend)


class _Notes:
    def __init__(self) -> None:
        self.sizes: list[int] = []

    def command_finished(self, record: CommandFinished) -> None:
        self.sizes.append(record.batch_size)
