"""The first command on a cold stream: how long it takes by the length of the stream, without a snapshot and with one.

    python benchmarks/snapshots.py [--events 1000 10000 100000 1000000] [--stores file sqlite] [--backend asyncio] [--rounds 9] [--json]

A stream is one delivery, and then reservations that are committed one after the other, the last 1,000 still open: as large a state as
a long history leaves behind, with 10,000 closed reservations remembered. Each round opens the store anew and reserves one unit: once
of the whole history, then from a snapshot that is 500 events old. Milliseconds on the clock and of the processor: of what is measured
several times, medians and the best.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from uuid import UUID

import anyio

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
NAMES = {"product_id": ITEM.product_id, "store_id": ITEM.store_id}
CODEC = JsonEventCodec()


def history(length: int) -> Iterator[Event]:
    """``length`` events: a delivery, reservations that are committed at once, and at the end some that stay open."""
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
    """Milliseconds on the clock, and of the processor."""
    async with assembled(url, snapshots) as inventory:
        started, computed = time.perf_counter(), time.process_time()
        await inventory.reserve(ITEM.product_id, ITEM.store_id, 1, ttl=None)
        return (time.perf_counter() - started) * 1e3, (time.process_time() - computed) * 1e3


async def measure(kind: str, length: int, rounds: int, folder: Path) -> dict[str, float]:
    path = folder / f"{kind}-{length}"
    url = f"{kind}:{path}"
    opening = open_file_event_store(path) if kind == "file" else open_sqlite_event_store(path)
    async with opening as store:
        await fill(store, length)
    snapshots = f"sqlite:{folder / 'snapshots.db'}" if kind == "file" else url
    whole, _ = await first_command(url, None)
    taking, _ = await first_command(url, snapshots)
    async with assembled(url, None) as inventory:
        for _ in range(SINCE - rounds):
            await inventory.add_stock(ITEM.product_id, ITEM.store_id, 1)
    times = [await first_command(url, snapshots) for _ in range(rounds)]
    return {
        "whole history": whole,
        "taking a snapshot": taking,
        "from a snapshot": statistics.median(clock for clock, _ in times),
        "best": min(clock for clock, _ in times),
        "processor": statistics.median(processor for _, processor in times),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, nargs="+", default=[1_000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--stores", nargs="+", default=["file", "sqlite"], choices=["file", "sqlite"])
    parser.add_argument("--backend", default="asyncio", choices=["asyncio", "trio"])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures: dict[str, dict[str, float]] = {}
    for kind in options.stores:
        for length in options.events:
            with tempfile.TemporaryDirectory(dir=os.environ.get("BENCHMARK_DIR")) as folder:
                figures[f"{kind} {length}"] = anyio.run(measure, kind, length, options.rounds, Path(folder), backend=options.backend)
    if options.json:
        print(json.dumps(figures, indent=2))
        return
    for name, measured in figures.items():
        print(f"{name:>16}  " + "  ".join(f"{what} {value:9.1f} ms" for what, value in measured.items()))


if __name__ == "__main__":
    main()
