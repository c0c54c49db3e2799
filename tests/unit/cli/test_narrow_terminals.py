"""Tables in terminals of any width: no figure is lost or cut, and what is left out is named."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from inventory_es.cli.app import run
from inventory_es.sync import open_inventory

PRODUCT = "espresso-1kg-whole-beans-fairtrade"
Show = Callable[..., list[str]]


@pytest.fixture
def show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Show:
    """Runs a command in a terminal of so many columns, over a store with 12,345 on hand and 678 reserved; gives its lines."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INVENTORY_ES_URL", "file:stock")
    with open_inventory("file:stock") as inventory:
        inventory.add_stock(PRODUCT, "main", 12_345)
        inventory.reserve(PRODUCT, "main", 678, ttl=None, reservation_id="reservation-of-a-large-customer")
    assert run(["project", "--read-model", "rows.db", "--once"]) == 0
    capsys.readouterr()

    def shown(width: int, *arguments: str) -> list[str]:
        monkeypatch.setenv("COLUMNS", str(width))
        assert run(arguments) == 0
        return capsys.readouterr().out.splitlines()

    return shown


CALLS: dict[str, tuple[list[str], list[str]]] = {
    "history": ([PRODUCT, "main"], ["12,345", "678"]),
    "ledger": ([PRODUCT, "main"], ["12,345", "678"]),
    "explain": ([PRODUCT, "main"], ["12,345", "678", "11,667"]),
    "stock": ([PRODUCT, "main"], ["12,345", "678", "11,667"]),
    "low-stock": (["--threshold", "99999"], ["11,667"]),
    "watch": (["--once", "--read-model", "rows.db"], ["12,345", "11,667"]),
    "project": (["--once", "--read-model", "rows.db"], ["none"]),
}


@pytest.mark.parametrize("width", [200, 80, 60, 40, 30, 20])
@pytest.mark.parametrize("name", CALLS)
def test_a_balance_is_shown_whole_in_any_width(name: str, width: int, show: Show) -> None:
    arguments, figures = CALLS[name]
    lines = show(width, name, *arguments)
    words = re.split(r"\s+", " ".join(lines))
    assert [figure for figure in figures if figure not in words] == []
    whole = {line for line in lines if line.startswith((PRODUCT, "  "))}  # the heading of one product goes on in the next line
    assert [line for line in lines if len(line) > width and line not in whole] == []


@pytest.mark.parametrize("name", ["history", "ledger", "explain", "low-stock", "watch", "project"])
def test_what_is_left_out_is_named(name: str, show: Show) -> None:
    arguments, _ = CALLS[name]
    assert "a wider terminal shows" not in " ".join(show(200, name, *arguments))
    text = " ".join(" ".join(show(20, name, *arguments)).split())
    assert "… a wider terminal shows " in text


def test_names_are_shortened_with_a_sign(show: Show) -> None:
    line = next(line for line in show(40, "watch", "--once") if line.startswith("esp"))
    assert "…" in line.split()[0]


def test_a_stream_is_named_whole_in_any_width(show: Show) -> None:
    assert show(20, "streams")[0].endswith("inventory-espresso%2d1kg%2dwhole%2dbeans%2dfairtrade-main")
    assert json.loads(show(20, "streams", "--json")[0])["version"] == 2


def test_a_wide_table_is_as_it_was(show: Show) -> None:
    header = show(120, "ledger", PRODUCT, "main")[0]
    assert header.split() == ["version", "time", "movement", "±", "hand", "±", "held", "on", "hand", "reserved"]
