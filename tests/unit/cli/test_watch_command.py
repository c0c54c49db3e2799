"""``watch``: what is hot is counted right, fits the terminal, and ends cleanly."""

import json
import os
import pty
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import StringIO
from pathlib import Path
from typing import cast

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from inventory_es import StreamId, StreamWrite
from inventory_es import open_inventory as open_async
from inventory_es.adapters.memory import MemoryEventStore, MemoryReadModel
from inventory_es.cli.app import run
from inventory_es.cli.projecting import Workshop
from inventory_es.cli.tables import THEME, duration
from inventory_es.cli.watching import EventRate, HotProducts, Watching
from inventory_es.ports import EventFeed, ProjectionId
from inventory_es.sync import open_inventory
from inventory_es.testing.faults import Faults, faulty_event_store
from tests.unit.cli.test_projections_commands import UNKNOWN, until


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a store in which a mug sells better than a cup."""
    monkeypatch.chdir(tmp_path)
    with open_inventory("file:stock") as inventory:
        for product, sold in (("mug", 7), ("cup", 2), ("[bold]", 0)):
            inventory.add_stock(product, "main", 9)
            if sold:
                inventory.commit(inventory.reserve(product, "main", sold, ttl=None))
        inventory.reserve("cup", "main", 7, ttl=None)
    return tmp_path


@asynccontextmanager
async def traded(*sales: tuple[str, int]) -> AsyncIterator[MemoryEventStore]:
    """A store with these sales: three events each."""
    async with MemoryEventStore() as store:
        async with open_async(store) as inventory:
            for product, units in sales:
                await inventory.add_stock(product, "main", units)
                await inventory.commit(await inventory.reserve(product, "main", units, ttl=None))
        yield store


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c", "d"]), st.integers(1, 9)), max_size=12), st.integers(1, 40))
def test_what_is_hot_is_that_of_the_last_events_and_no_others(sales: list[tuple[str, int]], window: int) -> None:
    async def body() -> None:
        products = HotProducts(window)
        async with traded(*sales) as store:
            events = list((await store.read_all(after=0, limit=1_000)).events)
        products.take(events)
        last = events[-window:]
        sold: Counter[str] = Counter()
        moved: Counter[str] = Counter()
        for event in last:
            data = json.loads(event.data)
            moved[data["product_id"]] += 1
            sold[data["product_id"]] += data["quantity"] * (event.event_type == "StockCommittedEvent")
        assert (products.events, products.inventories) == (len(last), len(moved))
        assert products.span == ((last[0].recorded_at, last[-1].recorded_at) if last else None)
        found = products.hottest(100)
        assert {(one.product_id, one.sold, one.events) for one in found} == {(name, sold[name], moved[name]) for name in moved}
        ranks = [(-one.sold, -one.events, one.product_id) for one in found]
        assert ranks == sorted(ranks)
        assert products.hottest(2) == found[:2]

    anyio.run(body)


def test_what_can_not_be_read_is_counted_and_other_streams_are_not_looked_at() -> None:
    async def body() -> None:
        products = HotProducts(10)
        async with traded(("mug", 1)) as store:
            await store.append([StreamWrite(StreamId("inventory", "x", "main"), 0, [UNKNOWN])])
            await store.append([StreamWrite(StreamId("others", "x"), 0, [UNKNOWN])])
            products.take((await store.read_all(after=0, limit=10)).events)
        assert (products.unreadable, products.events) == (1, 3)

    anyio.run(body)


def test_the_rate_is_that_of_the_last_whole_seconds() -> None:
    rate = EventRate(100.2)
    assert (rate.per_second(100.9), rate.sparkline(100.9)) == (0.0, " " * 30)
    rate.add(10, 100.9)
    rate.add(40, 101.1)
    rate.add(99, 102.0)
    assert rate.per_second(102.5) == 25
    assert rate.sparkline(102.5).lstrip() == "▂█"
    assert rate.per_second(106.0) == (40 + 99) / 5
    rate.add(1, 140.0)
    assert rate.sparkline(140.5).strip() == ""
    assert rate.sparkline(141.0).strip() == "█"


@pytest.mark.parametrize(
    "seconds, words",
    [(0.0, "0 ms"), (0.85, "850 ms"), (12.3, "12 s"), (119, "119 s"), (180, "3 min"), (7_200, "2 h"), (172_800, "2 d")],
)
def test_a_time_span_is_told_in_its_largest_unit(seconds: float, words: str) -> None:
    assert duration(seconds) == words


async def shown(watching: Watching, *, width: int, height: int = 30) -> list[str]:
    console = Console(width=width, height=height, theme=THEME, record=True, file=StringIO())
    console.print((await watching.frame()).render(console))
    return console.export_text().splitlines()


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_frame_fits_its_terminal(width: int, backend: str) -> None:
    async def body() -> None:
        sales = [(f"product-{number}-with-a-long-name", number) for number in range(1, 40)]
        async with traded(*sales) as store:
            watching = Watching("file:" + "x" * 100, store, None, window=1_000)
            await watching.catch_up()
            lines = await shown(watching, width=width, height=20)
        assert len(lines) <= 20
        assert max(map(len, lines)) <= width
        assert lines[0].endswith("UTC")
        assert "position 117" in lines[1]
        assert lines[3].startswith("Hottest of the last 117 events, since ")
        assert "39" in lines[5]
        assert ("39:" in lines[5] or ":" in lines[5]) == (width == 120)

    anyio.run(body, backend=backend)


def test_a_frame_of_an_empty_store_says_so() -> None:
    async def body() -> None:
        async with MemoryEventStore() as store:
            watching = Watching("memory:", store, None, window=10)
            await watching.catch_up()
            assert "Nothing has moved yet" in await shown(watching, width=80)

    anyio.run(body)


def test_a_frame_tells_who_is_behind_and_what_stands_still(backend: str) -> None:
    async def body() -> None:
        async with traded(("mug", 3)) as store:
            model = MemoryReadModel()
            workshop = Workshop(feed=store, read_model=model, on_failure="stop")
            await workshop.runner(ProjectionId("ledger", 1)).catch_up()
            watching = Watching("memory:", store, model, window=2)
            await watching.catch_up()
            await store.append([StreamWrite(StreamId("inventory", "x", "main"), 0, [UNKNOWN])])
            await workshop.runner(ProjectionId("stock_levels", 1)).catch_up()
            lines = await shown(watching, width=120)
            assert lines[1].endswith("position 3 · 1 behind")
            assert lines[-2].startswith("✗ stock_levels      stopped: event 1 of stream inventory-x-main")
            assert lines[-1].startswith("… ledger            1 events behind, for ")
            assert lines[-1].endswith(", nobody runs it")
            await watching.catch_up()
            assert "1 unreadable" in (await shown(watching, width=120))[1]

    anyio.run(body, backend=backend)


def test_a_store_that_is_away_is_told_and_the_last_frame_stays(backend: str) -> None:
    async def body() -> None:
        async with traded(("mug", 3)) as store:
            faulty = faulty_event_store(store, Faults.by_plan({"head": {2: "fail_before"}}))
            watching = Watching("memory:", cast(EventFeed, faulty), None, window=10)
            await watching.catch_up()
            lines = await shown(watching, width=100)
            assert lines[-1].startswith("✗ ")
            assert "is unavailable" in lines[-1]
            assert "mug" in lines[5]

    anyio.run(body, backend=backend)


def test_what_comes_is_counted_until_it_is_stopped(backend: str) -> None:
    async def body() -> None:
        async with traded(("mug", 3)) as store:
            watching = Watching("memory:", store, None, window=10)
            await watching.catch_up()

            async def has_come() -> bool:
                frame = await watching.frame()
                return frame.position == 4 and frame.rate is not None and frame.products.events == 4

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(watching.follow)
                async with open_async(store) as inventory:
                    await inventory.add_stock("cup", "main", 3)
                await until(has_come)
                watching.stop()
            early = Watching("memory:", store, None, window=10)
            early.stop()
            with anyio.fail_after(10):
                await early.follow()
            assert ((await watching.frame()).products.events, (await early.frame()).products.events) == (4, 0)

    anyio.run(body, backend=backend)


def test_one_frame_for_people_and_one_for_programs(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["project", "ledger", "--url", "file:stock", "--read-model", "rows.db", "--once"]) == 0
    capsys.readouterr()
    assert run(["watch", "--url", "file:stock", "--read-model", "rows.db", "--once", "--rows", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[5:7]] == ["mug", "cup"]
    assert lines[7:] == ["", "✓ ledger            up to date, nobody runs it"]
    assert max(map(len, lines)) <= 80
    assert run(["watch", "--url", "file:stock", "--read-model", "rows.db", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(one["product_id"], one["sold"], one["available"]) for one in found["hottest"]] == [
        ("mug", 7, 2),
        ("cup", 2, 0),
        ("[bold]", 0, 9),
    ]
    assert (found["position"], found["events"], found["inventories"], found["lag_events"]) == (8, 8, 3, 0)
    assert found["projections"] == [{"name": "ledger", "state": "idle", "lag_events": 0, "lag_seconds": 0.0}]
    assert run(["watch", "--url", "file:stock", "--json", "--rows", "1", "--window", "1"]) == 0
    assert [one["product_id"] for one in json.loads(capsys.readouterr().out)["hottest"]] == ["cup"]


@pytest.mark.parametrize(
    "arguments, code, words",
    [
        ([], 2, "watching needs a terminal: --once prints one frame"),
        (["--once", "--window", "0"], 2, "0 is not in the range"),
        (["--once", "--rows", "0"], 2, "0 is not in the range"),
        (["--once", "--read-model", "nowhere.db"], 3, "there is no such file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_errors_are_one_line(arguments: list[str], code: int, words: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["watch", "--url", "file:stock", *arguments]) == code
    out, err = capsys.readouterr()
    assert words in err
    assert (out, err.count("\n")) == ("", 1)
    assert [path.name for path in place.iterdir()] == ["stock"]


@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
def test_in_a_terminal_it_runs_until_it_is_told_to_stop_and_gives_the_screen_back(told: signal.Signals, place: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "inventory_es", "watch", "--url", "file:stock"]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm"}) as process:
        os.close(theirs)
        seen = b""
        while b"Hottest" not in seen:
            seen += os.read(ours, 65_536)
        process.send_signal(told)
        while block := _read(ours):
            seen += block
        assert process.wait() == 0
    os.close(ours)
    assert b"\x1b[?1049h" in seen
    assert seen.rstrip().endswith(b"\x1b[?25h") or b"\x1b[?1049l" in seen
    assert b"Traceback" not in seen


def _read(terminal: int) -> bytes:
    """What it shows next; nothing once it has ended."""
    try:
        return os.read(terminal, 65_536)
    except OSError:  # the other side is closed
        return b""
