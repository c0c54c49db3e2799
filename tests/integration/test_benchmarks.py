"""Every workload runs, at a tiny size, on every store and on both event loops. No figure is looked at but those that count."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import anyio
import attrs
import pytest

from benchmarks.contenders import OURS, POSTGRESQL, RAW, Contender
from benchmarks.engine import threads
from benchmarks.engine.codec import codec
from benchmarks.engine.commands import commands
from benchmarks.engine.growth import growth
from benchmarks.engine.hot import hot
from benchmarks.engine.log import Logs
from benchmarks.engine.profile import profile
from benchmarks.engine.queries import queries
from benchmarks.engine.snapshots import snapshots
from benchmarks.engine.store_url import url_of
from benchmarks.postgresql import measure
from benchmarks.processes.model import Way
from benchmarks.processes.study import checked, paper
from benchmarks.processes.turns import table, turns
from benchmarks.report import report
from benchmarks.report_postgresql import report_postgresql
from benchmarks.report_processes import report_processes
from benchmarks.sizes import TINY
from benchmarks.suite import run
from inventory_es import open_inventory
from tests.servers.postgresql import database

STORES = ("memory", "file", "sqlite")


@pytest.mark.parametrize("store", STORES)
def test_commands(store: str, backend: str, tmp_path: Path) -> None:
    measures = anyio.run(commands, store, tmp_path, TINY, backend=backend)
    assert {case: measure["calls"] for case, measure in measures.items() if case.startswith("W")} == {"W1": 5, "W1c": 20}
    assert len(measures) == {"memory": 2, "file": 4, "sqlite": 4}[store]


def test_turns_on_postgresql() -> None:
    with database() as url:
        measures = turns(url, (("turns", "lanes", 2, 1), ("race", "racing", 2, 2)), seconds=0.5, rounds=1)
    assert list(measures) == ["turns", "race"]
    assert all(measure["per_second"] > 0 and measure["decided_a_command"] >= 1 for measure in measures.values())
    assert re.findall(r"^\| (\w+) \|", table(measures), re.MULTILINE) == ["Case", "turns", "race"]


def test_everything_on_postgresql() -> None:
    cases: Sequence[tuple[str, Way, int, int]] = (("turns, 1", "lanes", 1, 1), ("racing, 2", "racing", 2, 1))
    found = measure((RAW, POSTGRESQL), TINY | {"patience": 0.2}, hot=cases, spread=cases[1:], rounds=1, say=lambda _: None)
    assert found["failures"] == []
    for name in ("raw lock and statement", "inventory_es"):
        assert all(found["rounds"][name][case][0]["per_second"] > 0 for case in ("W1", "W1c", "W2", "W3 64", "W4"))
    page = report_postgresql(found)
    assert re.findall(r"^\| ([a-z0-9][\w ,]*) \|", page, re.MULTILINE) == [
        "raw lock and statement",
        "inventory_es",
        "one product, turns, 1",
        "one product, racing, 2",
        "racing, 2",
        "1 writers",
        "8 writers",
    ]
    assert len(re.findall(r"\([\d.]+\)", page)) == 5, "the raw work is compared with ours in each case"


@pytest.mark.parametrize("store", STORES)
def test_hot_product(store: str, backend: str, tmp_path: Path) -> None:
    measures = anyio.run(hot, store, tmp_path, TINY, backend=backend)
    assert {case: measure["calls"] for case, measure in measures.items()} == {"W3 1": 64, "W3 64": 64, "W3 pairs": 32, "W3 sold out": 40}


@pytest.mark.parametrize("store", STORES)
def test_threads(store: str, tmp_path: Path) -> None:
    (tmp_path / "commands").mkdir()
    (tmp_path / "hot").mkdir()
    measures = threads.commands(store, tmp_path / "commands", TINY) | threads.hot(store, tmp_path / "hot", TINY)
    assert {case: measure["calls"] for case, measure in measures.items() if case.startswith("W")} == {
        "W1": 5,
        "W1c": 20,
        "W1c 32": 20,
        **dict.fromkeys(("W3 1", "W3 32", "W3 64"), 64),
        "W3 pairs": 32,
        "W3 sold out": 40,
    }
    assert [case for case in measures if case.startswith("limit ")] == {
        "memory": [],
        "file": ["limit write + fdatasync"],
        "sqlite": ["limit BEGIN IMMEDIATE … COMMIT"],
    }[store]


@pytest.mark.parametrize("store", STORES[1:])
def test_the_hot_product_has_been_reserved_before_and_the_sale_has_not(store: str, tmp_path: Path) -> None:
    async def versions() -> dict[str, int]:
        async with open_inventory(url_of(store, tmp_path)) as inventory:
            return {product: (await inventory.stock(product, "main")).version for product in ("hot-1", "hot-64", "pairs", "sale")}

    anyio.run(hot, store, tmp_path, TINY)
    before = 1 + TINY["history"]
    assert anyio.run(versions) == {"hot-1": before + 64, "hot-64": before + 64, "pairs": before + 2 * 32, "sale": 1 + 4}


@pytest.mark.parametrize("store", STORES)
def test_log(store: str, backend: str, tmp_path: Path) -> None:
    logs = Logs(store)
    anyio.run(logs.prepare, tmp_path, TINY, backend=backend)
    for _ in range(2):
        measures = anyio.run(logs.read, tmp_path, TINY, backend=backend)
        assert set(measures) == {"W2", "W4", "W4 projection", "limit json + constructor", "limit codec alone"}
        assert measures["W4"]["events"] == 200


@pytest.mark.parametrize("store", STORES)
def test_growth(store: str, backend: str, tmp_path: Path) -> None:
    measures = anyio.run(growth, store, tmp_path, TINY, backend=backend)
    assert set(measures) == {f"W6 {what} {size}" for what in ("events", "streams", "open reservations") for size in (10, 30)}


@pytest.mark.parametrize("store", STORES[1:])
def test_snapshots(store: str, tmp_path: Path) -> None:
    assert set(anyio.run(snapshots, store, tmp_path, TINY)) == {"W6 cold 10", "W6 cold 30"}


def test_queries(backend: str, tmp_path: Path) -> None:
    measures = anyio.run(queries, tmp_path, TINY, backend=backend)
    assert [measure["calls"] for measure in measures.values()] == [500, 500, 500]


def test_codec(tmp_path: Path) -> None:
    assert "codec decode: json, cattrs" in codec(tmp_path, TINY)


def test_profile_has_no_path_of_this_machine(tmp_path: Path) -> None:
    measures = profile("memory", "asyncio", tmp_path, TINY)
    of_the_aggregate = [measure for case, measure in measures.items() if case.startswith("profile line domain.inventory: ")]
    assert {measure["calls_a_command"] for measure in of_the_aggregate} == {1}
    assert [case for case in measures if "/" in case] == []


def test_a_run_takes_turns_and_says_what_it_could_not_measure() -> None:
    nobody = Contender("nobody", ("benchmarks.nowhere",), None)
    said: list[str] = []
    results = run((OURS[0], nobody), TINY, rounds=2, tasks=("hot", "startup"), say=said.append)
    assert [len(measures) for measures in results.rounds[OURS[0].name].values()] == [2] * 4
    (failure,) = results.failures
    assert re.fullmatch(r"nobody, hot: its process has ended: …/python[\d.]*: No module named benchmarks\.nowhere", failure)
    assert said[:2] == ["hot: round 1 of 2", "hot: round 2 of 2"]
    assert results.alone["inventory_es"]["W5 replay file"]["events"] == 50
    described = {"contenders": [{"name": OURS[0].name, "is_ours": True, "is_durable": True}]}
    page = report(json.loads(json.dumps(attrs.asdict(results) | described)))
    assert "## The hot product (W3)" in page
    assert "- nobody, hot: its process has ended" in page


def test_several_processes_are_simulated_and_measured(tmp_path: Path) -> None:
    measured = checked("file", tmp_path, TINY)
    found = {"about": {"sizes": TINY}, "alone": {"processes": paper(TINY), "processes, file": measured}}
    assert [case for case, measure in measured.items() if measure.get("per_second") == 0] == []
    page = report_processes(found)
    assert "| file: lanes in every process, one product | 2 |" in page
    assert "| all want one product: lanes, streams routed |" in page
    assert report_processes({"alone": {}}) == ""
