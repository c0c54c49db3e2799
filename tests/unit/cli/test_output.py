"""What is printed where the output takes few characters, or where nobody reads it."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from inventory_es.cli.app import COMMANDS, run
from inventory_es.sync import open_inventory
from tests.integration.made_up_orders import on, write_orders

ENCODINGS = ["cp1252", "latin-1", "ascii", "cp437", "utf-16", "utf-8"]
PRODUCT = "tasse-é-чай-茶-😀"
Print = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in a folder with stock, reservations, a transfer of orders, and rows; and a damaged one."""
    folder = tmp_path_factory.mktemp("encodings")
    rows = [("1", PRODUCT, 5, on("2010-12-01 09:00")), ("2", PRODUCT, 1, on("2010-12-01 10:00"))]
    write_orders(folder / "orders.csv", rows)
    with open_inventory(f"file:{folder / 'stock'}") as inventory:
        inventory.add_stock(PRODUCT, "main", 9)
        inventory.reserve(PRODUCT, "main", 2, ttl=None, reservation_id="zusage-ж")
    with open_inventory(f"file:{folder / 'damaged'}") as inventory:
        inventory.add_stock(PRODUCT, "main", 9)
    for readable in (folder / "damaged" / "events").iterdir():
        readable.write_bytes(b"?\n")
    return folder


@pytest.fixture(params=ENCODINGS)
def printed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Print:
    """Runs a command with output of one encoding; gives the exit code and what a reader of that encoding sees."""

    def run_it(*arguments: str) -> tuple[int, str, str]:
        streams = [io.TextIOWrapper(io.BytesIO(), encoding=request.param, errors=errors) for errors in ("strict", "backslashreplace")]
        monkeypatch.setattr(sys, "stdout", streams[0])
        monkeypatch.setattr(sys, "stderr", streams[1])
        code = run(arguments)
        for stream in streams:
            stream.flush()
        told = [stream.buffer.getvalue().decode(request.param) for stream in streams]
        return code, *told  # type: ignore[return-value]  # two of them

    return run_it


def every_command(folder: Path, work: Path) -> dict[str, list[list[str]]]:
    url, rows = f"file:{folder / 'stock'}", str(work / "rows.db")
    here = [PRODUCT, "main"]
    return {
        "demo": [["--invoices", "20"]],
        "replay": [[str(folder / "orders.csv"), "--url", f"file:{work / 'replayed'}"]],
        "stock": [[*here, "--url", url]],
        "history": [[*here, "--url", url]],
        "explain": [[*here, "--url", url]],
        "streams": [["--url", url]],
        "verify": [["--url", url]],
        "backup": [[str(work / "saved"), "--url", url]],
        "copy": [[url, f"sqlite:{work / 'copy.db'}"]],
        "store": [["migrate", "--help"]],
        "doctor": [["--help"]],
        "project": [["--url", url, "--read-model", rows, "--once"]],
        "rebuild": [["ledger", "--url", url, "--read-model", rows]],
        "parked": [["--url", url, "--read-model", rows]],
        "publish": [["--url", url, "--read-model", rows, "--bus", f"file:{work / 'bus'}", "--once"]],
        "consume": [["--bus", f"file:{work / 'bus'}", "--group", "g", "--idle", "0.1"]],
        "relay": [["rewind", "--to", "0", "--url", url, "--read-model", rows]],
        "watch": [["--once", "--url", url, "--read-model", rows]],
        "plot": [[*here, "--url", url, "--threshold", "8"], [*here, "--url", url, "--out", str(work / "stock.svg")]],
        "low-stock": [["--url", url, "--threshold", "10"], ["--url", url, "--threshold", "0"]],
        "ledger": [[*here, "--url", url]],
    }


def test_every_command_prints_in_every_encoding(printed: Print, place: Path, tmp_path: Path) -> None:
    commands = every_command(place, tmp_path)
    assert list(commands) == list(COMMANDS)
    for name, calls in commands.items():
        for arguments in calls:
            code, out, err = printed(name, *arguments)
            assert (code, err) == (0, ""), name
            assert out, name
        assert printed(name, "--help")[0] == 0


def test_json_is_the_same_in_every_encoding(printed: Print, place: Path, tmp_path: Path) -> None:
    commands = every_command(place, tmp_path)
    del commands["plot"][1], commands["consume"]  # which writes JSON always
    del commands["store"], commands["doctor"]  # they need a server, and are tested with one
    named = 0
    for name, calls in commands.items():
        code, out, err = printed(name, *calls[0], "--json")
        assert (code, err) == (0, ""), name
        assert out.isascii()
        told = [json.loads(line) for line in out.splitlines()]
        named += PRODUCT in str(told)
    assert named >= 6


def test_findings_and_mistakes_are_told_in_every_encoding(printed: Print, place: Path) -> None:
    code, out, err = printed("verify", "--url", f"file:{place / 'damaged'}")
    assert (code, err) == (1, "")
    assert "--repair" in out
    code, out, err = printed("stock", PRODUCT, "main", "--url", f"file:{place / 'чай'}")
    assert (code, out) == (3, "")
    assert "format.json" in err


def test_what_an_encoding_lacks_is_drawn_in_ascii_or_written_as_an_escape(
    place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    assert run(["verify", "--url", f"file:{place / 'stock'}"]) == 0
    assert run(["streams", "--url", f"file:{place / 'stock'}"]) == 0
    stream.flush()
    lines = stream.buffer.getvalue().decode("ascii").splitlines()
    assert lines[0].startswith("+ ")
    assert lines[1].endswith(r"inventory-tasse%2d\xe9%2d\u0447\u0430\u0439%2d\u8336%2d\U0001f600-main")


ENVIRONMENTS: list[dict[str, str]] = [
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "cp1252:strict"},
    {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
]


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=str)
def test_a_process_with_few_characters_ends_well(environment: dict[str, str], place: Path) -> None:
    command = [sys.executable, "-m", "inventory_es", "plot", "--url", f"file:{place / 'stock'}", "--threshold", "8", PRODUCT, "main"]
    if "LC_ALL" in environment:  # the argument is not text there
        command = [sys.executable, "-m", "inventory_es", "watch", "--once", "--url", f"file:{place / 'stock'}"]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert "main" in done.stdout.decode("cp1252")


def test_an_output_that_refuses_is_told_once(place: Path) -> None:
    with Path(os.devnull).open(encoding="utf-8") as for_reading_alone:
        command = [sys.executable, "-m", "inventory_es", "verify", "--url", f"file:{place / 'stock'}"]
        done = subprocess.run(command, stdout=for_reading_alone, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (3, "inventory-es: Bad file descriptor\n")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("scheme", ["file", "sqlite"])
def test_closed_standard_streams_change_nothing_else(scheme: str, closed: str, place: Path, tmp_path: Path) -> None:
    url = f"{scheme}:{tmp_path / 'stock'}"
    command = [sys.executable, "-m", "inventory_es", "replay", str(place / "orders.csv"), "--url", url]
    done = subprocess.run(["sh", "-c", f'"$@" {closed}', "sh", *command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    with open_inventory(url) as inventory:
        assert inventory.stock(PRODUCT, "main").version == 6


@pytest.mark.parametrize("name", ["verify", "watch", "plot", "streams"])
def test_a_reader_that_leaves_early_ends_a_command_quietly(name: str, place: Path, tmp_path: Path) -> None:
    arguments = every_command(place, tmp_path)[name][0]
    if name == "watch":
        arguments = arguments[:3]
    process = subprocess.Popen(
        [sys.executable, "-m", "inventory_es", name, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.close()
    _, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, "")
