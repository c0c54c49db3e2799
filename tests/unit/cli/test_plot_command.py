"""``plot``: the balance over time, in the terminal and as a picture, and what is refused."""

import json
import struct
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inventory_es.application.projections.ledger import MovementRow
from inventory_es.cli.app import run
from inventory_es.cli.charts import StockPoint, stock_chart, stock_picture, stock_series
from inventory_es.sync import open_inventory
from inventory_es.testing import ManualClock

T0 = datetime(2026, 1, 5, 9, tzinfo=UTC)
HOUR = timedelta(hours=1)
MOVEMENT = MovementRow(
    product_id="mug",
    store_id="main",
    version=1,
    position=1,
    recorded_at=T0,
    event_type="StockAddedEvent",
    on_hand_change=0,
    reserved_change=0,
    on_hand=0,
    reserved=0,
    reservation_id=None,
    reason=None,
)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a store: 10 mugs, 4 of them reserved an hour later, 2 of those sold at the third hour."""
    monkeypatch.chdir(tmp_path)
    clock = ManualClock(T0)
    with open_inventory("file:stock", clock=clock) as inventory:
        inventory.add_stock("$x_{mug", "main", 10)
        clock.advance(HOUR)
        hold = inventory.reserve("$x_{mug", "main", 4, ttl=None)
        clock.advance(2 * HOUR)
        inventory.commit(hold, 2)
    assert run(["project", "ledger", "--url", "file:stock", "--read-model", "rows.db", "--once", "--json"]) == 0
    return tmp_path


def points(*balances: tuple[float, int, int]) -> list[StockPoint]:
    """Hour, on hand, reserved."""
    return [StockPoint(T0 + hour * HOUR, on_hand, reserved) for hour, on_hand, reserved in balances]


def series(*balances: tuple[float, int, int], since: float | None = None, until: float | None = None) -> list[StockPoint]:
    async def movements() -> AsyncIterator[MovementRow]:
        for hour, on_hand, reserved in balances:
            yield attrs.evolve(MOVEMENT, recorded_at=T0 + hour * HOUR, on_hand=on_hand, reserved=reserved)

    async def read() -> list[StockPoint]:
        edges = [None if edge is None else T0 + edge * HOUR for edge in (since, until)]
        return await stock_series(movements(), since=edges[0], until=edges[1])

    return anyio.run(read)


def test_a_series_has_the_balance_after_each_instant() -> None:
    assert series() == []
    assert series((0, 5, 0), (1, 5, 2), (1, 3, 0), (2, 4, 0)) == points((0, 5, 0), (1, 3, 0), (2, 4, 0))


def test_a_series_of_a_span_begins_and_ends_with_the_balances_that_held() -> None:
    moved = ((0, 5, 0), (1, 3, 0), (2, 4, 1), (3, 9, 9))
    assert series(*moved, since=1.5, until=2.5) == points((1.5, 3, 0), (2, 4, 1), (2.5, 4, 1))
    assert series(*moved, since=1, until=2) == points((1, 3, 0), (2, 4, 1))
    assert series(*moved, since=4) == points((4, 9, 9))
    assert series(*moved, since=4, until=5) == points((4, 9, 9), (5, 9, 9))
    assert series((2, 4, 1), since=0, until=1) == []


def test_a_chart_shows_what_is_available_and_on_top_of_it_what_is_reserved() -> None:
    drawn = stock_chart(points((0, 8, 0), (5, 8, 4), (10, 4, 3), (15, 0, 0), (20, 0, 0)), width=23, height=4, threshold=1)
    assert [line.rstrip() for line in drawn.plain.splitlines()] == [
        " 8┤████▒▒▒▒▒",
        " 6┤████▒▒▒▒▒",
        " 4┤█████████▒▒▒▒▒",
        " 2┤█████████▄▄▄▄▄",
        " 0└────────────────────",
        "            ▲▲▲▲▲▲▲▲▲▲▲",
        "   01-05 09:00",
    ]


@given(
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), min_size=1, max_size=40),
    st.integers(20, 120),
    st.integers(3, 16),
    st.none() | st.integers(0, 10**7),
)
def test_a_chart_fits_and_hides_nothing_that_is_there(
    balances: list[tuple[int, int]], width: int, height: int, threshold: int | None
) -> None:
    given_points = points(*((hour, on_hand, reserved) for hour, (on_hand, reserved) in enumerate(balances)))
    lines = stock_chart(given_points, width=width, height=height, threshold=threshold).plain.splitlines()
    axis = next(at for at, line in enumerate(lines) if "└" in line)
    assert axis == height
    assert all(len(line) <= max(width, 22) for line in lines)
    left = lines[axis].index("└") + 1
    last = [line[left:].ljust(width)[len(lines[axis]) - left - 1] for line in lines[:axis]]
    assert any(character != " " for character in last) == (balances[-1][0] > 0)
    has_marks = any("▲" in line for line in lines)
    if threshold is not None:
        is_low = [on_hand - reserved <= threshold for on_hand, reserved in balances]
        assert has_marks == any(is_low)
    else:
        assert not has_marks


@pytest.mark.parametrize("form, begins", [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
@pytest.mark.parametrize("threshold", [None, 3])
def test_a_picture_of_each_form(form: str, begins: bytes, threshold: int | None) -> None:
    given_points = points((0, 8, 0), (5, 8, 9), (10, 0, 0))
    picture = stock_picture(given_points, title="$mug 杯 \U0001f375", subtitle="x$", threshold=threshold, form=form)
    assert picture.startswith(begins)
    if form == "png":
        assert struct.unpack(">II", picture[16:24]) == (1_600, 840)
    assert stock_picture(given_points[:1], title="one", subtitle="point", threshold=threshold, form=form).startswith(begins)


@pytest.mark.parametrize("seconds", [1e-6, 0.5, 7, 59, 1_000, 14_400, 30_000, 2e5, 1e6, 1e7, 1e9])
def test_a_picture_of_any_span_has_its_ticks(seconds: float) -> None:
    given_points = [StockPoint(T0, 5, 1), StockPoint(T0 + timedelta(seconds=seconds), 3, 1)]
    assert stock_picture(given_points, title="mug", subtitle="", threshold=2, form="png")


def test_in_the_terminal_and_as_points(place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    capsys.readouterr()
    monkeypatch.setenv("COLUMNS", "60")
    plot = ["plot", "$x_{mug", "main"]
    assert run([*plot, "--url", "file:stock", "--threshold", "6"]) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert lines[0] == "$x_{mug in main"
    assert lines[1] == "2026-01-05 09:00:00 to 2026-01-05 12:00:00 UTC, at the end on hand 8, reserved 2, available 6"
    assert max(map(len, lines[2:])) <= 60
    assert lines[-1] == "█ available   ▒ reserved   ▲ 6 or less available"
    assert run([*plot, "--read-model", "rows.db", "--threshold", "6"]) == 0
    assert capsys.readouterr().out == out
    assert run([*plot, "--url", "file:stock", "--json", "--since", "2026-01-05T10:30:00"]) == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [
        {"at": "2026-01-05T10:30:00+00:00", "on_hand": 10, "reserved": 4, "available": 6},
        {"at": "2026-01-05T12:00:00+00:00", "on_hand": 8, "reserved": 2, "available": 6},
    ]


def test_a_picture_is_written_where_it_was_asked_for(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run(["plot", "$x_{mug", "main", "--url", "file:stock", "--out", "mug.PNG"]) == 0
    assert capsys.readouterr().out.startswith("✓ mug.PNG: 2026-01-05 09:00:00 to ")
    assert (place / "mug.PNG").read_bytes().startswith(b"\x89PNG")
    assert run(["plot", "$x_{mug", "main", "--url", "file:stock", "--out", "mug.svg", "--json"]) == 0
    assert capsys.readouterr().out.count("\n") == 3
    assert (place / "mug.svg").exists()


@pytest.mark.parametrize(
    "arguments, code, words",
    [
        (["plot", "$x_{mug", "main"], 2, "give --url to ask the streams"),
        (["plot", "mug", "main", "--url", "file:stock"], 1, "nothing is known of mug in main"),
        (["plot", "$x_{mug", "main", "--url", "file:stock", "--until", "2026-01-05"], 1, "there is nothing to draw"),
        (["plot", "mug", "main", "--url", "file:stock", "--out", "mug.jpeg"], 2, "mug.jpeg must end in .png, .svg or .pdf"),
        (["plot", "$x_{mug", "main", "--url", "file:stock", "--out", "no/mug.png"], 3, "no/mug.png: No such file or directory"),
        (
            ["plot", "mug", "main", "--url", "file:stock", "--since", "2026-01-05", "--until", "2026-01-05"],
            2,
            "--since is not before --until",
        ),
        (["plot", "mug", "main", "--url", "file:stock", "--since", "noon"], 2, "'noon' is no time"),
        (["plot", "mug", "main", "--read-model", "nowhere.db"], 3, "there is no such file"),
        (["plot", "x" * 129, "main", "--url", "file:stock"], 2, "1 to 128 characters"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_errors_are_one_line(arguments: list[str], code: int, words: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(place.iterdir())
    capsys.readouterr()
    assert run(arguments) == code
    out, err = capsys.readouterr()
    assert words in err
    assert (out, err.count("\n")) == ("", 1)
    assert sorted(place.iterdir()) == before


def test_without_the_extra_it_says_what_to_install(place: Path) -> None:
    code = (
        "import sys; sys.modules['matplotlib'] = None; from inventory_es.cli.app import run; "
        "sys.exit(run(['plot', '$x_{mug', 'main', '--url', 'file:stock', *sys.argv[1:]]))"
    )
    done = subprocess.run([sys.executable, "-c", code, "--out", "mug.png"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == ("inventory-es: plot: matplotlib is not installed, and a picture needs it: pip install 'inventory_es[plot]'\n")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
