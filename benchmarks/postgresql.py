"""One PostgreSQL server: raw work, ours and peers; several processes; a follower: ``python -m benchmarks.postgresql [--seconds 0.5]``.

The contenders take turns, round after round, as in ``python -m benchmarks``, with W1, W1c, W2, W3 and W4. Then several processes reserve
one product, ten, or any of 1,000, in turns, racing, or routed. At last a follower waits for single events, and for those of eight
writers. Each of these runs once, for twice as long, because many processes take long to start.

The server is started for the run, and syncs every commit. Results, tables and the plot go to ``docs/benchmarks``. It takes about five
minutes.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import anyio
import attrs

from benchmarks.contender_line import ROOT
from benchmarks.contenders import ON_POSTGRESQL, Contender
from benchmarks.engine.store_url import SERVER
from benchmarks.environments import EnvironmentMissingError, python_of
from benchmarks.measure import Measure, Measures, quantile
from benchmarks.processes.turns import Case, turns
from benchmarks.report_postgresql import report_postgresql
from benchmarks.sizes import QUICK, Sizes
from benchmarks.suite import Say, run
from inventory_es import NewEvent, StreamId, StreamWrite
from inventory_es.adapters.postgresql import open_postgresql_event_store
from inventory_es.adapters.system import SystemClock
from inventory_es.application.following.subscription import Subscription
from tests.servers.postgresql import server

SIZES: Sizes = QUICK | {"inventories": 1_000, "callers": [1, 64], "many_callers": 20_000, "hot": 20_000, "sale": 50}
HOT: Sequence[Case] = (
    *[(f"turns, {number}", "lanes", number, 1) for number in (1, 2, 4, 8)],
    *[(f"racing, {number}", "racing", number, 1) for number in (2, 4, 8)],
)
SPREAD: Sequence[Case] = (
    ("ten products, turns, 8", "lanes", 8, 10),
    ("ten products, racing, 8", "racing", 8, 10),
    ("1,000 products, sent anywhere, 4", "lanes", 4, 1_000),
    ("1,000 products, routed, 4", "routed", 4, 1_000),
)


async def wake_up(url: str, writers: int, events: int) -> Measure:
    """Measure the time from an acknowledgement of an append until a follower has the event. It may have the event earlier: below 0.

    Args:
        url: of an empty store.
        writers: that append one event, and then pause for 10 to 100 ms.
        events: of each writer.
    """
    acknowledged: dict[Any, float] = {}
    received: dict[Any, float] = {}
    clock = SystemClock()

    async def write(number: int) -> None:
        chance = Random(number)
        for version in range(events):
            event = NewEvent(uuid4(), "Woken", 1, clock.now(), b"{}")
            await store.append([StreamWrite(StreamId("woken", str(number)), version, [event])])
            acknowledged[event.event_id] = time.perf_counter()
            await anyio.sleep(chance.uniform(0.01, 0.1))

    async with open_postgresql_event_store(url) as store, anyio.create_task_group() as group:
        for number in range(writers):
            group.start_soon(write, number)
        async with open_postgresql_event_store(url) as feed, Subscription(feed, name="woken") as subscription:
            async for batch in subscription:
                received |= dict.fromkeys([event.event_id for event in batch.events], time.perf_counter())
                if len(received) == events * writers:
                    break
    waits = [received[event] - acknowledged[event] for event in received]
    return {"p50_us": quantile(waits, 50), "p99_us": quantile(waits, 99), "events": len(waits)}


def measure(
    contenders: Sequence[Contender], sizes: Sizes, *, hot: Sequence[Case], spread: Sequence[Case], rounds: int, say: Say
) -> dict[str, Any]:
    """Measure everything on one server, and return the results."""
    started = time.monotonic()
    with server({"fsync": "on"}) as one:
        os.environ[SERVER] = one.url
        results = run(contenders, sizes, rounds=rounds, tasks=("commands", "hot", "log"), say=say)
        say("several processes")
        results.alone["one product"] = dict(turns(one.url, hot, seconds=2 * sizes["patience"], rounds=1))
        results.alone["more products"] = dict(turns(one.url, spread, seconds=2 * sizes["patience"], rounds=1, schema="spread"))
        say("a follower")
        follower: Measures = {}
        for writers in (1, 8):
            follower[f"{writers} writers"] = anyio.run(wake_up, f"{one.url}?schema=woken_{writers}", writers, sizes["steady"])
        results.alone["follower"] = follower
    results.about["seconds"] = round(time.monotonic() - started)
    described = [{"name": one.name, "is_ours": one.is_ours, "is_durable": one.is_durable} for one in contenders]
    return attrs.asdict(results) | {"contenders": described}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.postgresql", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=0.5, help="of one case; of several processes twice as long")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmarks", help="where to write; docs/benchmarks by default")
    options = parser.parse_args()
    sizes: Sizes = SIZES | {"patience": options.seconds}
    found = measure(ON_POSTGRESQL, sizes, hot=HOT, spread=SPREAD, rounds=options.rounds, say=partial(print, file=sys.stderr, flush=True))
    options.out.mkdir(parents=True, exist_ok=True)
    written = options.out / "postgresql.json"
    written.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    page = report_postgresql(found)
    (options.out / "postgresql.md").write_text(page, encoding="utf-8")
    print(page)
    try:
        python = python_of("plots")
    except EnvironmentMissingError as problem:
        sys.exit(f"no plot: {problem}")
    drawing = [python, "-m", "benchmarks.plots", str(written.resolve()), str(options.out.resolve()), "postgresql"]
    subprocess.run(drawing, check=True, cwd=ROOT)


if __name__ == "__main__":
    main()
