"""W5: the cost of importing, compared with the dependencies' own import, and the memory for reading a long stream.

Each figure comes from a new process, and the candidates take turns.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import anyio

from benchmarks.contender_line import ROOT
from benchmarks.engine.history import additions, write
from benchmarks.engine.store_url import url_of
from benchmarks.measure import Measures
from benchmarks.sizes import Sizes
from inventory_es import InventoryId, open_inventory

OPTIONAL = ("click", "rich", "hypothesis", "pytest", "trio", "orjson")
"""Packages that ``import inventory_es`` must not import."""

_IMPORTS = {
    "nothing": "pass",
    "its dependencies": "import anyio, attrs, cattrs, msgspec",
    "inventory_es": "import inventory_es",
}

_PEAK = "int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0]) / 1024"

_IMPORT = f"""
import json, sys, time
before, wall, busy = set(sys.modules), time.perf_counter(), time.process_time()
IMPORT
wall, busy = time.perf_counter() - wall, time.process_time() - busy
optional = [name for name in {OPTIONAL!r} if name in sys.modules]
print(json.dumps({{"wall_ms": wall * 1e3, "busy_ms": busy * 1e3, "peak_mb": {_PEAK}, "optional": optional}}))
"""

_REPLAY = f"""
import sys, time
import anyio
from inventory_es import open_inventory

async def main():
    async with open_inventory(sys.argv[1]) as inventory:
        before = {_PEAK}
        level = await inventory.stock("long", "main")
        print(level.version, {_PEAK} - before)

anyio.run(main)
"""


def startup(sizes: Sizes, rounds: int) -> Measures:
    """Measure ``W5 import …`` and ``W5 replay …``.

    Raises:
        RuntimeError: an optional package was imported.
    """
    found: dict[str, list[dict[str, float]]] = {name: [] for name in _IMPORTS}
    for _ in range(rounds):
        for name, statement in _IMPORTS.items():
            told = json.loads(_python(_IMPORT.replace("IMPORT", statement)))
            if optional := told.pop("optional"):
                msg = f"importing {name} imported {optional}"
                raise RuntimeError(msg)
            found[name].append(told)
    return {f"W5 import {name}": _medians(rows) for name, rows in found.items()} | _replays(sizes, rounds)


def _replays(sizes: Sizes, rounds: int) -> Measures:
    measures: Measures = {}
    inventory_id = InventoryId("long", "main")

    async def fill(url: str) -> None:
        async with open_inventory(url) as inventory:
            await write(inventory.store, inventory_id, additions(inventory_id), number=sizes["long_stream"])

    with tempfile.TemporaryDirectory() as temporary:
        for store in ("file", "sqlite"):
            url = url_of(store, Path(temporary))
            anyio.run(fill, url)
            told = [_python(_REPLAY, url).split() for _ in range(rounds)]
            measures[f"W5 replay {store}"] = {"events": float(told[0][0]), "peak_mb": statistics.median(float(row[1]) for row in told)}
    return measures


def _medians(rows: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(row[name] for row in rows) for name in rows[0]}


def _python(script: str, *arguments: str) -> str:
    return subprocess.run([sys.executable, "-c", script, *arguments], check=True, capture_output=True, text=True, cwd=ROOT).stdout
