"""``ledger`` and ``low-stock``: the same from streams and from rows, for people and for programs."""

import json
from pathlib import Path

import pytest

from inventory_es.cli.app import run
from inventory_es.sync import open_inventory

URL = ["--url", "file:stock"]
ROWS = ["--read-model", "rows.db"]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """A folder with a store, and a read model that is up with it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("INVENTORY_ES_URL", raising=False)
    with open_inventory("file:stock") as inventory:
        inventory.add_stock("mug", "main", 1_000)
        hold = inventory.reserve("mug", "main", 990, ttl=None, reservation_id="order-1")
        inventory.commit(hold, 2)
        inventory.release(hold)
        inventory.adjust("mug", "main", -1, reason="DAMAGE")
        inventory.add_stock("[bold]", "main", 3)
        inventory.add_stock("cup", "harbour", 5)
        inventory.reserve("cup", "harbour", 5, ttl=None)
    assert run(["project", *URL, *ROWS, "--once"]) == 0
    capsys.readouterr()
    return tmp_path


def told(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert run(arguments) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return str(out)


@pytest.mark.parametrize("question", ["ledger mug main", "ledger mug main --last 3", "low-stock --threshold 3"])
@pytest.mark.parametrize("style", [[], ["--json"]])
def test_streams_and_rows_say_the_same(question: str, style: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert told([*question.split(), *style, *URL], capsys) == told([*question.split(), *style, *ROWS], capsys) != ""


def test_a_ledger_has_the_running_balance_in_80_columns(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = told(["ledger", "mug", "main", *URL], capsys).splitlines()
    assert [line.split()[3:] for line in lines[1:]] == [
        ["received", "+1,000", "1,000", "0"],
        ["reserved", "+990", "1,000", "990"],
        ["sold", "-2", "-2", "998", "988"],
        ["cancelled", "-988", "998", "0"],
        ["damage", "-1", "997", "0"],
    ]
    assert max(map(len, lines)) <= 80
    assert lines[0].split()[-1] == "reserved"
    entries = [json.loads(line) for line in told(["ledger", "mug", "main", *ROWS, "--json"], capsys).splitlines()]
    assert [entry["on_hand"] for entry in entries] == [1_000, 1_000, 998, 998, 997]
    assert entries[1]["reservation_id"] == "order-1"


@pytest.mark.parametrize("source", [URL, ROWS])
def test_a_long_ledger_comes_in_pages(source: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inventory_es.cli.rows._PAGE", 2)
    monkeypatch.setattr("inventory_es.cli.tables._BLOCK", 2)
    lines = told(["ledger", "mug", "main", *source], capsys).splitlines()
    assert [line.split()[0] for line in lines] == ["version", "1", "2", "3", "4", "5"]
    assert run(["ledger", "nothing", "main", *source]) == 1
    assert capsys.readouterr().out == ""


def test_low_stock_lists_the_lowest_first(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inventory_es.cli.rows._PAGE", 1)
    lines = told(["low-stock", *ROWS, "--threshold", "9"], capsys).splitlines()
    assert [line.split()[:6] for line in lines[1:]] == [["cup", "harbour", "0", "9", "5", "5"], ["[bold]", "main", "3", "9", "3", "0"]]
    assert told(["low-stock", *ROWS, "--threshold", "9", "--limit", "1"], capsys).splitlines()[-1] == "… and 1 more: --limit lists them"
    (row,) = [json.loads(line) for line in told(["low-stock", *ROWS, "--json"], capsys).splitlines()]
    assert (row["product_id"], row["store_id"], row["available"], row["threshold"], row["version"]) == ("cup", "harbour", 0, 0, 2)


@pytest.mark.parametrize("source", [URL, ROWS])
def test_low_stock_of_one_store(source: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert told(["low-stock", *source, "--store", "main"], capsys) == "✓ nothing is low\n"
    assert "cup" in told(["low-stock", *source, "--store", "harbour"], capsys)


def test_products_may_have_thresholds_of_their_own(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "low.csv").write_text("\ufeffnote,threshold,product_id\nx, 997 ,mug\n,2,[bold]\n", encoding="utf-8")
    lines = told(["low-stock", *URL, "--thresholds", "low.csv", "--threshold", "3"], capsys).splitlines()
    assert [(line.split()[0], line.split()[3]) for line in lines[1:]] == [("cup", "3"), ("mug", "997")]


@pytest.mark.parametrize(
    "content, words",
    [
        (b"product,threshold\n", "low.csv:1: column product_id is missing"),
        (b"", "low.csv:1: column product_id is missing"),
        (b"product_id,threshold\nmug,1\nmug,2\n", "low.csv:3: product_id is twice"),
        (b"product_id,threshold\n,2\n", "low.csv:2: product_id is empty"),
        (b"product_id,threshold\nmug,-1\n", "low.csv:2: threshold must be a whole number of 0 or more"),
        (b"product_id,threshold\nmug\n", "low.csv:2: threshold must be a whole number of 0 or more"),
        (b"product_id,threshold\nmug,9999999999999999\n", "low.csv:2: threshold must be"),
        (b"product_id,threshold\nmug,1\nm\xfcg,1\n", "low.csv: it is not UTF-8"),
        (b'product_id,threshold\n"mug"x,1\n', "low.csv:2: ',' expected after '\"'"),
    ],
)
def test_thresholds_that_make_no_sense_are_refused(content: bytes, words: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "low.csv").write_bytes(content)
    assert run(["low-stock", *URL, "--thresholds", "low.csv"]) == 2
    out, err = capsys.readouterr()
    assert words in err
    assert (out, err.count("\n")) == ("", 1)


@pytest.mark.parametrize(
    "arguments, code, words",
    [
        (["ledger", "mug", "main"], 2, "give --url to ask the streams, or --read-model to ask the rows of projections"),
        (["low-stock"], 2, "give --url to ask the streams"),
        (["ledger", "mug", "main", "--read-model", "nowhere.db"], 3, "there is no such file; 'inventory-es project' makes it"),
        (["low-stock", "--read-model", "nowhere.db"], 3, "there is no such file"),
        (["low-stock", "--url", "file:nowhere"], 3, "there is no format.json"),
        (["ledger", "x" * 129, "main", *ROWS], 2, "1 to 128 characters"),
        (["ledger", "mug", "main", *ROWS, "--last", "0"], 2, "0 is not in the range"),
        (["low-stock", *ROWS, "--threshold", "-1"], 2, "-1 is not in the range"),
        (["low-stock", *ROWS, "--thresholds", "nowhere.csv"], 2, "'nowhere.csv' does not exist"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_errors_are_one_line(arguments: list[str], code: int, words: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(place.iterdir())
    assert run(arguments) == code
    out, err = capsys.readouterr()
    assert words in err
    assert (out, err.count("\n")) == ("", 1)
    assert sorted(place.iterdir()) == before


def test_a_read_model_without_these_rows_says_what_fills_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["project", "stock_levels", *URL, "--read-model", "levels.db", "--once"]) == 0
    capsys.readouterr()
    assert run(["ledger", "mug", "main", "--read-model", "levels.db"]) == 3
    assert (
        "levels.db is no read model that this version can open: it has no ledger: 'inventory-es project' fills it"
        in capsys.readouterr().err
    )


def test_the_environment_names_the_store_and_a_read_model_is_asked_before_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("INVENTORY_ES_URL", "file:stock")
    assert "cup" in told(["low-stock"], capsys)
    monkeypatch.setenv("INVENTORY_ES_URL", "file:nowhere")
    assert "cup" in told(["low-stock", *ROWS], capsys)
