"""What tables and plots say is what was measured."""

import pytest

from benchmarks.bounds import bounds
from benchmarks.figures import Found, best_durable_peer, figure, growth, names, ratio, slope, spread
from benchmarks.measure import of_calls
from benchmarks.report import report, short

KINDS = (
    ("file, asyncio", True, True),
    ("file, threads", True, True),
    ("memory, asyncio", True, False),
    ("one", False, True),
    ("one, its cache", False, True),
)


def found(**rounds: dict[str, list[dict[str, float]]]) -> Found:
    contenders = [{"name": name, "is_ours": ours, "is_durable": durable} for name, ours, durable in KINDS]
    about = {
        "sizes": {"callers": [64], "threads": [1, 32], "growth": [10, 100]},
        "is_small": True,
        "rounds": 3,
        "machine": {"processor": "p", "cores": "2", "system": "s", "file system": "f", "load before": "0.1"},
        "versions": {"inventory_es": {"python": "3", "sqlite": "3"}},
        "seconds": 1,
    }
    named = {name.replace("_", " ").replace("  ", ", "): cases for name, cases in rounds.items()}
    return {"about": about, "contenders": contenders, "rounds": named, "alone": {}, "failures": []}


def rates(*values: float) -> list[dict[str, float]]:
    return [{"per_second": value, "p50_us": value, "p99_us": value} for value in values]


def test_calls_have_a_rate_and_quantiles() -> None:
    measure = of_calls([0.001 * number for number in range(1, 102)], 2.0)
    assert measure == pytest.approx({"per_second": 50.5, "calls": 101, "p50_us": 51_000, "p99_us": 100_000})
    assert of_calls([0.5], 1.0)["p99_us"] == 500_000


def test_a_figure_is_the_median_of_the_rounds() -> None:
    run = found(one={"W3 64": rates(5, 100, 7)})
    assert figure(run, "one", "W3 64") == 7
    assert figure(run, "one", "W1") is None
    assert figure(run, "another", "W3 64") is None


def test_a_ratio_pairs_what_met_the_same_round() -> None:
    run = found(file__asyncio={"W1": rates(10, 100, 1_000), "limit sync": rates(5, 50, 100)})
    assert ratio(run, "file, asyncio", "W1", "limit sync") == 2
    assert ratio(run, "file, asyncio", "W1", "limit hop") is None


def test_the_best_peer_is_durable_and_not_ours() -> None:
    run = found(
        file__asyncio={"W1c": rates(99)}, memory__asyncio={"W1c": rates(98)}, one={"W1c": rates(7)}, one__its_cache={"W1c": rates(8)}
    )
    assert best_durable_peer(run, "W1c") == ("one, its cache", 8)
    assert best_durable_peer(run, "W1c", barring=("cache",)) == ("one", 7)
    assert best_durable_peer(run, "W2") is None
    assert names(run, ours=True, durable=True) == ["file, asyncio"]


def test_a_slope_is_the_power_of_size() -> None:
    assert slope([(10, 4.0), (100, 4.0), (1_000, 4.0)]) == pytest.approx(0)
    assert slope([(10, 1.0), (100, 10.0), (1_000, 100.0)]) == pytest.approx(1)
    assert spread([8, 10, 13]) == pytest.approx(0.5)


def test_growth_is_read_in_the_order_of_size() -> None:
    run = found()
    run["alone"] = {"file, asyncio": {"W6 events 100": {"command_us": 5.0}, "W6 events 20": {"command_us": 4.0}, "W6 streams 1": {}}}
    assert growth(run, "file, asyncio", "events", "command_us") == [(20, 4.0), (100, 5.0)]


def test_a_bound_is_held_or_not() -> None:
    run = found(file__asyncio={"W3 64": rates(20_000), "W1c": rates(14_999)}, one={"W1c": rates(3_000)})
    held = {(one.what, one.bound): one.is_held for one in bounds(run)}
    assert held["W3 64, file, asyncio", "at least 20,000 a second"]
    assert not held["W1c, file, asyncio", "at least 15,000 a second"]
    assert held["W1c, file, asyncio", "4 times the best durable peer"]


def test_a_report_shows_what_there_is_and_no_more() -> None:
    page = report(found(file__asyncio={"W3 64": rates(20_000)}, one={"W3 64": rates(400)}))
    assert "| **inventory_es, file, asyncio** | 20.0 k | 20 / 20 |" in page
    assert "| W3, 64 callers | 20.0 k |  | one | 400 | 50 × |  |" in page
    assert "Growth" not in page
    assert "Small sizes" in page


@pytest.mark.parametrize(
    "value, shown", [(None, ""), (0.123, "0.123"), (99.6, "100"), (9_999.4, "9,999"), (22_700, "22.7 k"), (1.26e6, "1.3 M")]
)
def test_three_digits_are_shown(value: float | None, shown: str) -> None:
    assert short(value) == shown


def test_threads_are_compared_with_tasks_of_the_same_run() -> None:
    run = found(
        file__asyncio={"W3 64": rates(100)},
        file__threads={"W3 1": rates(9), "W3 32": rates(49), "W1": rates(3), "limit write + fdatasync": rates(2)},
    )
    told = {one.what: (one.told, one.is_held) for one in bounds(run)}
    assert told["W3 32, file, threads"] == ("0.49", False)
    assert told["W1, file, threads, p50"] == ("1.50", True)
    assert "| **inventory_es, file, threads** | 9 | 49 | 0.049 / 0.049 |" in report(run)
