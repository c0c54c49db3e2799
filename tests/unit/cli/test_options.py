"""What may be given to a command: times as they are printed, names with a typing error, products that nobody knows, a store for orders."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from inventory_es.cli.app import run
from inventory_es.ports import Clock
from inventory_es.sync import open_inventory
from tests.integration.made_up_orders import on, write_orders

Captured = pytest.CaptureFixture[str]


class SetClock(Clock):
    """Stands where it was set."""

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 5, 9, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store in which tea came in at nine (1), at ten (10), and half a second after half past ten (100)."""
    monkeypatch.chdir(tmp_path)
    clock = SetClock()
    with open_inventory("file:stock", clock=clock) as inventory:
        for units, time in ((1, "09:00"), (10, "10:00"), (100, "10:30:00.5")):
            clock.time = datetime.fromisoformat(f"2026-01-05T{time}Z")
            inventory.add_stock("tea", "main", units)
    return "file:stock"


@pytest.mark.parametrize(
    "time,on_hand",
    [
        ("2026-01-05T10:00:00+00:00", 11),
        ("2026-01-05T10:00:00Z", 11),
        ("2026-01-05t10:00:00z", 11),
        ("2026-01-05T09:59:59.999999Z", 1),
        ("2026-01-05T10:00", 11),
        ("2026-01-05 10:00", 11),
        ("2026-01-05T09", 1),
        ("2026-01-05T11:00+01:00", 11),
        ("2026-01-05T11:00+0100", 11),
        ("2026-01-05T11:00+01", 11),
        ("2026-01-05T04:59:59-05:00", 1),
        ("2026-01-05T10:30:00.5", 111),
        ("2026-01-05T10:30:00,499999", 11),
        ("2026-01-05T10:30:00.500000123Z", 111),
        ("2026-01-06", 111),
        ("2026-01-05", 0),
        ("1", 1),
        ("2", 11),
    ],
)
def test_the_stock_at_a_time_however_it_is_written(time: str, on_hand: int, url: str, capsys: Captured) -> None:
    assert run(["stock", "tea", "main", "--url", url, "--as-of", time, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["on_hand"] == on_hand


def test_what_json_prints_can_be_given_back(url: str, capsys: Captured) -> None:
    assert run(["history", "tea", "main", "--url", url, "--json"]) == 0
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for entry, on_hand in zip(printed, (1, 11, 111), strict=True):
        for moment in (entry["recorded_at"], str(entry["version"])):
            assert run(["stock", "tea", "main", "--url", url, "--as-of", moment, "--json"]) == 0
            assert json.loads(capsys.readouterr().out)["on_hand"] == on_hand
    span = ["--since", printed[1]["recorded_at"], "--until", printed[2]["recorded_at"]]
    assert run(["plot", "tea", "main", "--url", url, *span, "--json"]) == 0
    assert [json.loads(line)["on_hand"] for line in capsys.readouterr().out.splitlines()] == [11, 111]


@pytest.mark.parametrize(
    "time",
    ["noon", "2026-02-30", "2026-01-05T25:00", "2026-01-05T10:00+25:00", "0001-01-01T00:00+14:00", "20260105T10", "2026-W02-1", "-1", ""],
)
def test_what_is_no_time_is_told_the_right_spelling(time: str, url: str, capsys: Captured) -> None:
    assert run(["stock", "tea", "main", "--url", url, f"--as-of={time}"]) == 2
    assert f"{time!r} is no time: write 2010-12-01T17:00:00 (UTC)" in capsys.readouterr().err
    assert run(["plot", "tea", "main", "--url", url, f"--since={time}"]) == 2
    assert "is no time" in capsys.readouterr().err


def test_a_version_that_is_not_there_is_told(url: str, capsys: Captured) -> None:
    assert run(["stock", "tea", "main", "--url", url, "--as-of", "4"]) == 2
    assert "version 4 of inventory-tea-main is not there yet: its version is 3" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments,told",
    [
        (["histroy", "tea", "main"], "No such command 'histroy'. Did you mean 'history'?"),
        (["Stock", "tea", "main"], "No such command 'Stock'. Did you mean 'stock'?"),
        (["lowstock"], "No such command 'lowstock'. Did you mean 'low-stock'?"),
        (["xyzzy"], "No such command 'xyzzy'. --help lists them."),
        (["stock", "tea", "main", "--as-off", "1"], "'--as-of'"),
        (["--versoin"], "'--version'"),
    ],
)
def test_a_typing_error_is_told_what_was_meant(arguments: Sequence[str], told: str, capsys: Captured) -> None:
    assert run(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert told in err


@pytest.mark.parametrize("options", [["--url", "file:stock"], ["--url", "file:stock", "--json"]], ids=["text", "json"])
@pytest.mark.parametrize("name", ["stock", "history", "explain", "ledger", "plot"])
def test_a_product_that_nobody_knows_is_told(name: str, options: Sequence[str], url: str, capsys: Captured) -> None:
    for product, store in (("tae", "main"), ("tea", "berlin")):
        assert run([name, product, store, *options]) == 1
        out, err = capsys.readouterr()
        assert err == f"inventory-es: nothing is known of {product} in {store}: 'inventory-es streams' lists what there is\n"
        assert (out != "") == (name in {"stock", "explain"})
        assert run([name, "tea", "main", *options]) == 0
        assert capsys.readouterr().err == ""


def test_a_product_that_nobody_knows_is_told_from_rows_too(url: str, capsys: Captured) -> None:
    assert run(["project", "--url", url, "--read-model", "rows.db", "--once"]) == 0
    capsys.readouterr()
    for name in ("ledger", "plot"):
        assert run([name, "tae", "main", "--read-model", "rows.db"]) == 1
        assert "nothing is known of tae in main" in capsys.readouterr().err


def test_a_known_product_is_no_unknown_one_where_nothing_is_asked_of_it(url: str, capsys: Captured) -> None:
    assert run(["history", "tea", "main", "--url", url, "--after", "99"]) == 0
    assert run(["stock", "tea", "main", "--url", url, "--as-of", "2020-01-01"]) == 0
    assert capsys.readouterr().err == ""


def test_orders_are_booked_into_the_store_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.chdir(tmp_path)
    write_orders(tmp_path / "orders.csv", [("1", "mug", 5, on("2010-12-01 09:00")), ("2", "mug", 1, on("2010-12-01 10:00"))])
    for store in ("berlin", "main", "berlin"):
        assert run(["replay", "orders.csv", "--url", "file:stock", "--opening", "10", "--store", store]) == 0
    assert run(["replay", "orders.csv", "--url", "file:stock", "--opening", "10"]) == 0
    capsys.readouterr()
    assert run(["streams", "inventory-", "--url", "file:stock"]) == 0
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == ["inventory-mug-berlin", "inventory-mug-main"]
    for store in ("berlin", "main"):
        assert run(["stock", "mug", store, "--url", "file:stock", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["on_hand"] == 4
    assert run(["replay", "orders.csv", "--url", "file:stock", "--store", ""]) == 2
