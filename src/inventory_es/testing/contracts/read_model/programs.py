"""RM-11, RM-13, RM-17, RM-19: every answer of a program is the model's; names, sums, and rows that belong to the caller."""

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from random import Random
from typing import Any
from uuid import UUID

import attrs

from inventory_es.ports import Add, Change, Checkpoint, Delete, EventMark, Patch, ProjectionId, Put, Row, Table
from inventory_es.ports.errors import CheckpointConflictError
from inventory_es.ports.read_model import Value, order_of, place_of
from inventory_es.testing.contracts.core.tested_port import refused
from inventory_es.testing.contracts.read_model.harness import NOTES, START, ReadModelHarness, TestedReadModel, ahead, level, same
from inventory_es.testing.contracts.read_model.model import Model, same_page
from inventory_es.testing.promise import promise

_STEPS = 30
_MOVES = Table(
    "moves",
    {"product": str, "line": int, "amount": int, "note": str, "total": int},
    ("product", "line"),
    (("amount",), ("note", "amount")),
)
_IDS = (ProjectionId("goods", 1), ProjectionId("goods", 2), ProjectionId("goods_1", 1))
_PRODUCTS = ("a", "B", "b", "a ", "", "1", "01", "1.0", "\u00e9", "\uffff", "\U0001f700")
_LINES = (-(2**63), -10, -9, 0, 9, 10, 2**53, 2**53 + 1)
_NOTES = (None, "", " ", "n", "N", "0", "None", "null")
_NUMBERS = (-(2**53) - 1, -1, 0, 1, 9, 10, 2**53 + 1)
_ORDERS: tuple[tuple[str, ...], ...] = ((), ("amount",), ("line",), ("amount", "line"), ("line", "product"), ("product",))
_BEYOND = 2**63
_LONG = "x" * 63
_NAMES = (
    ("a", 1, "b"), ("a", 11, "b"), ("a", 2, "b"), ("a1", 1, "b"), ("a_1", 1, "b"), ("a_v1", 1, "b"), ("a", 1, "b_c"), ("a_b", 1, "c"),
    ("ab", 1, "c"), ("axb", 1, "c"), ("a_v1_b", 1, "c"), ("a", 1, "b_v1_c"), ("a", 1, "b_1_c"), ("a_1_b", 1, "c"), ("a_", 1, "b"),
    ("a", 1, "_b"), ("a", 1, "b_"), ("_a", 1, "b"), ("a_b_c", 1, "b"), ("a", 1, "rows"), (f"{_LONG}a", 1, f"{_LONG}a"),
    (f"{_LONG}a", 1, f"{_LONG}b"), (f"{_LONG}b", 1, f"{_LONG}a"), (_LONG, 1, "b"), ("projections", 1, "checkpoints"),
)  # fmt: skip
_SEPARATORS = ("|", ":", "-", "_", "/", ",", ";", "\x00", "\x1f", "\t", "\n", '"', "\\", "#", "\u2028")


class ProgramCases:
    """Cases that compare a read model with a model."""

    @promise(
        "RM-11",
        "In any program, every version, checkpoint, row and page is what the changes make of it one after the other, type by type.",
        seeds=8,
    )
    async def test_rm_11_any_program(self, harness: ReadModelHarness) -> None:
        chance, model = harness.run.schedule.chance, Model()
        async with harness.open() as tested:
            for step in range(_STEPS):
                projection = chance.choice(_IDS)
                if projection not in model.built:
                    await tested.prepare(projection, (_MOVES, NOTES))
                    model.prepare(projection, (_MOVES, NOTES))
                elif chance.random() < 0.2:
                    await _change_over(tested, model, projection)
                elif chance.random() < 0.1:
                    await _drop(tested, model, projection)
                else:
                    await _commit(tested, model, projection, step, chance)
                for name in {one.name for one in _IDS}:
                    same(list(await tested.versions(name)), model.versions(name), "a version is another than the steps before make it")
                for asked in chance.sample(sorted(model.built, key=str), min(2, len(model.built))):
                    await _ask(tested, model, asked, chance)
            await model.is_in(tested, "at the end, something differs that no question before showed")

    @promise(
        "RM-13",
        "Projections, versions and tables are separate, whatever their names have in common; and so are keys of several columns.",
        seeds=0,
    )
    async def test_rm_13_names(self, harness: ReadModelHarness) -> None:
        model = Model()
        tables: dict[ProjectionId, list[Table]] = {}
        for name, version, table in _NAMES:
            shape = Table(table, {"key": str, "of": str, "units": int}, ("key",), (("of",),))
            tables.setdefault(ProjectionId(name, version), []).append(shape)
        async with harness.open() as tested:
            for projection, shapes in tables.items():
                await tested.prepare(projection, shapes)
                model.prepare(projection, shapes)
            for number, (projection, shapes) in enumerate(tables.items(), 1):
                changes = [Put(shape.name, {"key": "k", "of": f"{projection} {shape.name}", "units": number}) for shape in shapes]
                after = ahead(Checkpoint(), number)
                await tested.commit(*changes, before=Checkpoint(), after=after, projection=projection)
                model.built[projection].commit(changes, after)
            await model.is_in(tested, "two names share rows, a checkpoint or a version")
            for projection in [one for one in tables if model.may_drop(one)]:
                if model.may_drop(projection):
                    await tested.drop(projection)
                    model.drop(projection)
                    same(list(await tested.versions(projection.name)), model.versions(projection.name), "a dropped version is still there")
                    await model.is_in(tested, f"dropping {projection} changed another")

    @promise("RM-13", "Rows are separate, whatever the texts of their keys have in common.", seeds=0)
    async def test_rm_13_keys_of_several_columns(self, harness: ReadModelHarness) -> None:
        pairs = [pair for mark in _SEPARATORS for pair in ((f"a{mark}b", "c"), ("a", f"b{mark}c"), (f"a{mark}", "b"), ("a", f"{mark}b"))]
        pairs += [("", "ab"), ("a", "b"), ("ab", ""), ("abc", ""), ("", "abc"), ("a", "bc"), ("ab", "c")]
        async with harness.open() as tested:
            at = await tested.commit(*(level(*pair, number) for number, pair in enumerate(pairs)), before=Checkpoint())
            rows = sorted((product, store, number, None) for number, (product, store) in enumerate(pairs))
            await tested.shows(*rows, at=at, meaning="rows of two keys are one")
            gone, left = pairs[::2], rows
            for pair in gone:
                left = [row for row in left if row[:2] != pair]
            at = await tested.commit(*(Delete("levels", pair) for pair in gone), before=at)
            await tested.shows(*left, at=at, meaning="deleting a row took another one, or left it")

    @promise(
        "RM-17", "A sum beyond 64 bits is ValueError in either direction, wherever in a commit; the largest and the smallest are kept."
    )
    async def test_rm_17_sums_of_64_bits(self, harness: ReadModelHarness) -> None:
        async with harness.open() as tested:
            at = await tested.commit(
                Add("levels", ("a", "x"), {"units": _BEYOND - 1}),
                Add("levels", ("b", "x"), {"units": -_BEYOND}),
                level("c", "x", -1),
                Add("levels", ("c", "x"), {"units": 1 - _BEYOND}),
                Add("levels", ("d", "x"), {"units": 2**62}),
                before=Checkpoint(),
            )
            rows = (("a", "x", _BEYOND - 1, None), ("b", "x", -_BEYOND, None), ("c", "x", -_BEYOND, None), ("d", "x", 2**62, None))
            await tested.shows(*rows, at=at, meaning="a number of 64 bits is another one")
            beyond: list[list[Change]] = [
                [Add("levels", ("a", "x"), {"units": 1})],
                [Add("levels", ("a", "x"), {"units": _BEYOND - 1})],
                [Add("levels", ("b", "x"), {"units": -1})],
                [Add("levels", ("b", "x"), {"units": -_BEYOND})],
                [Add("levels", ("d", "x"), {"units": 2**62})],
                [Add("levels", ("e", "x"), {"units": 2**62}), Add("levels", ("e", "x"), {"units": 2**62})],
                [level("a", "x", -_BEYOND), Add("levels", ("a", "x"), {"units": -1})],
                [Patch("levels", ("d", "x"), {"units": _BEYOND - 1}), Add("levels", ("d", "x"), {"units": 1}, {"note": "n"})],
            ]
            for changes in beyond:
                call = partial(tested.commit, level("z", "z", 1), *changes, level("y", "y", 1), before=at)
                await refused(ValueError, call, meaning=f"a number beyond 64 bits was taken: {changes[-1]}")
                await tested.shows(*rows, at=at, meaning="a part of a refused commit is visible")
            sums = {"a": -_BEYOND, "b": _BEYOND - 1, "d": 1}
            at = await tested.commit(*(Add("levels", (name, "x"), {"units": amount}) for name, amount in sums.items()), before=at)
            rows = (("a", "x", -1, None), ("b", "x", -1, None), rows[2], ("d", "x", 2**62 + 1, None))
            await tested.shows(*rows, at=at, meaning="a sum of 64 bits is another one")

    @promise("RM-19", "Rows that are given or answered belong to the caller: what becomes of them later changes nothing.", seeds=0)
    async def test_rm_19_rows_are_copies(self, harness: ReadModelHarness) -> None:
        async with harness.open() as tested:
            row: dict[str, Any] = {"product": "a", "store": "x", "units": 1, "note": "n"}
            patch: dict[str, Any] = {"note": "p"}
            at = await tested.commit(Put("levels", row), Patch("levels", ("a", "x"), patch), before=Checkpoint())
            row["units"], patch["note"] = 99, "changed"
            for _ in range(2):
                await tested.shows(("a", "x", 1, "p"), at=at, meaning="a row changed when the caller reused what it had given or got")
                given: Any = (await tested.select()).rows[0]
                if isinstance(given, dict):
                    given["units"] = 77


async def _commit(tested: TestedReadModel, model: Model, projection: ProjectionId, step: int, chance: Random) -> None:
    built = model.built[projection]
    before = built.checkpoint
    changes = [_any_change(chance, list(built.rows["moves"].values())) for _ in range(chance.randint(0, 6))]
    after = _any_checkpoint(before, step, chance)
    match chance.randrange(10):
        case 0:
            stale = attrs.evolve(before, position=before.position + 1, epoch=before.epoch + chance.randint(0, 1))
            call = partial(
                tested.commit, *changes, before=stale, after=attrs.evolve(stale, position=stale.position + 9), projection=projection
            )
            await refused(CheckpointConflictError, call, meaning="a commit from a checkpoint that is not there was taken")
        case 1:
            wrong: list[Change] = [
                Put("notes", {"text": "t"}),
                Add("moves", ("o", 1), {"amount": _BEYOND - 1}),
                Add("moves", ("o", 1), {"amount": 1}),
            ]
            call = partial(tested.commit, *changes, *wrong, before=before, after=after, projection=projection)
            await refused(ValueError, call, meaning="a number beyond 64 bits was taken")
        case _:
            await tested.commit(*changes, before=before, after=after, projection=projection)
            built.commit(changes, after)


async def _change_over(tested: TestedReadModel, model: Model, projection: ProjectionId) -> None:
    taken = await tested.activate(projection, before=model.built[projection].checkpoint)
    may = model.may_activate(projection)
    same([taken], [may], "readers may change over to what is as far as the active version, or from one that stands at an error")
    if may:
        model.active[projection.name] = projection


async def _drop(tested: TestedReadModel, model: Model, projection: ProjectionId) -> None:
    if model.may_drop(projection):
        await tested.drop(projection)
        model.drop(projection)
    else:
        await refused(ValueError, partial(tested.drop, projection), meaning="the version that readers ask was dropped under them")


async def _ask(tested: TestedReadModel, model: Model, projection: ProjectionId, chance: Random) -> None:
    built = model.built[projection]
    rows = list(built.rows["moves"].values())
    row = chance.choice(rows) if rows else _any_row(chance)
    where = {name: row[name] for name in chance.sample(sorted(row), chance.choice((0, 0, 1, 2, 3, 4)))}
    if where and chance.random() < 0.3:
        name = chance.choice(list(where))
        where[name] = _any_row(chance)[name]
    order, descending, limit = chance.choice(_ORDERS), chance.random() < 0.5, chance.choice((1, 2, 3, 1_000, 2**31))
    after = None
    if chance.random() < 0.6:
        place: Row = chance.choice(rows) if rows and chance.random() < 0.6 else _any_row(chance)
        after = place_of(_MOVES, order, place)
    page = await tested.select("moves", projection=projection, where=where, order=order, after=after, descending=descending, limit=limit)
    whole = built.select("moves", where, order, after, descending=descending)
    by = f"{where} by {order_of(_MOVES, order)}{' descending' if descending else ''} after {after}"
    same_page(page, whole, limit, f"rows of the question {by} are other ones, or in another order")
    same(
        (page.checkpoint, page.active),
        (built.checkpoint, model.active[projection.name]),
        "a page tells another checkpoint, or active version",
    )
    notes = await tested.select("notes", projection=projection, limit=2)
    same_page(notes, built.select("notes", {}, ()), 2, "rows of the second table are other ones")


def _any_row(chance: Random) -> dict[str, Value]:
    key: dict[str, Value] = {"product": chance.choice(_PRODUCTS), "line": chance.choice(_LINES)}
    return {**key, "amount": chance.choice(_NUMBERS), "note": chance.choice(_NOTES), "total": chance.choice((None, *_NUMBERS))}


def _any_change(chance: Random, rows: Sequence[Row]) -> Change:
    row = _any_row(chance)
    if rows and chance.random() < 0.6:
        there = chance.choice(rows)
        row |= {name: there[name] for name in _MOVES.key}
    key = (row["product"], row["line"])
    some = {name: row[name] for name in chance.sample(("amount", "note", "total"), chance.randint(0, 3))}
    match chance.randrange(8):
        case 0 | 1 | 2:
            return Put("moves", row)
        case 3:
            return Delete("moves", key)
        case 4:
            return Put("notes", {"text": str(row["product"])}) if chance.random() < 0.7 else Delete("notes", (row["product"],))
        case 5:
            return Patch("moves", key, some)
        case _:
            others = {name: value for name, value in some.items() if name == "note"}
            amounts = {"amount": chance.choice(_NUMBERS)} | ({"total": 1} if "total" in some else {})
            return Add("moves", key, amounts, others)


def _any_checkpoint(before: Checkpoint, step: int, chance: Random) -> Checkpoint:
    return Checkpoint(
        position=before.position + chance.randint(0, 2),
        recorded_at=chance.choice((None, START + timedelta(microseconds=step))),
        epoch=before.epoch + chance.randint(0, 1),
        owner=chance.choice((None, "", "one", "Two")),
        owned_until=chance.choice((None, START + timedelta(seconds=step))),
        error=chance.choice((None, None, None, "stopped")),
        mark=chance.choice((None, EventMark(step + 1, UUID(int=step)))),
    )
