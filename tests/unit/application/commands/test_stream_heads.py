"""A catalogue is gone through to its end, in order; a store without one says so."""

from contextlib import aclosing
from typing import cast

import anyio
import pytest

from inventory_es.adapters.memory import MemoryEventStore
from inventory_es.application.commands.stream_heads import stream_heads
from inventory_es.errors import UnsupportedCapabilityError
from inventory_es.ports import EventStore
from inventory_es.testing.contracts.core.event_labels import EventLabels
from tests.contract.stores.plain_store import PlainStreams, Shelf

LABELS = EventLabels()


async def listed(store: EventStore, prefix: str = "") -> list[tuple[str, int]]:
    async with aclosing(stream_heads(store, prefix)) as heads:
        return [(head.stream.text, head.version) async for head in heads]


def test_every_stream_over_all_pages(backend: str) -> None:
    async def body() -> None:
        async with MemoryEventStore(page_size=2) as store:
            assert await listed(store) == []
            await store.append([LABELS.write(text) for text in ("c@0 c", "a@0 a b", "ab@0 d", "b@0 e", "ac@0 f")])
            assert await listed(store) == [("contract-a", 2), ("contract-ab", 1), ("contract-ac", 1), ("contract-b", 1), ("contract-c", 1)]
            assert await listed(store, "contract-a") == [("contract-a", 2), ("contract-ab", 1), ("contract-ac", 1)]

    anyio.run(body, backend=backend)


def test_a_store_that_can_not_list_says_so() -> None:
    with pytest.raises(UnsupportedCapabilityError, match="PlainStreams has no catalogue of streams"):
        anyio.run(listed, cast("EventStore", PlainStreams(Shelf())))
