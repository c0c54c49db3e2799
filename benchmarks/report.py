"""The results as a page of Markdown."""

from collections.abc import Iterator, Sequence

from benchmarks.bounds import bounds
from benchmarks.figures import AS_IT_COMES, Found, best_durable_peer, each, figure, growth, names, ratio, slope, spread

Cells = Sequence[str]

CASES = {
    "W1": "W1",
    "W1c": "W1c",
    "W2": "W2",
    "W3 64": "W3, 64 callers",
    "W3 sold out": "sold out",
    "W4": "W4",
}


def report(found: Found) -> str:
    """Return every table for which the run has figures."""
    parts = [
        *_header(found),
        *_section("All contenders", _all(found)),
        *_section("The hot product (W3)", _hot(found)),
        *_section("Threads of the synchronous service (W3)", _threads(found)),
        *_section("One caller, beside the limits of the machine (W1)", _one_caller(found)),
        *_section("Beside the best durable peer", _beside(found)),
        *_section("What we hold ourselves to", _held(found)),
        *_section("Import and memory (W5)", _startup(found)),
        *_section("Growth (W6)", _growth(found)),
        *_section("The first command on a cold stream, with and without a snapshot", _cold(found)),
        *_section("Queries of stock, in process", _queries(found)),
        *_section("Below the codec", _codec(found)),
        *_section("Where a command on the hot product spends its time", _profile(found)),
        *_section("How much the rounds differ", _noise(found)),
        *_section("Versions", _versions(found)),
    ]
    if found["failures"]:
        parts += ["", "## Not measured", "", *(f"- {one}" for one in found["failures"])]
    return "\n".join(parts) + "\n"


def short(value: float | None) -> str:
    """Return a number with three significant digits."""
    if value is None:
        return ""
    for size, unit in ((1e6, " M"), (1e4, " k")):
        if value >= size:
            amount = value / (1e6 if unit == " M" else 1e3)
            return f"{amount:.{0 if amount >= 99.5 else 1}f}{unit}"
    return f"{value:,.0f}" if value >= 99.5 else f"{value:.3g}"


def table(rows: Sequence[Cells]) -> Iterator[str]:
    """Return a table, with the first row as its head."""
    head, *body = rows
    yield f"| {' | '.join(head)} |"
    yield f"| --- |{' ---: |' * (len(head) - 1)}"
    for row in body:
        yield f"| {' | '.join(row)} |"


def _header(found: Found) -> Iterator[str]:
    about, machine, versions = found["about"], found["about"]["machine"], found["about"]["versions"]["inventory_es"]
    yield "<!-- Written by `python -m benchmarks`: run that instead of editing this. -->"
    yield ""
    if about["is_small"]:
        yield "**Small sizes: this run shows that everything runs, not how fast it is.**"
        yield ""
    yield (
        f"{machine['processor']}, {machine['cores']} cores, {machine['system']}, {machine['file system']}; Python "
        f"{versions['python']}, SQLite {versions['sqlite']}; {about['rounds']} rounds, "
        f"contenders alternating, {about['seconds']} s in all; load before the run {machine['load before']}. "
        "Rates are operations per second, medians of the rounds."
    )


def _section(title: str, rows: Sequence[Cells]) -> Iterator[str]:
    if len(rows) < 2:
        return
    yield from ("", f"## {title}", "")
    yield from table(rows)


def _all(found: Found) -> list[Cells]:
    rows: list[Cells] = [("", *CASES.values(), "synced")]
    for is_durable in (True, False):
        for ours in (True, False):
            rows += [
                (_named(name, ours=ours), *(short(figure(found, name, case)) for case in CASES), "yes" if is_durable else "no")
                for name in names(found, ours=ours, durable=is_durable)
            ]
    return rows


def _hot(found: Found) -> list[Cells]:
    callers = [f"W3 {number}" for number in found["about"]["sizes"]["callers"]]
    rows: list[Cells] = [
        ("", *(f"{case.removeprefix('W3 ')} callers" for case in callers), "p50 / p99 of 64, ms", "reserve + commit", "sold out")
    ]
    for is_durable in (True, False):
        for ours in (True, False):
            for name in names(found, ours=ours, durable=is_durable):
                middle, worst = figure(found, name, "W3 64", "p50_us"), figure(found, name, "W3 64", "p99_us")
                waits = "" if middle is None or worst is None else f"{short(middle / 1e3)} / {short(worst / 1e3)}"
                rates = (short(figure(found, name, case)) for case in callers)
                last = (short(figure(found, name, case)) for case in ("W3 pairs", "W3 sold out"))
                if middle is not None:
                    rows.append((_named(name, ours=ours), *rates, waits, *last))
    return rows


def _threads(found: Found) -> list[Cells]:
    counts = found["about"]["sizes"].get("threads", ())
    rows: list[Cells] = [("", *(f"{number} threads" for number in counts), "p50 / p99 of 32, ms")]
    for name in (f"{store}, threads" for store in ("file", "SQLite", "memory")):
        middle, worst = figure(found, name, "W3 32", "p50_us"), figure(found, name, "W3 32", "p99_us")
        if middle is not None and worst is not None:
            rates = (short(figure(found, name, f"W3 {number}")) for number in counts)
            rows.append((_named(name, ours=True), *rates, f"{short(middle / 1e3)} / {short(worst / 1e3)}"))
    return rows


def _one_caller(found: Found) -> list[Cells]:
    rows: list[Cells] = [("", "p50, µs", "p99, µs", "limit", "its p50, µs", "ratio")]
    for name in names(found, ours=True, durable=True):
        limits = [case for case in found["rounds"][name] if case.startswith("limit ") and "p50_us" in found["rounds"][name][case][0]]
        rows += [
            (
                _named(name, ours=True),
                short(figure(found, name, "W1", "p50_us")),
                short(figure(found, name, "W1", "p99_us")),
                limit.removeprefix("limit "),
                short(figure(found, name, limit, "p50_us")),
                _two(ratio(found, name, "W1", limit)),
            )
            for limit in limits
        ]
    return rows


def _beside(found: Found) -> list[Cells]:
    rows: list[Cells] = [("", "file, asyncio", "SQLite, asyncio", "best durable peer", "its rate", "file", "SQLite")]
    for case, title in CASES.items():
        for barring in ((), AS_IT_COMES):
            best = best_durable_peer(found, case, barring=barring)
            if best is None or (barring and best == best_durable_peer(found, case)):
                continue
            file, sqlite = figure(found, "file, asyncio", case), figure(found, "SQLite, asyncio", case)
            times = (f"{short(one / best[1])} ×" if one else "" for one in (file, sqlite))
            rows.append((f"{title}, unhelped" if barring else title, short(file), short(sqlite), best[0], short(best[1]), *times))
    return rows


def _held(found: Found) -> list[Cells]:
    rows: list[Cells] = [("", "bound", "this run", "")]
    rows += [(one.what, one.bound, one.told, "held" if one.is_held else "**not held**") for one in bounds(found)]
    return rows


def _startup(found: Found) -> list[Cells]:
    rows: list[Cells] = [("", "time, ms", "processor time, ms", "peak memory, MB")]
    for what in ("nothing", "its dependencies", "inventory_es"):
        row = found["alone"].get("inventory_es", {}).get(f"W5 import {what}")
        if row:
            rows.append((f"import {what}", short(row["wall_ms"]), short(row["busy_ms"]), short(row["peak_mb"])))
    for store in ("file", "sqlite"):
        row = found["alone"].get("inventory_es", {}).get(f"W5 replay {store}")
        if row:
            rows.append((f"replay {row['events']:,.0f} events, {store}: on top", "", "", short(row["peak_mb"])))
    return rows


def _growth(found: Found) -> list[Cells]:
    sizes = found["about"]["sizes"]["growth"]
    rows: list[Cells] = [("", "what grows", *(f"{size:,}" for size in sizes), "slope")]
    for contender in ("file, asyncio", "SQLite, asyncio", "memory, asyncio"):
        for name, title in (
            ("command_us", "command, µs"),
            ("command_busy_us", "command, processor µs"),
            ("feed_page_us", "newest 100 of the feed, µs"),
            ("opening_us", "opening, µs"),
            ("first_command_us", "first command, cold, µs"),
        ):
            for what in ("events", "streams", "open reservations"):
                points = growth(found, contender, what, name)
                if points:
                    rows.append((f"{contender}: {title}", what, *(short(cost) for _, cost in points), _two(slope(points))))
    return rows


def _cold(found: Found) -> list[Cells]:
    rows: list[Cells] = [("", "events", "whole history, ms", "from a snapshot, ms", "best, ms", "processor, ms")]
    for contender in ("file, asyncio", "SQLite, asyncio"):
        for case, told in found["alone"].get(contender, {}).items():
            if case.startswith("W6 cold "):
                figures = (short(told[name]) for name in ("whole_history_ms", "from_snapshot_ms", "best_ms", "busy_ms"))
                rows.append((contender, f"{int(case.removeprefix('W6 cold ')):,}", *figures))
    return rows


def _queries(found: Found) -> list[Cells]:
    rows: list[Cells] = [("", "p50, µs", "p99, µs")]
    for case, told in found["alone"].get("file, asyncio", {}).items():
        if case.startswith("query of "):
            rows.append((case.removeprefix("query of "), short(told["p50_us"]), short(told["p99_us"])))
    return rows


def _codec(found: Found) -> list[Cells]:
    rows: list[Cells] = [("", "median, µs", "best, µs")]
    for case, measure in found["alone"].get("file, asyncio", {}).items():
        if case.startswith("codec "):
            rows.append((case.removeprefix("codec "), f"{measure['median_us']:.2f}", f"{measure['best_us']:.2f}"))
    return rows


def _profile(found: Found) -> list[Cells]:
    rows: list[Cells] = [("", "share of the loop's thread", "calls a command")]
    for case, measure in found["alone"].get("file, asyncio", {}).items():
        if case.startswith("profile "):
            calls = measure.get("calls_a_command")
            title = case.removeprefix("profile line ").removeprefix("profile of ")
            rows.append((f"`{title}`" if calls is not None else title, f"{measure['share']:.1%}", "" if calls is None else f"{calls:.2f}"))
    return rows


def _noise(found: Found) -> list[Cells]:
    rows: list[Cells] = [("(fastest − slowest) / median", *CASES.values())]
    for ours in (True, False):
        for name in names(found, ours=ours, durable=True):
            values = (each(found, name, case) for case in CASES)
            rows.append((_named(name, ours=ours), *(f"{spread(one):.0%}" if one else "" for one in values)))
    return rows


def _versions(found: Found) -> list[Cells]:
    rows: list[Cells] = [("", "versions")]
    for name, versions in found["about"]["versions"].items():
        rows.append((name, ", ".join(f"{one} {version}" for one, version in sorted(versions.items()) if one not in {"pip", "setuptools"})))
    return rows


def _named(name: str, *, ours: bool) -> str:
    return f"**inventory_es, {name}**" if ours else name


def _two(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
