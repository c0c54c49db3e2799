"""The tables of the page on one database and many application servers."""

from collections.abc import Iterator, Sequence
from statistics import median

from benchmarks.figures import Found, each, figure
from benchmarks.report import short, table

CASES = {
    "W1": "W1: one caller",
    "W1c": "W1c: 64 callers, 1,000 products",
    "W3 64": "W3: 64 callers, one product",
    "W2": "W2: one stream read",
    "W4": "W4: the feed read",
}
RAW, OURS = "raw lock and statement", "inventory_es"


def report_postgresql(found: Found) -> str:
    """Return the tables of a run."""
    parts = ["<!-- Written by `python -m benchmarks.postgresql`: run that instead of editing this. -->", *_contenders(found)]
    parts += [*_processes(found), *_follower(found)]
    if found["failures"]:
        parts += ["", "Not measured:", "", *(f"- {one}" for one in found["failures"])]
    return "\n".join(parts) + "\n"


def _contenders(found: Found) -> Iterator[str]:
    about = found["about"]
    yield from ("", "### One process", "")
    yield f"Per second; in brackets the ratio of ours to it, the median of the ratios of {about['rounds']} rounds."
    yield ""
    rows: list[Sequence[str]] = [("", *CASES.values())]
    measured = [one["name"] for one in found["contenders"] if one["name"] in found["rounds"]]
    rows += [(name, *(_cell(found, name, case) for case in CASES)) for name in measured]
    yield from table(rows)
    yield ""
    machine = about["machine"]
    yield f"{machine['processor']}, {machine['cores']} cores, shared by the server and its clients; {machine['system']}."


def _cell(found: Found, name: str, case: str) -> str:
    rate = figure(found, name, case)
    if rate is None:
        return ""
    ours, theirs = each(found, OURS, case), each(found, name, case)
    beside = "" if name == OURS else f" ({short(median(one / other for one, other in zip(ours, theirs, strict=False)))})"
    return f"{short(rate)}{beside}"


def _processes(found: Found) -> Iterator[str]:
    yield from ("", "### Several processes", "")
    yield "The number is that of the processes, with 16 callers each. A share of 1 is fair to the process served least, 0 starves it."
    yield ""
    rows: list[Sequence[str]] = [("", "reservations/s", "of one process", "share", "p50", "p99 / p50", "decided", "failed")]
    alone = found["alone"]["one product"]["turns, 1"]["per_second"]
    for title in ("one product", "more products"):
        for case, one in found["alone"][title].items():
            name = f"one product, {case}" if title == "one product" else case
            beside = f"{one['per_second'] / alone:.2f}" if title == "one product" else ""
            rates = (short(one["per_second"]), beside, f"{one['least_share']:.2f}")
            waits = (f"{one['p50_us'] / 1e3:.1f} ms", f"{one['p99_us'] / one['p50_us']:.1f}")
            rows.append((name, *rates, *waits, f"{one['decided_a_command']:.2f}", f"{one['failed']:.0f}"))
    yield from table(rows)


def _follower(found: Found) -> Iterator[str]:
    yield from ("", "### A follower", "")
    yield "The time from an acknowledgement until a follower in the same machine has the event."
    yield ""
    rows: list[Sequence[str]] = [("", "p50", "p99")]
    rows += [(case, f"{one['p50_us'] / 1e3:.1f} ms", f"{one['p99_us'] / 1e3:.1f} ms") for case, one in found["alone"]["follower"].items()]
    yield from table(rows)
