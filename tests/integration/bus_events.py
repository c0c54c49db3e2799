"""Events for a bus, and a consumer of them."""

import anyio
import pytest

from inventory_es.ports import BusSubscription, RecordedEvent
from inventory_es.testing.contracts.core.event_labels import EventLabels, recorded, stream_id

LABELS = EventLabels()

on_one_loop = pytest.mark.parametrize("backend", ["trio"])
"""A mark of tests that wait for a server. The drivers have threads or a loop of their own, and every other test runs on both loops."""


def events(stream: str, count: int, *, first: int = 1, data: bytes = b"") -> list[RecordedEvent]:
    name = f"{stream}{first}"
    found = [recorded(stream_id(stream), n, n, LABELS.event(f"{name}n{n}")) for n in range(first, first + count)]
    return [with_data(event, data) for event in found] if data else found


def with_data(event: RecordedEvent, data: bytes) -> RecordedEvent:
    at = (event.event_id, event.event_type, event.schema_version, event.recorded_at)
    return RecordedEvent(event.stream, event.version, event.position, *at, data, event.metadata)


async def take(subscription: BusSubscription, count: int) -> list[RecordedEvent]:
    """Receive and acknowledge so many events."""
    taken: list[RecordedEvent] = []
    with anyio.fail_after(20):
        async for delivery in subscription:
            await delivery.ack()
            taken.append(delivery.event)
            if len(taken) == count:
                break
    return taken
