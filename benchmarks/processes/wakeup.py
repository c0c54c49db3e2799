"""The time from a commit to a follower elsewhere, measured: ``python -m benchmarks.processes.wakeup [--seconds 3] [--rounds 3]``.

Writing processes append to streams of their own, with random pauses or without, and note when each append was acknowledged. A follower
notes when it has each event. The ways of a round run one after the other on one server, and a table shows the medians of the rounds.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from random import Random
from statistics import median
from uuid import uuid4

import anyio

from benchmarks.contender_line import ROOT
from benchmarks.measure import Measure, quantile
from inventory_es import StreamId
from inventory_es.adapters.postgresql import migrate, open_postgresql_event_store
from inventory_es.application.following.subscription import Subscription
from inventory_es.ports import NewEvent, StreamWrite
from tests.servers.postgresql import server

WAYS: Mapping[str, str] = {"polling": "", "notify": "&notify=on"}
CASES: Sequence[tuple[str, int, float]] = (
    ("8 writers, 20 appends/s each", 8, 0.05),
    ("8 writers without pauses", 8, 0.0),
    ("1 writer, an append every 2 s", 1, 2.0),
)
"""By title: the writing processes, and the mean seconds of their pauses."""


async def write(url: str, number: int, pause: float, seconds: float) -> None:
    """Wait for the start, append, and print when each event was acknowledged, by the clock that all processes share."""
    acknowledged: dict[str, float] = {}
    stream, chance = StreamId("wakeup", str(number)), Random(number)
    async with open_postgresql_event_store(url) as store:
        print("ready", flush=True)
        sys.stdin.readline()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            event = NewEvent(uuid4(), "Woken", 1, datetime.now(UTC), b"{}")
            await store.append([StreamWrite(stream, len(acknowledged), [event])])
            acknowledged[str(event.event_id)] = time.monotonic()
            await anyio.sleep(chance.uniform(pause / 2, 1.5 * pause))
    print(json.dumps(acknowledged), flush=True)


async def follow(url: str, seconds: float, begin: Sequence["subprocess.Popen[str]"]) -> Mapping[str, float]:
    """Let the writers begin, follow the feed until it stands still, and return when each event was there."""
    seen: dict[str, float] = {}
    async with open_postgresql_event_store(url) as store, Subscription(store) as subscription:
        for process in begin:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        until = time.monotonic() + seconds + 1
        while time.monotonic() < until:
            batch = await subscription.next_within(0.5)
            now = time.monotonic()
            if batch is not None:
                seen |= {str(event.event_id): now for event in batch.events}
    return seen


def measure(url: str, writers: int, pause: float, *, seconds: float) -> Measure:
    """Return the figures of one run."""
    running: list[subprocess.Popen[str]] = []
    try:
        for number in range(writers):
            command = [sys.executable, "-m", "benchmarks.processes.wakeup", "--writer", url, str(number), str(pause), str(seconds)]
            running.append(subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        for process in running:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n", "a writing process has ended"
        seen = anyio.run(follow, url, seconds, running)
    finally:
        told = [process.communicate()[0] for process in running]
    acknowledged = {event: at for one in told for event, at in json.loads(one).items()}
    waits = [seen[event] - at for event, at in acknowledged.items()]
    return {"per_second": len(waits) / seconds, "p50_us": quantile(waits, 50), "p99_us": quantile(waits, 99)}


def table(measures: Mapping[str, Measure]) -> str:
    """Return the figures as a table in Markdown."""
    lines = ["| Case | Appends/s | p50 | p99 |", "|---|---|---|---|"]
    for title, one in measures.items():
        lines.append(f"| {title} | {one['per_second']:,.0f} | {one['p50_us'] / 1e3:.1f} ms | {one['p99_us'] / 1e3:.1f} ms |")
    return "\n".join(lines)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.processes.wakeup", description="Measure the wake-up of a follower.")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--writer", nargs=4, metavar=("URL", "NUMBER", "PAUSE", "SECONDS"))
    given = parser.parse_args()
    if given.writer:
        url, number, pause, seconds = given.writer
        anyio.run(write, url, int(number), float(pause), float(seconds))
        return
    found: dict[str, list[Measure]] = {}
    with server({"fsync": "on"}) as one:
        for number in range(given.rounds):
            for at, (title, writers, pause) in enumerate(CASES):
                for way, option in WAYS.items():
                    url = f"{one.url}?schema=round_{number}_{at}_{way}"
                    migrate(url)
                    found.setdefault(f"{title}, {way}", []).append(measure(url + option, writers, pause, seconds=given.seconds))
    print(table({title: {name: median(run[name] for run in runs) for name in runs[0]} for title, runs in found.items()}))


if __name__ == "__main__":
    main()
