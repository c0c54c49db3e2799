"""RM-7 … RM-9: refused calls, and calls while the backend is away."""

from functools import partial
from typing import Any

import attrs

from inventory_es.ports import Add, Change, Checkpoint, Delete, Patch, ProjectionId, Put, Table
from inventory_es.ports.errors import IncompatibleStoreError, ProjectionNotFoundError, ReadModelUnavailableError
from inventory_es.testing.contracts.core.tested_port import refused
from inventory_es.testing.contracts.read_model.harness import ID, LEVELS, NEXT, NOTES, TABLES, ReadModelHarness, level, same
from inventory_es.testing.promise import promise

_ROW: dict[str, Any] = {"product": "a", "store": "x", "units": 2, "note": None}
_WRONG_CHANGES: list[Change] = [
    Put("nothing", {}),
    Put("levels", {"product": "a"}),
    Put("levels", _ROW | {"colour": "red"}),
    Put("levels", _ROW | {"units": "2"}),
    Put("levels", _ROW | {"units": True}),
    Put("levels", _ROW | {"units": 2.0}),
    Put("levels", _ROW | {"units": 2**63}),
    Put("levels", _ROW | {"note": 7}),
    Put("levels", _ROW | {"note": b"bytes"}),
    Put("levels", _ROW | {"product": None}),
    Patch("levels", ("a",), {}),
    Patch("levels", ("a", 1), {}),
    Patch("levels", ("a", "x"), {"store": "y"}),
    Patch("levels", ("a", "x"), {"colour": "red"}),
    Patch("levels", ("a", "x"), {"units": -(2**63) - 1}),
    Delete("levels", ("a",)),
    Delete("levels", ("a", "x", "y")),
    Add("levels", ("a",), {"units": 1}),
    Add("levels", ("a", "x"), {"units": 1}, {"units": 2}),
    Add("levels", ("a", "x"), {"note": 1}),
    Add("levels", ("a", "x"), {"colour": 1}),
    Add("levels", ("a", "x"), {"units": True}),
    Add("levels", ("a", "x"), {"units": 1}, {"store": "y"}),
]
_WRONG_QUESTIONS: list[dict[str, Any]] = [
    {"where": {"colour": "red"}},
    {"order": ("colour",)},
    {"after": ("a",)},
    {"order": ("units",), "after": ("a", "x")},
    {"limit": 0},
    {"limit": -1},
    {"table": "nothing"},
]


class RefusalCases:
    """Cases of refusals and of an absent backend."""

    @promise("RM-7", "Preparing twice changes nothing; other tables are IncompatibleStoreError; a version that is not there says so.")
    async def test_rm_7_preparing(self, harness: ReadModelHarness) -> None:
        async with harness.open() as model:
            at = await model.commit(level("a", "x", 1), before=Checkpoint())
            await model.prepare()
            backwards = dict(reversed([*LEVELS.columns.items()]))
            await model.prepare(tables=(NOTES, attrs.evolve(LEVELS, columns=backwards)))
            at = await model.commit(level("b", "y", 2, "n"), before=at)
            rows = (("a", "x", 1, None), ("b", "y", 2, "n"))
            await model.shows(*rows, at=at, meaning="preparing twice, in whatever order, changed something")
            others: list[list[Table]] = [
                [LEVELS],
                [*TABLES, Table("more", {"a": int}, ("a",))],
                [attrs.evolve(LEVELS, indexes=()), NOTES],
                [attrs.evolve(LEVELS, columns={**LEVELS.columns, "more": str}), NOTES],
                [attrs.evolve(LEVELS, columns={**LEVELS.columns, "units": str}), NOTES],
                [attrs.evolve(LEVELS, key=("store", "product")), NOTES],
            ]
            for tables in others:
                call = partial(model.prepare, tables=tables)
                await refused(IncompatibleStoreError, call, meaning="rows of one shape would be taken for rows of another")
            await model.shows(*rows, at=at, meaning="a refused preparation changed something")
            await model.prepare(NEXT, [attrs.evolve(LEVELS, indexes=())])
            await model.commit(level("z", "z", 9), before=Checkpoint(), projection=NEXT)
            await model.shows(*rows, at=at, meaning="two versions share rows or a checkpoint")
            missing = ProjectionId("missing", 1)
            start = Checkpoint()
            for use in (
                partial(model.checkpoint, missing),
                partial(model.select, projection=missing),
                partial(model.commit, before=start, projection=missing),
                partial(model.activate, missing, before=start),
                partial(model.drop, missing),
                partial(model.checkpoint, attrs.evolve(ID, version=3)),
            ):
                await refused(ProjectionNotFoundError, use, meaning="a version that nobody prepared is not there")
            same(list(await model.versions("missing")), [], "of a name that nobody prepared there are no versions")

    @promise("RM-7", "A version that was dropped may come again with other tables.")
    async def test_rm_7_a_dropped_version_comes_again(self, harness: ReadModelHarness) -> None:
        other = Table("levels", {"store": str, "count": int}, ("store",))
        async with harness.open() as model:
            await model.prepare(NEXT)
            await model.commit(level("a", "x", 1), Put("notes", {"text": "t"}), before=Checkpoint(), projection=NEXT)
            await model.drop(NEXT)
            await model.prepare(NEXT, [other])
            at = await model.commit(Put("levels", {"store": "x", "count": 5}), before=Checkpoint(), projection=NEXT)
            page = await model.select(projection=NEXT)
            same([dict(row) for row in page.rows], [{"store": "x", "count": 5}], "the rows of a dropped version are those of the new one")
            same(page.checkpoint, at, "the checkpoint of a dropped version is that of the new one")
            call = partial(model.select, "notes", projection=NEXT)
            await refused(ValueError, call, meaning="a table of the version that was dropped is still there")
            call_old = partial(model.commit, level("a", "x", 1), before=at, projection=NEXT)
            await refused(ValueError, call_old, meaning="a row that fits the dropped version was taken")

    @promise("RM-8", "Changes and questions that fit no table are ValueError, and nothing of them is done.", seeds=0)
    async def test_rm_8_misuse(self, harness: ReadModelHarness) -> None:
        async with harness.open() as model:
            at = await model.commit(level("a", "x", 1), before=Checkpoint())
            for wrong in _WRONG_CHANGES:
                call = partial(model.commit, level("a", "x", 2), wrong, level("b", "x", 2), before=at)
                await refused(ValueError, call, meaning=f"a change that does not fit was taken: {wrong}")
                await model.shows(("a", "x", 1, None), at=at, meaning="half of a refused commit is visible")
            for question in _WRONG_QUESTIONS:
                await refused(ValueError, partial(model.select, **question), meaning=f"a question without sense was answered: {question}")
            await model.commit(level("a", "x", 2), before=at)

    @promise("RM-9", "While the backend is away, every use is ReadModelUnavailableError.", seeds=0)
    async def test_rm_9_the_backend_is_away(self, harness: ReadModelHarness) -> None:
        async with harness.open() as model:
            await model.commit(level("a", "x", 1), before=Checkpoint())
            if not await harness.contract.kill(harness.run.site):
                harness.run.not_declared("kill: the hook that takes the backend away")
            for use in model.every_use():
                await refused(
                    ReadModelUnavailableError, use, meaning="an error of the driver's own tells nobody that it may be tried again"
                )
