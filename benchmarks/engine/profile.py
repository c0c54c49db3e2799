"""Profile of a command on the hot product: the loop's thread, under the standard profiler.

The profiler slows the code, calls more than lines, so shares matter here and rates do not. The writer's thread is not included.
"""

import cProfile
import pstats
import re
from collections import Counter
from pathlib import Path

import anyio

from benchmarks.engine.callers import in_tasks
from benchmarks.engine.commands import PLENTY, TTL
from benchmarks.engine.store_url import url_of
from benchmarks.measure import Measures
from benchmarks.sizes import Sizes
from inventory_es import open_inventory

LONGEST = 25
ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def profile(store: str, backend: str, folder: Path, sizes: Sizes) -> Measures:
    """Return the share of each part as ``profile of …``, and the functions with the most own time as ``profile line …``."""
    profiler = cProfile.Profile()
    anyio.run(_reserve, store, folder, sizes, profiler, backend=backend)
    stats = pstats.Stats(profiler)
    own: Counter[str] = Counter()
    lines: dict[str, tuple[float, int]] = {}
    for (file, _, function), (_, calls, seconds, _, _) in stats.stats.items():  # type: ignore[attr-defined]  # of the standard library
        if "poll" in function:
            continue  # wait for the disk
        part = _part_of(file)
        own[part] += seconds
        name = f"{part}: {ADDRESS.sub('', function.strip('<>'))}"
        before, calls_before = lines.get(name, (0.0, 0))
        lines[name] = (before + seconds, calls_before + calls)
    total = sum(own.values())
    commands = sizes["hot"]
    parts = {f"profile of {part}": {"share": seconds / total} for part, seconds in own.most_common(LONGEST)}
    longest = sorted(lines.items(), key=lambda item: -item[1][0])[:LONGEST]
    return parts | {
        f"profile line {name}": {"share": seconds / total, "calls_a_command": calls / commands} for name, (seconds, calls) in longest
    }


async def _reserve(store: str, folder: Path, sizes: Sizes, profiler: cProfile.Profile) -> None:
    async with open_inventory(url_of(store, folder)) as inventory:
        await inventory.add_stock("hot", "main", PLENTY)
        profiler.enable()
        await in_tasks(64, sizes["hot"], lambda _: inventory.reserve("hot", "main", 1, ttl=TTL), patience=60)
        profiler.disable()


def _part_of(file: str) -> str:
    """Return our module, or the package of other code. No path of this machine is shown."""
    if file.startswith("<attrs generated"):
        return "attrs, generated"
    if file == "~" or file.startswith("<"):
        return "built in"
    parts = Path(file).with_suffix("").parts
    if "inventory_es" in parts:
        return ".".join(parts[len(parts) - parts[::-1].index("inventory_es") :])
    if "site-packages" in parts:
        return parts[parts.index("site-packages") + 1]
    return parts[-2] if parts[-2] in {"asyncio", "json", "collections"} else parts[-1]
