"""The command line: what it prints, how it ends, and what it says when something is wrong."""

import errno
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from inventory_es.cli.app import COMMANDS, run
from inventory_es.cli.failures import failure
from inventory_es.cli.replay.orders_file import OrdersError
from inventory_es.errors import InsufficientStockError, InvalidQuantityError, StoreUnavailableError
from inventory_es.sync import open_inventory
from tests.integration.made_up_orders import on, write_orders

TOTALS = (
    "rows orders orders_refused adjustments adjustments_refused returns units_sold units_returned units_written_off units_received "
    "units_opening events invoices_in_before inventories invariant_violations seconds events_per_second resumed_at_row"
)


@pytest.fixture
def orders(tmp_path: Path) -> Path:
    """Two orders, a return and a write-off."""
    rows = [("1", "mug", 5), ("1", "[bold]", 1), ("C1", "mug", -2), ("2", "mug", 1), ("3", "mug", -1)]
    times = [on(f"2010-12-01 {hour:02}:00") for hour in (9, 9, 10, 11, 12)]
    return write_orders(tmp_path / "orders.csv", [(*row, at) for row, at in zip(rows, times, strict=True)])


@pytest.fixture
def url(tmp_path: Path, orders: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """A store in a folder that has these orders."""
    url = f"file:{tmp_path / 'stock'}"
    assert run(["replay", str(orders), "--url", url]) == 0
    capsys.readouterr()
    return url


def test_help_tells_every_command_and_loads_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"  {name} " in out for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_that_begins_with_its_sentence_and_takes_json(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([name, "--help"]) == 0
    out = capsys.readouterr().out
    assert COMMANDS[name].rstrip(".") in " ".join(out.split())
    if name == "store":
        assert run([name, "migrate", "--help"]) == 0
        out = capsys.readouterr().out
    assert "--json" in out or name == "consume"  # which writes nothing else
    assert "--url" in out or name in {"copy", "store", "doctor", "consume"}


@pytest.mark.parametrize("argument", ["--version", "--help"])
def test_starting_is_light(argument: str) -> None:
    code = (
        "import sys; from inventory_es.cli.app import run; code = run(sys.argv[1:]); "
        "heavy = {'rich', 'asyncio', 'trio', 'inventory_es.adapters.file'} & sys.modules.keys(); "
        "sys.exit(f'{heavy}' if heavy else code)"
    )
    done = subprocess.run([sys.executable, "-c", code, argument], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_python_m_is_the_same() -> None:
    done = subprocess.run([sys.executable, "-m", "inventory_es", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("inventory-es ")


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_the_extra_it_says_what_to_install(missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from inventory_es.cli.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == f"inventory-es: {missing} is not installed, and the command line needs it: pip install 'inventory_es[cli]'\n"


def test_replay_prints_one_object_with_these_keys(orders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["replay", str(orders), "--url", "memory:", "--json"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert " ".join(found) == TOTALS
    assert err == ""
    assert (found["rows"], found["orders"], found["units_sold"], found["events"], found["inventories"]) == (5, 2, 7, 10, 2)
    assert (found["invariant_violations"], found["resumed_at_row"]) == (0, 0)
    assert found["events_per_second"] > 0


def test_replay_tells_a_person_what_happened(orders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["replay", str(orders), "--url", "memory:", "--opening", "3"]) == 0
    out = capsys.readouterr().out
    for words in ("1  order sold", "1  order refused", "1  return ", "1  write-off", "[bold]", "every balance holds", "--url file:stock"):
        assert words in out


def test_replay_twice_says_that_nothing_changed(url: str, orders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["replay", str(orders), "--url", url]) == 0
    out = capsys.readouterr().out
    assert "all of it was done before, nothing changed" in out
    assert "inventory-es explain mug main --url" in out


def test_a_bad_line_stops_the_replay_and_skip_bad_leaves_it_out(orders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    orders.write_text(orders.read_text() + "4,mug,x,many,2010-12-01 13:00:00,,,\n")
    url = f"file:{tmp_path / 'stock'}"
    assert run(["replay", str(orders), "--url", url]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"inventory-es: {orders}:7: Quantity must be a whole number")
    assert err.count("\n") == 1
    assert not (tmp_path / "stock").exists()
    assert run(["replay", str(orders), "--url", url, "--skip-bad", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["rows"] == 5
    assert err.endswith("; left out\n")
    assert run(["replay", str(orders), "--url", "memory:", "--skip-bad"]) == 0
    assert "1 line left out" in capsys.readouterr().out


def test_a_wrong_total_is_found_and_told(
    url: str, orders: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inventory_es.cli.replay.audit._moved", lambda _event: 1)
    assert run(["replay", str(orders), "--url", url, "--json"]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["invariant_violations"] == 2
    assert "its movements add up to" in err
    assert run(["replay", str(orders), "--url", url]) == 1
    assert "2 things don't add up" in capsys.readouterr().out


def test_a_day_of_the_demo_is_the_same_every_time(capsys: pytest.CaptureFixture[str]) -> None:
    days: list[dict[str, float]] = []
    for seed in ("1", "1", "2"):
        assert run(["demo", "--invoices", "60", "--seed", seed, "--json"]) == 0
        days.append(json.loads(capsys.readouterr().out))
        days[-1] |= {"seconds": 0, "events_per_second": 0}
    assert days[0] == days[1] != days[2]


def test_stock_now_and_then(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["stock", "mug", "main", "--url", url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["on_hand"] == 0
    assert run(["stock", "mug", "main", "--url", url, "--as-of", "2010-12-01T10:30:00", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["on_hand"] == 2
    assert run(["stock", "mug", "main", "--url", url]) == 0
    assert "available" in capsys.readouterr().out
    assert run(["stock", "mug", "main", "--url", url, "--as-of", "2010-11-30"]) == 0
    assert "Nothing had happened to it" in capsys.readouterr().out


def test_history_as_a_table_and_as_lines(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["history", "[bold]", "main", "--url", url]) == 0
    table = capsys.readouterr().out
    assert [line.split()[0] for line in table.splitlines()] == ["version", "1", "2", "3"]
    assert run(["history", "mug", "main", "--url", url, "--after", "2", "--json"]) == 0
    entries = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [entry["version"] for entry in entries] == list(range(3, 8))
    assert entries[0]["event"]["reservation_id"] == "1/1"


def test_explain_lists_what_is_reserved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"file:{tmp_path / 'stock'}"
    with open_inventory(url) as inventory:
        inventory.add_stock("mug", "main", 10)
        for order in "abc":
            inventory.reserve("mug", "main", 2, ttl=None, reservation_id=f"order-{order}")
    assert run(["explain", "mug", "main", "--url", url, "--holds", "2"]) == 0
    out = capsys.readouterr().out
    assert "order-a" in out
    assert "3 open reservations" in out
    assert "and 1 more" in out
    assert run(["explain", "mug", "main", "--url", url, "--json"]) == 0
    assert [hold["reservation_id"] for hold in json.loads(capsys.readouterr().out)["holds"]] == ["order-a", "order-b", "order-c"]


def test_explain_says_when_the_shelf_was_counted_last(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"file:{tmp_path / 'stock'}"
    with open_inventory(url) as inventory:
        inventory.add_stock("mug", "main", 10)
        inventory.record_count("mug", "main", 10, observed_version=1)
    assert run(["explain", "mug", "main", "--url", url]) == 0
    out = capsys.readouterr().out
    assert "last counted 20" in out
    assert "version 2" in out
    assert "+0 count" in out
    assert run(["explain", "mug", "main", "--url", url, "--json"]) == 0
    counted = json.loads(capsys.readouterr().out)["last_count"]
    assert (counted["version"], counted["event"]["counted"], counted["event"]["delta"]) == (2, 10, 0)


def test_streams_are_listed(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["streams", "inventory-", "--url", url]) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [["3", "inventory-[bold]-main"], ["7", "inventory-mug-main"]]
    assert run(["streams", "replay-", "--url", url, "--json"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["version"] for one in found] == [2, 2]


def test_verify_finds_and_repairs(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["verify", "--url", url]) == 0
    assert "balances agree" in capsys.readouterr().out
    people = tmp_path / "stock" / "events" / "inventory-mug-main.jsonl"
    people.write_text(people.read_text().replace('"quantity":5', '"quantity":6'))
    assert run(["verify", "--url", url]) == 1
    assert "Nothing is lost" in capsys.readouterr().out
    assert run(["verify", "--url", url, "--json"]) == 1
    found = json.loads(capsys.readouterr().out.splitlines()[0])
    assert (found["concern"], found["is_derived"]) == ("people", True)
    assert run(["verify", "--url", url, "--repair"]) == 0


def test_a_backup_opens_like_the_store(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["backup", str(tmp_path / "copy"), "--url", url]) == 0
    assert "events of" in capsys.readouterr().out
    assert run(["backup", str(tmp_path / "other"), "--url", url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["events"] == 14
    assert run(["verify", "--url", f"file:{tmp_path / 'copy'}"]) == 0


def test_a_database_is_verified_copied_and_repaired(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, copy = tmp_path / "stock.db", tmp_path / "copy.db"
    url = f"sqlite:{path}"
    with open_inventory(url) as inventory:
        inventory.add_stock("mug", "main", 5)
    assert run(["verify", "--url", url]) == 0
    assert "database, checksums, streams and balances agree" in capsys.readouterr().out
    assert run(["backup", str(copy), "--url", url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"source": str(path), "target": str(copy), "events": 1}
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE events SET checksum = NULL")
        connection.execute("UPDATE checksums SET since = 1")
    connection.close()
    assert run(["verify", "--url", url]) == 1
    assert "Nothing is lost" in capsys.readouterr().out
    assert run(["verify", "--url", url, "--repair"]) == 0
    capsys.readouterr()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE events SET recorded_at = 0")
    connection.close()
    assert run(["verify", "--url", url, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["concern"], found["place"], found["is_derived"]) == ("event", "position 1, version 1 of stream inventory-mug-main", False)
    assert run(["verify", "--url", url, "--repair"]) == 3
    assert run(["verify", "--url", f"sqlite:{copy}"]) == 0


@pytest.mark.parametrize(
    "statement, table",
    [
        ("UPDATE stock_levels__v1__levels SET on_hand = 4", "table levels, key mug, main"),
        ("DELETE FROM ledger__v1__movements WHERE version = 2", "table movements, key mug, main, 2"),
        ("UPDATE ledger__v1__movements SET product_id = 'jug' WHERE version = 2", "table movements, key jug, main, 2"),
    ],
)
def test_rows_are_held_against_the_events(statement: str, table: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url, rows = f"sqlite:{tmp_path / 'stock.db'}", str(tmp_path / "rows.db")
    with open_inventory(url) as inventory:
        inventory.add_stock("mug", "main", 5)
        inventory.add_stock("mug", "main", 2)
    assert run(["project", "--url", url, "--read-model", rows, "--once"]) == 0
    with open_inventory(url) as inventory:
        inventory.add_stock("mug", "main", 1)
    assert run(["verify", "--url", url, "--read-model", rows]) == 0
    with sqlite3.connect(rows) as connection:
        connection.execute(statement)
    connection.close()
    capsys.readouterr()
    assert run(["verify", "--url", url, "--read-model", rows, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["concern"], found["is_derived"]) == ("rows", False)
    assert found["place"].endswith(table)
    assert "inventory-es rebuild" in found["problem"]


def test_a_checkpoint_of_other_events_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url, rows = f"sqlite:{tmp_path / 'stock.db'}", str(tmp_path / "rows.db")
    with open_inventory(url) as inventory:
        inventory.add_stock("mug", "main", 5)
    assert run(["backup", str(tmp_path / "saved.db"), "--url", url]) == 0
    with open_inventory(url) as inventory:
        inventory.add_stock("mug", "main", 2)
    assert run(["project", "--url", url, "--read-model", rows, "--once"]) == 0
    capsys.readouterr()
    assert run(["verify", "--url", f"sqlite:{tmp_path / 'saved.db'}", "--read-model", rows, "--json"]) == 1
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert "orders v1" in [one["place"] for one in found]  # none of its rows tells
    assert all("inventory-es rebuild" in one["problem"] for one in found)


def test_a_file_without_a_projection_is_not_called_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url, other = f"file:{tmp_path / 'stock'}", str(tmp_path / "other.db")
    for one in (url, f"sqlite:{other}"):
        with open_inventory(one) as inventory:
            inventory.add_stock("mug", "main", 5)
    assert run(["verify", "--url", url, "--read-model", other]) == 3
    assert "no projection is in it" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, code, words",
    [
        ([], 2, "Usage: inventory-es"),
        (["nonsense"], 2, "No such command 'nonsense'"),
        (["stock", "mug", "main"], 2, "Missing option '--url'"),
        (["stock", "mug"], 2, "Missing argument 'STORE'"),
        (["stock", "mug", "main", "--url", "file://stock"], 2, "write 'file:stock'"),
        (["stock", "mug", "main", "--url", "stock"], 2, "write 'file:stock'"),
        (["stock", "mug", "main", "--url", "memory:", "--as-of", "noon"], 2, "'noon' is no time"),
        (["stock", "x" * 129, "main", "--url", "memory:"], 2, "1 to 128 characters"),
        (["stock", "mug", "main", "--url", "file:nowhere"], 3, "nowhere"),
        (["verify", "--url", "memory:"], 2, "for a store in a folder"),
        (["doctor", "sqlite:stock.db"], 2, "for a store in PostgreSQL"),
        (["store", "migrate", "file:stock"], 2, "for a store in PostgreSQL"),
        (["backup", "copy", "--url", "postgresql://localhost/shop"], 2, "pg_basebackup or pg_dump"),
        (["verify", "--url", "file:nowhere"], 3, "nowhere"),
        (["backup", "copy", "--url", "file:nowhere"], 3, "nowhere"),
        (["replay", "nowhere.csv", "--url", "memory:"], 2, "'nowhere.csv' does not exist"),
        (["replay", ".", "--url", "memory:"], 2, "is a directory"),
        (["demo", "--invoices", "0"], 2, "0 is not in the range"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_errors_are_one_line(
    arguments: list[str], code: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err
    assert arguments == [] or (err.startswith("inventory-es: ") and err.count("\n") == 1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "error, code",
    [
        (click.exceptions.Exit(4), 4),
        (click.UsageError("no"), 2),
        (click.ClickException("no"), 1),
        (KeyboardInterrupt(), 130),
        (OrdersError("no"), 1),
        (InvalidQuantityError(name="quantity", problem="must be 1"), 2),
        (StoreUnavailableError(store="s", reason="away"), 3),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "x"), 3),
        (RuntimeError("a\nb"), 70),
        (BaseExceptionGroup("tasks", [ExceptionGroup("inner", [OrdersError("no")])]), 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_every_error_has_its_exit_code_and_at_most_one_line(error: BaseException, code: int) -> None:
    told = failure(error)
    assert told is not None
    assert told.exit_code == code
    assert "\n" not in told.message


def test_a_rejection_is_a_refusal() -> None:
    from inventory_es import StreamId

    told = failure(InsufficientStockError(inventory=StreamId("inventory", "a", "b"), requested=2, available=1, keep_available=0))
    assert told is not None
    assert told.exit_code == 1


def test_the_end_of_the_interpreter_passes() -> None:
    assert failure(SystemExit(3)) is None


def failing(error: BaseException) -> Callable[..., object]:
    def fail(*_arguments: object, **_options: object) -> object:
        raise error

    return fail


def test_a_defect_is_told_in_one_line_and_shown_on_request(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("inventory_es.cli.commands.replay.run_replay", failing(ZeroDivisionError("oh")))
    assert run(["demo"]) == 70
    assert capsys.readouterr().err.startswith("inventory-es: a defect of this program, please report it: ZeroDivisionError: oh")
    with pytest.raises(ZeroDivisionError):
        run(["--traceback", "demo"])


@pytest.mark.parametrize(
    "command", ["demo", "demo --json", "streams", "stock mug main --json", "history mug main --json", "stock mug main"]
)
def test_nobody_reads_on(command: str, url: str) -> None:
    where = "" if command.startswith("demo") else f"--url {url}"
    shell = f"{sys.executable} -m inventory_es {command} {where} | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_somebody_stops_reading_in_the_middle(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The output is longer than what is kept in the pipe and before it."""
    with open_inventory(url) as inventory:
        for number in range(600):
            inventory.add_stock("mug", "main", 1, command_id=f"{number}{'x' * 100}")
    shell = f"{sys.executable} -m inventory_es history mug main --json --url {url} | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 1)


def test_a_tilde_is_the_home_folder_wherever_a_path_is_given(
    orders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "own"))
    monkeypatch.chdir(tmp_path / "work")
    orders.rename(tmp_path / "own" / "orders.csv")
    monkeypatch.setenv("INVENTORY_ES_URL", "file:~/stock")
    for arguments in (
        ["replay", "~/orders.csv"],
        ["project", "--read-model=~/rows.db", "--once"],
        ["ledger", "mug", "main", "--read-model=~/rows.db"],
        ["verify"],
        ["backup", "~/saved"],
        ["copy", "file:~/stock", "sqlite:~/stock.db"],
        ["stock", "mug", "main", "--url", "sqlite:~/stock.db"],
        ["plot", "mug", "main", "--out=~/mug.svg"],
    ):
        assert run(arguments) == 0, capsys.readouterr().err
    assert list((tmp_path / "work").iterdir()) == []
    assert {"stock", "rows.db", "saved", "stock.db", "mug.svg"} <= {path.name for path in (tmp_path / "own").iterdir()}
    assert run(["copy", "file:~/stock", f"file:{tmp_path}/own/stock"]) == 2
