"""What the file store costs beside the raw limits of this machine: one append, a long stream, a store of a million events.

    python benchmarks/file_store.py [--events 1000000] [--json]

Figures of one run are comparable with one another; between runs and machines only the ratios are.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import anyio
import anyio.to_thread

from inventory_es import InventoryId, NewEvent, StreamId, StreamWrite
from inventory_es.adapters.file import open_file_event_store
from inventory_es.adapters.serialization import JsonEventCodec
from inventory_es.adapters.system import SystemClock
from inventory_es.application.stream_reader import StreamReader
from inventory_es.domain.events import StockAddedEvent
from inventory_es.domain.reasons import AddReason

ROUNDS = 400
LONG_STREAM = 100_000
CHUNK = 1_000
OPENINGS = 5


CODEC = JsonEventCodec()


def new_event(on_hand: int) -> NewEvent:
    encoded = CODEC.encode(StockAddedEvent("hot", "main", 1, AddReason.RECEIVED, on_hand, 0))
    return NewEvent(uuid4(), encoded.event_type, encoded.schema_version, SystemClock().now(), encoded.data)


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


async def one_append(folder: Path) -> dict[str, float]:
    """One caller: an append, and right after it a raw write + fdatasync + hop, so that both see the same machine."""
    raw = os.open(folder / "raw", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    line = b"x" * 420 + b"\n"

    def write_and_sync() -> None:
        os.write(raw, line)
        os.fdatasync(raw)

    appends: list[float] = []
    limits: list[float] = []
    syncs: list[float] = []
    async with open_file_event_store(folder / "stock") as store:
        for at in range(ROUNDS):
            write = StreamWrite(StreamId("inventory", f"p{at % 100}", "main"), at // 100, [new_event(at // 100 + 1)])
            started = time.perf_counter()
            await store.append([write])
            appends.append(time.perf_counter() - started)
            started = time.perf_counter()
            await anyio.to_thread.run_sync(write_and_sync)
            limits.append(time.perf_counter() - started)
            syncs.append(timed(write_and_sync))
    os.close(raw)
    append, limit, sync = (statistics.median(one) * 1e6 for one in (appends, limits, syncs))
    return {
        "append_us": append,
        "write_sync_hop_us": limit,
        "write_sync_us": sync,
        "append_to_write_sync_hop": append / limit,
        "append_to_write_sync": append / sync,
    }


async def long_stream(folder: Path) -> dict[str, float]:
    """Read, decode and fold one long stream."""
    inventory_id = InventoryId("hot", "main")
    async with open_file_event_store(folder / "stock") as store:
        for start in range(0, LONG_STREAM, CHUNK):
            events = [new_event(start + at + 1) for at in range(CHUNK)]
            await store.append([StreamWrite(inventory_id.stream, start, events)])
    async with open_file_event_store(folder / "stock") as store:
        reader = StreamReader(store, CODEC)
        seconds: list[float] = []
        for _ in range(3):
            started = time.perf_counter()
            state = await reader.load(inventory_id)
            seconds.append(time.perf_counter() - started)
            if state.inventory.version != LONG_STREAM:
                msg = "the stream was not read to its end"
                raise RuntimeError(msg)
    return {"fold_events_per_second": LONG_STREAM / statistics.median(seconds)}


async def fill(folder: Path, events: int) -> None:
    """A store of many streams, a thousand events to an append."""
    async with open_file_event_store(folder) as store:
        for start in range(0, events, CHUNK):
            writes = [
                StreamWrite(StreamId("inventory", f"p{start // CHUNK}-{at}", "main"), 0, [new_event(one + 1) for one in range(100)])
                for at in range(CHUNK // 100)
            ]
            await store.append(writes)


def opening(folder: Path) -> dict[str, float]:
    """Open in a new process, again and again: the seconds, and the memory that the process has at most."""
    script = (
        "import anyio, sys, time\n"
        "from pathlib import Path\n"
        "from inventory_es.adapters.file import open_file_event_store\n"
        "def peak():\n"
        "    return int(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])\n"
        "async def main():\n"
        "    before = peak()\n"
        "    started = time.perf_counter()\n"
        "    async with open_file_event_store(sys.argv[1]) as store:\n"
        "        head = await store.head()\n"
        "        seconds = time.perf_counter() - started\n"
        "    print(seconds, before, peak(), head)\n"
        "anyio.run(main)\n"
    )
    rows: list[list[float]] = []
    for _ in range(OPENINGS):
        told = subprocess.run([sys.executable, "-c", script, str(folder)], check=True, capture_output=True, text=True)
        rows.append([float(one) for one in told.stdout.split()])
    return {
        "opening_seconds": statistics.median(row[0] for row in rows),
        "opening_peak_memory_mb": statistics.median(row[2] for row in rows) / 1024,
        "opening_own_memory_mb": statistics.median(row[2] - row[1] for row in rows) / 1024,
        "opening_events": rows[0][3],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000, help="events of the store that is opened")
    parser.add_argument("--folder", type=Path, default=None, help="where to put the stores; a temporary folder by default")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as temporary:
        folder = Path(temporary)
        for name in ("one", "long"):
            (folder / name).mkdir()
        figures |= anyio.run(one_append, folder / "one")
        figures |= anyio.run(long_stream, folder / "long")
        figures["filling_events_per_second"] = arguments.events / timed(lambda: anyio.run(fill, folder / "million", arguments.events))
        figures |= opening(folder / "million")
    figures["peak_memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if arguments.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:32} {value:14,.2f}")


if __name__ == "__main__":
    main()
