"""RM-4 … RM-6: filters, order, pages, and values that come back unchanged."""

from collections.abc import Sequence
from itertools import product
from math import ceil

from inventory_es.ports import Add, Change, Checkpoint, Delete, Patch, ProjectionId, Put, Row, Table
from inventory_es.ports.read_model import Value, order_of, place_of
from inventory_es.testing.contracts.read_model.harness import LEVELS, NOTES, ReadModelHarness, TestedReadModel, level, same
from inventory_es.testing.promise import promise

_ROWS = [
    level(name, store, units, note)
    for (name, store), units, note in zip(
        product(("a", "b", "B", "ü", "a b"), ("x", "y", "X")),
        (3, 1, 10, 9, 1, 2, 1, -1, 0, 2, 2, 3, 1, 0, 10),
        ("n", None, "m", None, "n", "n", None, "m", "m", "", None, "n", "m", "", None),
        strict=True,
    )
]
_MANY = 1_200
_QUESTIONS: Sequence[Row] = (
    {}, {"product": "b"}, {"store": "x"}, {"product": "b", "store": "y"}, {"units": 1}, {"note": None}, {"note": ""},
    {"note": "n", "units": 1}, {"product": "zz"}, {"store": "x", "note": None}, {"note": "None"}, {"note": "null"},
    {"product": "b", "store": "y", "units": 2}, {"product": "a", "store": "x", "units": 4}, {"store": "x", "units": 0, "note": ""},
    {"product": "b", "store": "y", "note": "m"}, {"product": "a", "store": "x", "units": 3, "note": "m"}, {"product": "a' OR '1'='1"},
)  # fmt: skip
_ORDERS: Sequence[tuple[str, ...]] = ((), ("units",), ("store", "units"), ("store",), ("product",), ("units", "store"))
_TEXTS = (
    "", " ", "a", "A", "ä", "a\u0308", "\u2028", "\n", "\x00", "a\x00b", "\ufffd", "🜁" * 200, "'; DROP TABLE notes; --", "[x]", '"', "%",
    "NULL", "None", "null", "true", "TRUE", "2026-01-05T09:00:00.000000Z", "2026-01-05T09:00:00.000007Z", "2026-01-05T10:00:00+01:00",
    "1", "1.0", "01", "007", "+1", "-0", "1e3", "NaN", "\r\n", "\r", "a\n", "a\x00", "\x00a", "\ufeffa", "\u212b", "\u00c5",
    "\\n", "%41", "&amp;", "a\r\nb", "{}", "x" * 100_000,
)  # fmt: skip


class ReadingCases:
    """Cases of selecting rows."""

    @promise(
        "RM-4", "A question gives exactly the rows with these values, in the order asked for and then by key; text orders by code point."
    )
    async def test_rm_4_rows_in_order(self, harness: ReadModelHarness) -> None:
        async with harness.open() as model:
            await model.commit(*_ROWS, before=Checkpoint())
            for where, order, descending in product(_QUESTIONS, _ORDERS, (False, True)):
                page = await model.select(where=where, order=order, descending=descending)
                same(list(page.rows), _answer(where, order, descending=descending), f"other rows, or in another order: {where} by {order}")
                same((page.is_end,), (True,), "a page with everything is the end")
            await model.commit(Patch("levels", ("a", "x"), {"units": 7}), Delete("levels", ("b", "x")), before=(await model.checkpoint()))
            page = await model.select(where={"store": "x"}, order=("units",), descending=True, limit=2)
            same([row["units"] for row in page.rows], [7, 2], "a row is read where it was before it changed")
            same(len((await model.select("notes")).rows), 0, "rows of one table are in another")

    @promise("RM-20", "A question finds a row by what it holds now, whichever change made it so, and no longer by what it held before.")
    async def test_rm_20_rows_that_changed(self, harness: ReadModelHarness) -> None:
        steps: Sequence[tuple[Change, tuple[int, str | None] | None]] = (
            (level("a", "x", 1, "n"), (1, "n")),
            (level("a", "x", 2, "m"), (2, "m")),
            (Patch("levels", ("a", "x"), {"units": 3}), (3, "m")),
            (Patch("levels", ("a", "x"), {"note": None}), (3, None)),
            (Add("levels", ("a", "x"), {"units": 2}), (5, None)),
            (Add("levels", ("a", "x"), {"units": -5}, {"note": "n"}), (0, "n")),
            (Add("levels", ("a", "x"), {}, {"units": 4, "note": ""}), (4, "")),
            (Delete("levels", ("a", "x")), None),
            (Add("levels", ("a", "x"), {"units": 1}), (1, None)),
            (Delete("levels", ("a", "x")), None),
        )
        async with harness.open() as model:
            at = await model.commit(level("b", "x", 2, "m"), before=Checkpoint())
            for change, held in steps:
                at = await model.commit(change, before=at)
                rows = [*([level("a", "x", *held).row] if held else []), level("b", "x", 2, "m").row]
                in_order = sorted(rows, key=lambda row: _place(row["units"]))
                for name, value in (*(("units", units) for units in range(6)), *(("note", note) for note in ("n", "m", "", None))):
                    page = await model.select(where={"store": "x", name: value}, order=("units",))
                    expected = [row for row in in_order if row[name] == value]
                    same(list(page.rows), expected, f"after {change}, the rows whose {name} is {value!r} are other ones")
                page = await model.select(order=("store", "units"))
                same(list(page.rows), in_order, f"after {change}, rows are in another order")

    @promise("RM-5", "Pages of any size join to the whole, in both directions, and the last one says that it is the last.")
    async def test_rm_5_pages_join(self, harness: ReadModelHarness) -> None:
        async with harness.open() as model:
            await model.commit(*_ROWS, before=Checkpoint())
            for size, order, where, descending in product((1, 2, 7, 15), _ORDERS[:3], ({}, {"store": "x"}), (False, True)):
                whole = _answer(where, order, descending=descending)
                joined: list[Row] = []
                pages = 0
                after: Sequence[Value] | None = None
                is_end = False
                while not is_end and len(joined) <= len(whole):
                    page = await model.select(where=where, order=order, after=after, descending=descending, limit=size)
                    same(max(len(page.rows), size), size, "a page has no more rows than asked for")
                    joined += page.rows
                    pages += 1
                    is_end = page.is_end
                    after = place_of(LEVELS, order, page.rows[-1]) if page.rows else None
                same(joined, whole, f"pages of {size} by {order} don't join to the whole")
                same(pages, ceil(len(whole) / size), "a page with the last row does not say that it is the last")
            page = await model.select(after=("\U0010ffff", "z"))
            same((len(page.rows), page.is_end), (0, True), "behind the last row there is nothing")

    @promise("RM-5", "Pages of a table of more than a mebibyte join to the whole.", seeds=0)
    async def test_rm_5_a_large_table(self, harness: ReadModelHarness) -> None:
        rows = [level(f"p{number:05}", "x", number % 7, f"{number:1000}") for number in range(_MANY)]
        async with harness.open() as model:
            await model.commit(*rows, before=Checkpoint())
            for limit, descending in product((500, 1_000, 5_000), (False, True)):
                joined: list[Row] = []
                after: Sequence[Value] | None = None
                is_end = False
                while not is_end and len(joined) < _MANY:
                    page = await model.select(order=("units",), after=after, descending=descending, limit=limit)
                    joined += page.rows
                    is_end = page.is_end or not page.rows
                    after = place_of(LEVELS, ("units",), page.rows[-1]) if page.rows else None
                whole = sorted((put.row for put in rows), key=lambda row: (row["units"], row["product"]), reverse=descending)
                same([row["product"] for row in joined], [row["product"] for row in whole], f"pages of {limit} don't join to {_MANY} rows")
                same((is_end, joined), (True, whole), f"pages of {limit} don't join to {_MANY} rows, or the last one is not the end")

    @promise(
        "RM-6", "Every text and every number of 64 bits comes back as it was, is found, and tables may be called like keywords.", seeds=0
    )
    async def test_rm_6_values_and_names(self, harness: ReadModelHarness) -> None:
        async with harness.open() as model:
            numbers = (0, 1, -1, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63))
            rows = [level(text, "x", None, text) for text in _TEXTS] + [level(str(number), "n", number) for number in numbers]
            at = await model.commit(*rows, *(Put("notes", {"text": text}) for text in _TEXTS), before=Checkpoint())
            for put in rows:
                where = {"product": put.row["product"], "store": put.row["store"]}
                await _finds(model, where, put.row)
            for number in numbers:
                await _finds(model, {"units": number}, level(str(number), "n", number).row)
            same([row["text"] for row in (await model.select("notes")).rows], sorted(_TEXTS), "texts of a key, in order")
            await model.commit(*(Delete("notes", (text,)) for text in _TEXTS), before=at)
            same(len((await model.select(NOTES.name)).rows), 0, "a row is not found by its key")
            await _keywords(model)


async def _keywords(model: TestedReadModel) -> None:
    odd = ProjectionId("table", 1)
    lines = Table("group", {"order": str, "select": int, "where": str, "_": str}, ("order",), (("where", "select"),))
    await model.prepare(odd, [lines])
    changes: list[Change] = [
        Put("group", {"order": "o1", "select": 2, "where": "x", "_": None}),
        Put("group", {"order": "o2", "select": 1, "where": "x", "_": None}),
        Put("group", {"order": "o3", "select": 1, "where": "y", "_": None}),
        Patch("group", ("o1",), {"select": 3}),
        Add("group", ("o2",), {"select": 1}, {"_": "set"}),
        Delete("group", ("o3",)),
    ]
    await model.commit(*changes, before=Checkpoint(), projection=odd)
    page = await model.select("group", projection=odd, where={"where": "x"}, order=("select",))
    same([(row["order"], row["select"], row["_"]) for row in page.rows], [("o2", 2, "set"), ("o1", 3, None)], "names are names")


async def _finds(model: TestedReadModel, where: Row, row: Row) -> None:
    found = (await model.select(where=where)).rows
    same(
        [{name: (type(value), value) for name, value in one.items()} for one in found],
        [{n: (type(v), v) for n, v in row.items()}],
        "a value changed",
    )


def _answer(where: Row, order: Sequence[str], *, descending: bool) -> list[Row]:
    rows = [put.row for put in _ROWS if all(put.row[name] == value for name, value in where.items())]
    return sorted(rows, key=lambda row: [_place(row[name]) for name in order_of(LEVELS, order)], reverse=descending)


def _place(value: Value) -> tuple[int, str]:
    return (value, "") if isinstance(value, int) else (0, str(value))
