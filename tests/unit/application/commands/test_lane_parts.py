"""What a batch of a lane is told, and when more is due than one append closes."""

from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from inventory_es.application.commands.decision import CommandRequest, Decider
from inventory_es.application.commands.lane import _Batch
from inventory_es.application.context import CommandContext
from inventory_es.domain.commands import AddStock
from inventory_es.domain.events import Event, StockAddedEvent, StockReservedEvent
from inventory_es.domain.inventory import Inventory
from inventory_es.domain.reasons import AddReason, Purpose
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
