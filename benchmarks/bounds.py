"""The engine's performance bounds, and whether a run keeps them."""

from collections.abc import Iterator

import attrs

from benchmarks.figures import AS_IT_COMES, Found, alone, best_durable_peer, figure, growth, ratio, slope

FLAT = 0.1
"""The steepest slope that counts as flat: a quarter more at ten times the size."""


@attrs.frozen
class Bound:
    """One bound.

    Attributes:
        what: the figure, in words.
        bound: the bound, in words.
        told: the figure of this run.
        is_held: True if the run keeps the bound.
    """

    what: str
    bound: str
    told: str
    is_held: bool


def bounds(found: Found) -> list[Bound]:
    """Yield the bounds for which the run has figures."""
    return [*_rates(found), *_ratios(found), *_threads(found), *_peers(found), *_startup(found), *_flat(found)]


def _rates(found: Found) -> Iterator[Bound]:
    for contender, case, least in (
        ("file, asyncio", "W3 64", 20_000),
        ("file, trio", "W3 64", 16_000),
        ("file, asyncio", "W3 512", 25_000),
        ("SQLite, asyncio", "W3 64", 15_000),
        ("file, asyncio", "W3 sold out", 60_000),
        ("file, asyncio", "W1c", 15_000),
        ("SQLite, asyncio", "W1c", 10_000),
        ("file, asyncio", "W2", 250_000),
        ("SQLite, asyncio", "W2", 250_000),
        ("file, asyncio", "W4", 250_000),
    ):
        rate = figure(found, contender, case)
        if rate is not None:
            yield Bound(f"{case}, {contender}", f"at least {least:,} a second", f"{rate:,.0f}", rate >= least)
    for contender in ("file, asyncio", "file, trio", "SQLite, asyncio"):
        wait = figure(found, contender, "W3 64", "p99_us")
        if wait is not None:
            yield Bound(f"W3 64, {contender}, p99", "under 10 ms", f"{wait / 1e3:.1f} ms", wait < 10_000)


def _ratios(found: Found) -> Iterator[Bound]:
    for contender, limit, most in (
        ("file, asyncio", "write + fdatasync + thread hop", 1.25),
        ("file, trio", "write + fdatasync + thread hop", 1.25),
        ("file, asyncio", "write + fdatasync", 3.0),
        ("file, trio", "write + fdatasync", 3.5),
    ):
        times = ratio(found, contender, "W1", f"limit {limit}")
        if times is not None:
            yield Bound(f"W1, {contender}, p50", f"at most {most} of one {limit}", f"{times:.2f}", times <= most)
    share = ratio(found, "file, asyncio", "W2", "limit codec alone", "per_second")
    if share is not None:
        yield Bound("W2, file, asyncio", "half of what decoding alone does", f"{share:.2f}", share >= 0.5)


def _threads(found: Found) -> Iterator[Bound]:
    """Yield the bounds of the synchronous service, whose callers are threads."""
    for ours, case, least, other, its_case in (
        ("memory, threads", "W1", 1.8, "eventsourcing, memory, its cache", "W1"),
        ("SQLite, threads", "W1", 1.5, "eventsourcing, SQLite, its cache", "W1"),
        ("file, threads", "W3 32", 0.5, "file, asyncio", "W3 64"),
        ("file, threads", "W1c 32", 0.6, "file, asyncio", "W1c"),
    ):
        rate, its_rate = figure(found, ours, case), figure(found, other, its_case)
        if rate is not None and its_rate is not None:
            times = rate / its_rate
            yield Bound(f"{case}, {ours}", f"at least {least} times {other}, {its_case}", f"{times:.2f}", times >= least)
    times_raw = ratio(found, "file, threads", "W1", "limit write + fdatasync")
    if times_raw is not None:
        yield Bound("W1, file, threads, p50", "at most 1.7 of one write + fdatasync", f"{times_raw:.2f}", times_raw <= 1.7)


def _peers(found: Found) -> Iterator[Bound]:
    for case, least, whom, barring in (
        ("W3 64", 25, "the best durable peer with its cache", ("lock",)),
        ("W3 64", 300, "the best durable peer without", AS_IT_COMES),
        ("W1c", 4, "the best durable peer", ("lock",)),
        ("W2", 5, "the best durable peer", ()),
        ("W4", 2.5, "the best embedded durable peer", ("server",)),
    ):
        best, rate = best_durable_peer(found, case, barring=barring), figure(found, "file, asyncio", case)
        if best is not None and rate is not None:
            yield Bound(f"{case}, file, asyncio", f"{least} times {whom}", f"{rate / best[1]:.1f} ({best[0]})", rate / best[1] >= least)


def _startup(found: Found) -> Iterator[Bound]:
    own, below = (alone(found, "inventory_es", f"W5 import {one}", "busy_ms") for one in ("inventory_es", "its dependencies"))
    if own is not None and below is not None:
        yield Bound("W5, import", "at most 1.3 times its dependencies' own", f"{own / below:.2f}", own / below <= 1.3)
    memory, nothing = (alone(found, "inventory_es", f"W5 import {one}", "peak_mb") for one in ("inventory_es", "nothing"))
    if memory is not None and nothing is not None:
        yield Bound("W5, import, memory on top of the interpreter", "20 MB", f"{memory - nothing:.1f} MB", memory - nothing <= 20)
    for store in ("file", "sqlite"):
        peak = alone(found, "inventory_es", f"W5 replay {store}", "peak_mb")
        if peak is not None:
            yield Bound(f"W2, {store}, peak memory on top", "45 MB", f"{peak:.1f} MB", peak <= 45)


def _flat(found: Found) -> Iterator[Bound]:
    for contender in ("file, asyncio", "SQLite, asyncio"):
        wait = alone(found, contender, "W6 cold 1000000", "from_snapshot_ms")
        if wait is not None:
            yield Bound(f"W6, {contender}, first command of a million events, with a snapshot", "50 ms", f"{wait:.1f} ms", wait <= 50)
    for contender in ("file, asyncio", "SQLite, asyncio"):
        for what in ("events", "streams", "open reservations"):
            for name, title in (("command_busy_us", "command"), ("opening_us", "opening")):
                points = growth(found, contender, what, name)
                if len(points) > 1:
                    power = slope(points)
                    title_of = f"W6, {contender}, {title} as {what} grow"
                    yield Bound(title_of, f"flat: slope at most {FLAT}", f"{power:+.2f}", power <= FLAT)
