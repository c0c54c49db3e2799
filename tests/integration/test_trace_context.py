"""The trace context of a request, in the metadata of the events that it causes."""

from datetime import timedelta
from typing import Any

import anyio
import pytest

from inventory_es import command_context, open_inventory
from inventory_es.processes import Transfers
from inventory_es.testing import ManualClock

HOUR = timedelta(hours=1)
TRACE = f"00-{'a' * 32}-{'b' * 16}-01"


def test_a_trace_context_goes_into_every_event_of_its_commands(backend: str) -> None:
    async def body() -> list[Any]:
        async with open_inventory("memory:") as inventory:
            with command_context(actor_id="clerk-7", traceparent=TRACE):
                await inventory.add_stock("espresso", "berlin", 3)
                with command_context(correlation_id="order-1"):
                    held = await inventory.reserve("espresso", "berlin", 2, ttl=HOUR)
            await inventory.commit(held)
            return [entry.metadata async for entry in inventory.history("espresso", "berlin")]

    added, reserved, committed = anyio.run(body, backend=backend)
    assert added.extra == reserved.extra == {"traceparent": TRACE}
    assert (added.actor_id, reserved.actor_id, reserved.correlation_id) == ("clerk-7", "clerk-7", "order-1")
    assert committed.extra == {}


@pytest.mark.parametrize(
    "header", ["", "00", TRACE.upper(), f"ff{TRACE[2:]}", f"00-{'0' * 32}-{'b' * 16}-01", f"00-{'a' * 32}-{'0' * 16}-01", TRACE + "\n"]
)
def test_a_malformed_trace_context_counts_as_left_out(header: str) -> None:
    with command_context(traceparent=header) as context:
        assert context.traceparent is None
    with command_context(traceparent=TRACE), command_context(traceparent=header) as context:
        assert context.traceparent == TRACE


def test_the_context_of_a_command_goes_to_the_other_events_of_its_instant(backend: str) -> None:
    async def body() -> list[Any]:
        clock = ManualClock()
        async with open_inventory("memory:", clock=clock) as inventory:
            await inventory.add_stock("espresso", "berlin", 3)
            await inventory.reserve("espresso", "berlin", 2, ttl=HOUR)
            clock.advance(2 * HOUR)
            with command_context(traceparent=TRACE):
                await inventory.add_stock("espresso", "berlin", 1)
            return [entry.metadata async for entry in inventory.history("espresso", "berlin", after=2)]

    released, added = anyio.run(body, backend=backend)
    assert (released.more, added.more) == (True, False)
    assert released.extra == added.extra == {"traceparent": TRACE}


def test_a_trace_context_goes_into_the_events_of_processes(backend: str) -> None:
    async def body() -> list[bool]:
        async with open_inventory("memory:") as inventory:
            await inventory.add_stock("espresso", "berlin", 3)
            with command_context(traceparent=TRACE):
                await Transfers(inventory).draft("T-7", [("espresso", 2)], source="berlin", destination="paris")
            return [f'"traceparent":"{TRACE}"'.encode() in one.metadata async for one in inventory.feed()]

    first, *others = anyio.run(body, backend=backend)
    assert (first, set(others)) == (False, {True})
