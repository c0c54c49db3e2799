"""The time of the first command on a cold stream, by the length of the stream, without a snapshot and with one.

A stream is one delivery, then reservations that are committed one after the other. The last 1,000 are still open. So the state is as
large as a long history leaves it, with 10,000 closed reservations remembered. Each round opens the store again and reserves one unit:
once from the whole history, then from a snapshot that is 500 events old. Figures are milliseconds on the clock and of the processor.
Repeated measurements give medians and the best.
"""

import statistics
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from uuid import UUID

from benchmarks.measure import Measure, Measures
from benchmarks.sizes import Sizes
from inventory_es import HandlerSettings, InventoryId, InventoryService, NewEvent, StreamWrite, open_inventory
from inventory_es.adapters.file import open_file_event_store
from inventory_es.adapters.serialization import JsonEventCodec
from inventory_es.adapters.sqlite import open_sqlite_event_store
from inventory_es.domain.events import Event, StockAddedEvent, StockCommittedEvent, StockReservedEvent
from inventory_es.domain.reasons import AddReason, CommitReason, Purpose
from inventory_es.ports import EventStore

START = datetime(2026, 1, 5, 9, tzinfo=UTC)
ITEM = InventoryId("espresso-1kg", "berlin")
PLENTY = 10**9
LEFT_OPEN = 1_000
SINCE = 500
ROUNDS = 9
NAMES = {"product_id": ITEM.product_id, "store_id": ITEM.store_id}
CODEC = JsonEventCodec()


def history(length: int) -> Iterator[Event]:
    """Yield ``length`` events: a delivery, reservations that are committed at once, and at the end some that stay open."""
    on_hand, reserved = PLENTY, 0
    yield StockAddedEvent(**NAMES, quantity=PLENTY, reason=AddReason.RECEIVED, on_hand=on_hand, reserved=0)
    for number in range(1, length):
        pair, is_commit = divmod(number - 1, 2)
        if is_commit and number < length - LEFT_OPEN:
            on_hand, reserved = on_hand - 1, reserved - 1
            yield StockCommittedEvent(
                **NAMES,
                reservation_id=f"order-{pair:012}",
                quantity=1,
                remaining=0,
                reason=CommitReason.SOLD,
                on_hand=on_hand,
                reserved=reserved,
            )
        else:
            reserved += 1
            yield StockReservedEvent(
                **NAMES,
                reservation_id=f"order-{pair:012}" if not is_commit else f"late-{pair:012}",
                quantity=1,
                purpose=Purpose.ORDER,
                owner_id=None,
                expires_at=datetime(2099, 1, 1, tzinfo=UTC),
                on_hand=on_hand,
                reserved=reserved,
            )


def stored(number: int, event: Event) -> NewEvent:
    event_type, schema_version, data = CODEC.encode(event)
    return NewEvent(UUID(int=number + 1), event_type, schema_version, START + timedelta(milliseconds=number), data, b"{}")


async def fill(store: EventStore, length: int) -> None:
    version = 0
    events = (stored(number, event) for number, event in enumerate(history(length)))
    while chunk := list(islice(events, 5_000)):
        result = await store.append([StreamWrite(ITEM.stream, version, chunk)])
        version = result.versions[ITEM.stream]


def assembled(url: str, snapshots: str | None) -> InventoryService:
    return open_inventory(url, snapshots=snapshots, settings=HandlerSettings(snapshot_after=SINCE))


async def first_command(url: str, snapshots: str | None) -> tuple[float, float]:
    """Return milliseconds on the clock, and of the processor."""
    async with assembled(url, snapshots) as inventory:
        started, computed = time.perf_counter(), time.process_time()
        await inventory.reserve(ITEM.product_id, ITEM.store_id, 1, ttl=None)
        return (time.perf_counter() - started) * 1e3, (time.process_time() - computed) * 1e3


async def snapshots(store: str, folder: Path, sizes: Sizes) -> Measures:
    """Measure the milliseconds at each size, under ``W6 cold 1000`` and so on."""
    return {f"W6 cold {length}": await _measure(store, length, folder) for length in sizes["growth"]}


async def _measure(kind: str, length: int, folder: Path) -> Measure:
    path = folder / f"{kind}-{length}"
    url = f"{kind}:{path}"
    opening = open_file_event_store(path) if kind == "file" else open_sqlite_event_store(path)
    async with opening as store:
        await fill(store, length)
    kept = f"sqlite:{path}.snapshots" if kind == "file" else url
    whole, _ = await first_command(url, None)
    taking, _ = await first_command(url, kept)
    async with assembled(url, None) as inventory:
        for _ in range(SINCE - ROUNDS):
            await inventory.add_stock(ITEM.product_id, ITEM.store_id, 1)
    times = [await first_command(url, kept) for _ in range(ROUNDS)]
    return {
        "whole_history_ms": whole,
        "taking_ms": taking,
        "from_snapshot_ms": statistics.median(clock for clock, _ in times),
        "best_ms": min(clock for clock, _ in times),
        "busy_ms": statistics.median(busy for _, busy in times),
    }
