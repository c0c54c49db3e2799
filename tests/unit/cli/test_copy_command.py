"""``inventory-es copy``: what it prints, what it refuses, and that a look never makes a store."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from inventory_es.cli.app import run
from inventory_es.sync import open_inventory
from inventory_es.testing import ManualClock


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store in a folder, with two events in two streams."""
    monkeypatch.chdir(tmp_path)
    with open_inventory("file:stock") as inventory:
        inventory.add_stock("mug", "main", 10)
        inventory.add_stock("[bold]", "main", 1)
    return "file:stock"


def test_it_tells_a_person_what_is_there(source: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["copy", source, "sqlite:stock.db"]) == 0
    out, err = capsys.readouterr()
    assert "✓ sqlite:stock.db holds the 2 events in 2 streams of file:stock, compared one by one" in out
    assert "2 of them are new" in out
    assert "so checkpoints hold" in out
    assert err == ""
    assert run(["copy", source, "sqlite:stock.db"]) == 0
    assert "nothing was left to copy" in capsys.readouterr().out
    with open_inventory("sqlite:stock.db") as inventory:
        assert inventory.stock("mug", "main").on_hand == 10


def test_it_tells_a_program(source: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["copy", source, "memory:", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found.pop("seconds") >= 0
    told = {"events": 2, "events_now": 2, "streams": 2, "position": 2, "keeps_positions": True}
    assert found == {"source": "file:stock", "target": "memory:", **told}


@pytest.mark.parametrize(
    "arguments, code, words",
    [
        (["file:stock"], 2, "Missing argument 'TO'"),
        (["file:stock", "stock.db"], 2, "write 'file:stock.db'"),
        (["file:stock", "file:../{here}/stock"], 2, "FROM and TO are the same store"),
        (["file:nowhere", "sqlite:new.db"], 3, "nowhere is no file store that this version can open: there is no format.json"),
        (["sqlite:nowhere.db", "file:new"], 3, "nowhere.db is no sqlite store that this version can open: there is no such file"),
        (["file:stock", "file:other"], 3, "the target is no copy of the source: event 1 of its feed is not that of the source"),
        (["file:stock", "sqlite:nowhere/new.db"], 3, "nowhere/new.db is unavailable"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_makes_no_copy_is_refused_in_one_line(
    arguments: list[str], code: int, words: str, source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_inventory("file:other") as inventory:
        inventory.add_stock("mug", "main", 10)
    assert run(["copy", *(one.format(here=tmp_path.name) for one in arguments)]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err
    assert err.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"stock", "other"}


@pytest.mark.parametrize("command", ["stock mug main", "history mug main", "explain mug main", "streams"])
def test_a_look_makes_no_database(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*command.split(), "--url", f"sqlite:{tmp_path / 'stock.db'}"]) == 3
    assert "there is no such file" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_copy_sets_the_times_of_a_clock_in_the_future_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with open_inventory("file:stock", clock=ManualClock(datetime(2036, 1, 3, 9, tzinfo=UTC))) as inventory:
        inventory.add_stock("mug", "main", 10)
    span = ["--recorded-after", "2030-01-01", "--set-back"]
    assert run(["copy", "file:stock", "file:mended", *span, "3650d"]) == 0
    told = capsys.readouterr().out
    assert "in 1 stream of" in told
    assert "rebuild the read models" in told
    assert "checkpoints hold" not in told
    with open_inventory("file:mended") as inventory:
        assert inventory.as_of("mug", "main", version=1).at == datetime(2026, 1, 5, 9, tzinfo=UTC)
    for wrong, problem in (
        ([*span[:2]], "go together"),
        ([*span, "0d"], "'0d' is no span"),
        ([*span, "3650"], "'3650' is no span"),
        ([*span, "99999999999d"], "longer than the calendar"),
        ([*span, "1d"], "set the times back by more"),
    ):
        assert run(["copy", "file:stock", "memory:", *wrong]) == 2
        told = capsys.readouterr().err
        assert problem in told
        assert told.count("\n") == 1
