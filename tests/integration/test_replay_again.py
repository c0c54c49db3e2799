"""An invoice that is in is known by what it says: it is never sold again, and never changed."""

import csv
import gzip
import json
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from random import Random
from uuid import uuid4

import anyio
import pytest

from inventory_es import StreamId
from inventory_es.adapters.memory import MemoryEventStore
from inventory_es.cli.app import run
from inventory_es.cli.replay.ledger import LEDGER
from inventory_es.cli.replay.orders_file import OrdersError, OrdersFile
from inventory_es.cli.replay.replayer import replay_stream
from inventory_es.ports import AppendResult, NewEvent, StreamWrite
from inventory_es.ports.errors import ConcurrencyError
from inventory_es.sync import open_inventory
from tests.integration import process_replay, replaying
from tests.integration.made_up_orders import Row, made_up_rows, on, write_orders
from tests.integration.test_replay import DAY, Delegating, Slow, StoppedError, StopsAfter

NINE, TEN, FRIDAY = on("2026-01-05 09:00"), on("2026-01-05 10:00"), on("2026-01-09 09:00")
EARLIER, MONDAY = on("2025-12-22 09:00"), on("2026-01-19 09:00")
ORDERS: list[Row] = [
    ("1001", "mug", 2, NINE),
    ("1001", "jug", 1, NINE),
    ("1001", "mug", 2, NINE),
    ("1002", "mug", 3, TEN),
    ("C1001", "jug", -1, TEN),
    ("1002", "tea", -1, TEN),
]
Program = Callable[[Sequence[str]], int]
"""Brings a file in, prints its totals as JSON, and returns the exit code."""


def sell(arguments: Sequence[str]) -> int:
    """Run the command replay, with its totals as JSON."""
    return run(["replay", *arguments, "--json"])


PROGRAMS = pytest.mark.parametrize("program", [sell, process_replay.run], ids=["plain", "process"])


def bring_in(folder: Path, rows: Sequence[Row], *options: str, program: Program = sell) -> int:
    """Replay a file of these rows into the store of this folder."""
    return program([str(write_orders(folder / "orders.csv", list(rows))), "--url", f"file:{folder / 'stock'}", *options])


def left(folder: Path) -> dict[str, tuple[int, int]]:
    """On hand and events, by product."""
    with open_inventory(f"file:{folder / 'stock'}") as inventory:
        levels = {product: inventory.stock(product, "main") for product in ("mug", "jug", "tea")}
    return {product: (level.on_hand, level.version) for product, level in levels.items()}


def skipped(text: str) -> int:
    found = json.loads(text)["invoices_in_before"]
    assert isinstance(found, int)
    return found


@PROGRAMS
@pytest.mark.parametrize("options", [[], ["--opening", "9"]], ids=["received", "opened"])
def test_rows_in_another_order_are_the_same_invoices(
    options: list[str], program: Program, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bring_in(tmp_path, ORDERS, *options, program=program) == 0
    before = left(tmp_path)
    for again in (
        [ORDERS[1], ORDERS[0], *ORDERS[2:]],
        [*ORDERS[:3], *reversed(ORDERS[3:])],
        [ORDERS[0], ORDERS[3], *ORDERS[1:3], *ORDERS[4:]],
    ):
        capsys.readouterr()
        assert bring_in(tmp_path, again, *options, program=program) == 0
        assert skipped(capsys.readouterr().out) == 3
        assert left(tmp_path) == before
    assert bring_in(tmp_path, [*ORDERS[:1], *ORDERS[2:0:-1], *ORDERS[3:]], *options, program=program) == 0
    assert skipped(capsys.readouterr().out) == 3


def test_a_person_is_told_how_many_invoices_were_skipped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bring_in(tmp_path, ORDERS) == 0
    path = write_orders(tmp_path / "orders.csv", [*ORDERS[:1], *ORDERS[2:0:-1], *ORDERS[3:]])
    assert run(["replay", str(path), "--url", f"file:{tmp_path / 'stock'}"]) == 0
    assert "3  invoices skipped, in already" in capsys.readouterr().out


@PROGRAMS
def test_with_another_opening_or_as_processes_it_is_the_same_invoice(program: Program, tmp_path: Path) -> None:
    assert bring_in(tmp_path, ORDERS) == 0
    before = left(tmp_path)
    assert bring_in(tmp_path, ORDERS, "--opening", "50", program=program) == 0
    assert left(tmp_path) == before


@PROGRAMS
def test_an_order_that_was_refused_is_not_tried_again(program: Program, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bring_in(tmp_path, ORDERS, "--opening", "4", program=program) == 0
    before = left(tmp_path)
    capsys.readouterr()
    assert bring_in(tmp_path, [ORDERS[1], ORDERS[0], *ORDERS[2:]], "--opening", "4", program=program) == 0
    assert skipped(capsys.readouterr().out) == 3
    assert left(tmp_path) == before


@PROGRAMS
@pytest.mark.parametrize(
    "changed",
    [
        [*ORDERS[:3], ("1002", "mug", 4, TEN), *ORDERS[4:]],
        [*ORDERS[:3], ("1002", "mug", 3, TEN - timedelta(minutes=1)), *ORDERS[4:]],
        [*ORDERS[:3], ("1002", "cup", 3, TEN), *ORDERS[4:]],
        [*ORDERS, ("1002", "mug", 1, TEN)],
        ORDERS[:5],
        [*ORDERS[:4], *ORDERS[5:], ("C1001", "jug", -2, TEN)],
        [("7", "cup", 1, NINE), *ORDERS[:3], ("1002", "mug", 4, TEN), *ORDERS[4:]],
    ],
    ids=["units", "time", "product", "a line more", "a line less", "a return", "behind a new one"],
)
def test_the_same_number_with_other_content_is_refused_before_anything_is_written(
    changed: list[Row], program: Program, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bring_in(tmp_path, ORDERS, program=program) == 0
    before = (tmp_path / "stock").stat().st_mtime_ns, left(tmp_path)
    capsys.readouterr()
    assert bring_in(tmp_path, changed, program=program) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "orders.csv:" in err
    assert "is not the one that the store has" in err
    assert "units in all here, 2026-01-05 " in err
    assert err.endswith("nothing was written\n")
    assert left(tmp_path) == before[1]
    with open_inventory(f"file:{tmp_path / 'stock'}") as inventory:
        assert inventory.stock("cup", "main").version == 0


def test_a_refusal_names_the_line_the_number_and_both_contents(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bring_in(tmp_path, ORDERS) == 0
    capsys.readouterr()
    assert bring_in(tmp_path, [*ORDERS[:3], ("1002", "mug", 4, TEN), ORDERS[5]]) == 1
    assert capsys.readouterr().err == (
        f"inventory-es: {tmp_path / 'orders.csv'}:5: invoice 1002 is not the one that the store has: 2026-01-05 10:00:00, 4 × mug, "
        "-1 × tea, 3 units in all here, 2026-01-05 10:00:00, 3 × mug, -1 × tea, 2 units in all there; what is in can't be changed: "
        "give what is new a number of its own, or use a store of its own; nothing was written\n"
    )


def test_a_line_that_was_left_out_can_not_be_sold_by_bringing_the_corrected_file_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_orders(tmp_path / "orders.csv", ORDERS[:3])
    path.write_text(path.read_text().replace('jug",1,', 'jug",one,'))
    assert run(["replay", str(path), "--url", f"file:{tmp_path / 'stock'}", "--opening", "9", "--skip-bad"]) == 0
    before = left(tmp_path)
    assert before["mug"][0] == 5
    assert bring_in(tmp_path, ORDERS[:3], "--opening", "9") == 1
    assert "invoice 1001 is not the one that the store has" in capsys.readouterr().err
    assert left(tmp_path) == before


@PROGRAMS
def test_numbers_may_restart_more_than_a_day_later_in_the_same_file_or_another(program: Program, tmp_path: Path) -> None:
    next_day = "2026-01-12 09:00" if program is process_replay.run else "2026-01-06 09:01"
    rows: list[Row] = [("1", "mug", 2, on(day)) for day in ("2026-01-05 09:00", next_day, "2026-02-05 09:00")]
    for name, files in (("one", [rows]), ("each", [[row] for row in rows])):
        folder = tmp_path / name
        folder.mkdir()
        for file in files:
            assert bring_in(folder, file, "--opening", "100", program=program) == 0
        with open_inventory(f"file:{folder / 'stock'}") as inventory:
            left_then = [inventory.as_of("mug", "main", time=at + timedelta(minutes=1)).available for *_, at in rows]
        assert left_then == [98, 96, 94]


@PROGRAMS
@pytest.mark.parametrize(
    "rows, balance",
    [
        ([("1001", "mug", 2, EARLIER), ("1001@20260119", "mug", 2, NINE), ("1001", "mug", 2, MONDAY)], 3),
        ([("1001@20260119", "mug", 2, NINE), ("1001@20260119", "mug", 2, MONDAY)], 5),
        ([("1001/1", "mug", 2, NINE), ("1001", "mug", -2, MONDAY)], 5),
        ([("1001", "mug", -2, NINE), ("1001/1", "mug", 2, MONDAY)], 5),
    ],
    ids=["day", "day-of-a-day", "slash-sold-first", "slash-written-off-first"],
)
@pytest.mark.parametrize("together", [True, False], ids=["one-file", "file-by-file"])
def test_numbers_that_look_like_the_id_of_another_invoice_are_numbers_of_their_own(
    rows: list[Row], balance: int, program: Program, together: bool, tmp_path: Path
) -> None:
    for file in [rows] if together else [[row] for row in rows]:
        assert bring_in(tmp_path, file, "--opening", "9", program=program) == 0
    assert left(tmp_path)["mug"][0] == balance


def test_what_a_write_off_lacks_has_an_id_of_its_own(tmp_path: Path) -> None:
    for row in [("1001/1", "mug", 2, NINE), ("1001", "mug", -2, FRIDAY)]:
        assert bring_in(tmp_path, [row]) == 0
    assert left(tmp_path)["mug"] == (0, 5)


def test_an_order_process_of_a_number_with_a_store_behind_it_is_its_own(tmp_path: Path) -> None:
    assert bring_in(tmp_path, [("1001@berlin", "mug", 2, NINE)], program=process_replay.run) == 0
    assert bring_in(tmp_path, [("1001", "mug", 2, NINE)], "--store", "berlin", program=process_replay.run) == 0


def test_lines_of_one_number_up_to_a_day_apart_are_one_order(tmp_path: Path) -> None:
    assert bring_in(tmp_path, [("1", "mug", 2, NINE), ("1", "mug", 3, NINE + timedelta(days=1))]) == 0
    with open_inventory(f"file:{tmp_path / 'stock'}") as inventory:
        assert [entry.recorded_at for entry in inventory.history("mug", "main")] == [NINE] * 5


@PROGRAMS
def test_files_that_overlap_bring_each_invoice_in_once(program: Program, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    later: list[Row] = [("1003", "mug", 4, FRIDAY), ("1004", "jug", 1, FRIDAY)]
    assert bring_in(tmp_path, ORDERS, program=program) == 0
    capsys.readouterr()
    assert bring_in(tmp_path, [*ORDERS[3:], *later], program=program) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["rows"], found["orders"], found["invoices_in_before"]) == (5, 2, 2)
    assert program([str(tmp_path / "orders.csv"), "--url", f"file:{tmp_path / 'stock'}"]) == 0
    assert json.loads(capsys.readouterr().out)["invoices_in_before"] == 2
    with open_inventory(f"file:{tmp_path / 'stock'}") as inventory:
        assert inventory.stock("mug", "main").on_hand == 0


@pytest.mark.parametrize("opening", [None, 20])
def test_killed_and_repeated_from_a_file_written_anew_it_comes_to_the_same(opening: int | None, tmp_path: Path, backend: str) -> None:
    rows = made_up_rows(5, invoices=90)
    path = write_orders(tmp_path / "orders.csv", rows)
    anew = tmp_path / "anew.csv"
    anew.write_bytes(path.read_bytes().replace(b"\r\n", b"\n"))

    async def stop_and_go_on() -> None:
        store, undisturbed = MemoryEventStore(), MemoryEventStore()
        with pytest.raises(StoppedError):
            await replaying.replay(path, StopsAfter(store, 6), opening=opening, most_commands=30)
        outcome = await replaying.replay(anew, store, opening=opening, most_commands=30)
        assert 0 < outcome.totals.invoices_in_before < 90
        whole = await replaying.replay(path, undisturbed, opening=opening)
        assert outcome.totals.rows == whole.totals.rows
        assert await inventories(store) == await inventories(undisturbed)

    anyio.run(stop_and_go_on, backend=backend)


async def inventories(store: MemoryEventStore) -> list[tuple[str, bytes]]:
    """The events of all inventories, by stream."""
    events = (await store.read_all(after=0, limit=100_000)).events
    return sorted((str(one.stream), one.data) for one in events if one.stream.category == "inventory")


def test_an_order_that_is_half_way_in_another_file_is_refused(tmp_path: Path) -> None:
    path = write_orders(tmp_path / "orders.csv", ORDERS)
    anew = write_orders(tmp_path / "anew.csv", [ORDERS[1], ORDERS[0], *ORDERS[2:]])

    async def stop_and_go_on() -> None:
        store = MemoryEventStore()
        with pytest.raises(StoppedError):
            await process_replay.replay(path, StopsAfter(store, 2), most_commands=9)
        head = await store.head()
        with pytest.raises(OrdersError, match=r"anew\.csv:2: invoice 1001 was begun from another file.*bring in that one first"):
            await process_replay.replay(anew, store)
        assert await store.head() == head
        await process_replay.replay(path, store)
        outcome, _ = await process_replay.replay(anew, store)
        assert outcome.totals.invoices_in_before == 3

    anyio.run(stop_and_go_on)


@pytest.mark.parametrize("seed", range(6))
def test_however_the_rows_of_a_moment_are_shuffled_nothing_is_sold_again(seed: int, tmp_path: Path, backend: str) -> None:
    rows = made_up_rows(seed, invoices=40)
    path = write_orders(tmp_path / "orders.csv", rows)
    chance = Random(seed)
    first = {invoice: min(n for n, row in enumerate(rows) if row[0] == invoice) for invoice, *_ in rows}
    shuffled = sorted(rows, key=lambda row: (first[row[0]], chance.random()))
    anew = write_orders(tmp_path / "anew.csv", shuffled)

    async def twice() -> None:
        store = MemoryEventStore()
        await replaying.replay(path, store)
        before = await inventories(store)
        outcome = await replaying.replay(anew, store)
        assert outcome.totals.invoices_in_before == len({row[0] for row in rows if row[2]})
        assert (outcome.totals.rows, outcome.events_now, await inventories(store)) == (len(rows), 0, before)

    anyio.run(twice, backend=backend)


def test_two_files_at_once_do_not_both_sell(tmp_path: Path, backend: str) -> None:
    paths = [write_orders(tmp_path / name, rows) for name, rows in (("a.csv", ORDERS), ("b.csv", [ORDERS[1], ORDERS[0], *ORDERS[2:]]))]

    async def race() -> None:
        store = MemoryEventStore()
        beaten: list[StreamId] = []

        async def one(path: Path) -> None:
            try:
                await replaying.replay(path, Slow(store))
            except ConcurrencyError as conflict:
                beaten.append(conflict.stream)

        async with anyio.create_task_group() as tasks:
            for path in paths:
                tasks.start_soon(one, path)
        assert beaten == [LEDGER]
        events = await inventories(store)
        assert len([data for _, data in events if b'"quantity":3' in data and b'"purpose":"ORDER"' in data]) == 1

    anyio.run(race, backend=backend)


def test_a_store_that_another_process_brings_orders_into_is_told_as_that(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def beaten(_replayer: object) -> None:
        raise ConcurrencyError(stream=LEDGER, expected=1, actual=2)

    monkeypatch.setattr("inventory_es.cli.replay.replayer.Replayer.run", beaten)
    assert bring_in(tmp_path, ORDERS) == 1
    assert "takes orders from another process too, which was faster" in capsys.readouterr().err


async def written_before_there_was_a_ledger(path: Path, *, is_finished: bool) -> MemoryEventStore:
    """A store as an earlier version left it: progress in its stream, and no list of invoices."""
    store = MemoryEventStore()
    totals = {"rows": 6, "orders": 2, "events": 17}
    data = json.dumps({"row": 5, "is_finished": is_finished, "totals": totals}, separators=(",", ":")).encode()
    event = NewEvent(uuid4(), "ReplayAdvancedEvent", 1, TEN, data)
    await store.append([StreamWrite(replay_stream(OrdersFile(path), None), 0, [event])])
    return store


def test_what_an_earlier_version_may_have_brought_in_is_refused(tmp_path: Path, backend: str) -> None:
    path = write_orders(tmp_path / "orders.csv", ORDERS)
    anew = write_orders(tmp_path / "anew.csv", [ORDERS[1], ORDERS[0], *ORDERS[2:]])
    later = write_orders(tmp_path / "later.csv", [("1001", "mug", 1, FRIDAY)])

    async def again() -> None:
        store = await written_before_there_was_a_ledger(path, is_finished=True)
        with pytest.raises(
            OrdersError, match=r"anew\.csv has orders from 2026-01-05 09:00:00, and an earlier version.*up to 2026-01-05 10:00:00"
        ):
            await replaying.replay(anew, store)
        await replaying.replay(later, store)
        assert any(b'"reservation_id":"1001@20260109/1"' in data for _, data in await inventories(store))
        with pytest.raises(OrdersError, match="an earlier version"):
            await replaying.replay(anew, store)

    anyio.run(again, backend=backend)


def test_what_an_earlier_version_has_finished_is_done_and_what_it_has_begun_is_refused(tmp_path: Path) -> None:
    path = write_orders(tmp_path / "orders.csv", ORDERS)

    async def again() -> None:
        store = await written_before_there_was_a_ledger(path, is_finished=False)
        with pytest.raises(OrdersError, match="was begun by an earlier version"):
            await replaying.replay(path, store)
        assert await store.head() == 1

    anyio.run(again)


class Small(Delegating):
    """Takes events of so few bytes that one append lists few invoices."""

    def __init__(self, store: MemoryEventStore) -> None:
        super().__init__(store)
        self.largest = 0
        self.capabilities = type(self.capabilities)(
            **{
                **{name: getattr(self.capabilities, name) for name in ("durability", "feed", "multi_stream", "unique_event_ids")},
                "max_event_bytes": 8_192,
                "max_append_events": 100,
            }
        )

    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        self.largest = max([self.largest, *(len(event.data) for write in writes for event in write.events)])
        return await super().append(writes)


@pytest.mark.parametrize("opening", [None, 0])
def test_the_list_of_invoices_is_never_larger_than_an_event_may_be(opening: int | None, tmp_path: Path) -> None:
    rows: list[Row] = [(f"{number:096}", "é" * 128, 1, NINE) for number in range(60)]
    path = write_orders(tmp_path / "orders.csv", rows)

    async def run_it() -> int:
        store = Small(MemoryEventStore())
        await replaying.replay(path, store, opening=opening)
        return store.largest

    assert anyio.run(run_it) <= 8_192


def test_a_file_that_changes_while_it_is_read_is_told_as_that(tmp_path: Path) -> None:
    path = write_orders(tmp_path / "orders.csv", ORDERS)

    class Changing(OrdersFile):
        def digest(self) -> str:
            digest = super().digest()
            write_orders(path, [*ORDERS[:2], ("1999", "mug", 1, TEN)])
            return digest

    with pytest.raises(OrdersError, match="changed while it was read: start again"):
        anyio.run(partial(replaying.replay_source, Changing(path), "memory:"))


def exported_anew(path: Path, target: Path, *, delimiter: str, encoding: str, ending: str) -> Path:
    """The same orders as another program writes them: other columns first, blanks, 6.0 for 6, dates with the month first."""
    with (
        gzip.open(path, "rt", encoding="utf-8", newline="") if path.suffix == ".gz" else path.open(encoding="utf-8", newline="") as source,
        target.open("w", encoding=encoding, newline="") as file,
    ):
        table = csv.writer(file, delimiter=delimiter, lineterminator=ending)
        table.writerow(["Order Date", "QTY", "Stock Code", "Invoice", "description"])
        for row in csv.DictReader(source):
            at = on(row["InvoiceDate"])
            when = f"{at.month}/{at.day}/{at.year} {at.hour % 12 or 12}:{at:%M:%S %p}"
            table.writerow([when, f" {row['Quantity']}.0", f"{row['StockCode']} ", row["InvoiceNo"], "café"])
    return target


@pytest.mark.parametrize("path", DAY or [None], ids=lambda path: path.name if path else "no sample data")
@pytest.mark.parametrize(
    "delimiter, encoding, ending", [(",", "utf-8-sig", "\r\n"), (";", "cp1252", "\n"), ("\t", "utf-16", "\r"), ("|", "utf-8", "\n")]
)
def test_orders_that_were_exported_anew_are_the_same(
    path: Path | None, delimiter: str, encoding: str, ending: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = path or write_orders(tmp_path / "made_up.csv", [row for row in made_up_rows(3, invoices=120) if "é" not in row[1]])
    url = f"file:{tmp_path / 'stock'}"
    assert run(["replay", str(path), "--url", url, "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    anew = exported_anew(path, tmp_path / "anew.csv", delimiter=delimiter, encoding=encoding, ending=ending)
    assert run(["replay", str(anew), "--url", url, "--dates", "month-first", "--encoding", "cp1252", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert (again["rows"], again["events"], again["orders"]) == (first["rows"], 0, 0)
    assert again["invoices_in_before"] >= first["orders"]


def test_without_a_word_about_its_dates_such_a_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = exported_anew(write_orders(tmp_path / "a.csv", ORDERS), tmp_path / "b.csv", delimiter=";", encoding="utf-8", ending="\n")
    assert run(["replay", str(path), "--url", f"file:{tmp_path / 'stock'}"]) == 1
    assert capsys.readouterr().err == (
        f"inventory-es: {path}:2: InvoiceDate may have its day or its month first: say which, by --dates day-first or --dates month-first; "
        "nothing was written\n"
    )
    assert not (tmp_path / "stock").exists()


@PROGRAMS
def test_each_store_has_invoices_of_its_own(program: Program, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bring_in(tmp_path, ORDERS, "--opening", "9", program=program) == 0
    other: list[Row] = [("1001", "mug", 1, NINE), *ORDERS[3:]]
    assert bring_in(tmp_path, other, "--opening", "9", "--store", "berlin", program=program) == 0
    capsys.readouterr()
    assert bring_in(tmp_path, [*other, ("2", "mug", 1, FRIDAY)], "--opening", "9", "--store", "berlin", program=program) == 0
    assert skipped(capsys.readouterr().out) == 3
    with open_inventory(f"file:{tmp_path / 'stock'}") as inventory:
        assert [inventory.as_of("mug", store, time=FRIDAY - timedelta(hours=1)).on_hand for store in ("main", "berlin")] == [2, 5]


@pytest.mark.parametrize(
    "options, problem",
    [
        (["--encoding", "klingon"], "'klingon' is no encoding of text"),
        (["--encoding", "base64"], "'base64' is no encoding of text"),
        (["--column", "StockCode"], "'StockCode' is not COLUMN=NAME"),
        (["--column", "Price=x"], "'Price=x' is not COLUMN=NAME"),
        (["--dates", "year-first"], "'year-first' is not one of 'day-first', 'month-first'"),
        (["--store", ""], "store_id must have 1 to 128 characters"),
    ],
)
def test_settings_that_can_not_be_are_told(options: list[str], problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bring_in(tmp_path, ORDERS, *options) == 2
    assert problem in capsys.readouterr().err


def test_a_stray_quotation_mark_stops_with_its_line_and_skip_bad_leaves_that_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows: list[Row] = [(str(number), "mug", number, NINE) for number in range(1, 21)]
    path = write_orders(tmp_path / "orders.csv", rows)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:5], lines[5].replace('"a ""fine""', '"a "fine""', 1), *lines[6:]]))
    told = f"inventory-es: {path}:6: a quotation mark "
    assert run(["replay", str(path), "--url", "memory:"]) == 1
    assert capsys.readouterr().err.startswith(told)
    path.write_text("".join([*lines[:5], lines[5].replace(', mug"', ", mug", 1), *lines[6:]]))
    assert run(["replay", str(path), "--url", "memory:"]) == 1
    assert capsys.readouterr().err == f"{told}opens a cell here and is not closed in this line; nothing was written\n"
    assert run(["replay", str(path), "--url", "memory:", "--skip-bad", "--json"]) == 0
    out, err = capsys.readouterr()
    assert (json.loads(out)["rows"], json.loads(out)["orders"]) == (19, 19)
    assert err == f"{told}opens a cell here and is not closed in this line; left out\n"


def test_an_invoice_whose_rows_stand_together_is_one_append(tmp_path: Path, backend: str) -> None:
    rows: list[Row] = [*ORDERS[:4], *[("C7", f"p{number}", -1, TEN) for number in range(12)]]
    path = write_orders(tmp_path / "orders.csv", rows)
    anew = write_orders(tmp_path / "anew.csv", [*rows[:4], *reversed(rows[4:])])

    async def stop_and_go_on() -> None:
        store = MemoryEventStore()
        for appends in range(6):
            store = MemoryEventStore()
            try:
                await replaying.replay(path, StopsAfter(store, appends), most_commands=9)
            except StoppedError:
                await replaying.replay(anew, store)
        assert len(await inventories(store)) == 23

    anyio.run(stop_and_go_on, backend=backend)


@pytest.mark.parametrize("later, code", [(timedelta(days=1), 1), (timedelta(days=1, seconds=1), 0)])
def test_a_number_may_be_used_again_more_than_a_day_later_and_no_sooner(later: timedelta, code: int, tmp_path: Path) -> None:
    assert bring_in(tmp_path, [("1", "mug", 2, NINE)]) == 0
    assert bring_in(tmp_path, [("1", "mug", 2, NINE + later)]) == code
