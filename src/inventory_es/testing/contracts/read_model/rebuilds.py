"""RM-1 … RM-3, RM-12: rows that are built once, in pieces, and rebuilt while others are read."""

from collections.abc import Iterable
from functools import partial
from random import Random

import anyio
from anyio.lowlevel import checkpoint as let_others_run

from inventory_es.ports import Add, Change, Checkpoint, Delete, Patch, ProjectionId, Put, Row
from inventory_es.ports.errors import CheckpointConflictError, ProjectionNotFoundError
from inventory_es.testing.contracts.core.tested_port import refused
from inventory_es.testing.contracts.read_model.harness import ID, LEVELS, NEXT, ReadModelHarness, TestedReadModel, level, same
from inventory_es.testing.promise import promise

_STEPS = 60
_IN_PIECES = "Rows built in any pieces equal those built at once: put, patch, delete and add mean the same in any commit."
_BESIDE = "A version is built beside the active one; readers change over in one step, never back in time; others can be dropped."


class BuildingCases:
    """Cases of building rows."""

    @promise("RM-1", "An event applied twice counts once: the same commit again, or a later one from where it began, is a conflict.")
    async def test_rm_1_applied_twice_counts_once(self, harness: ReadModelHarness) -> None:
        async with harness.open() as model:
            start = Checkpoint()
            more = Add("levels", ("a", "x"), {"units": 2}, {"note": "n"})
            at = await model.commit(more, before=start)
            for changes in ([more], [more, more]):
                call = partial(model.commit, *changes, before=start)
                await refused(CheckpointConflictError, call, meaning="a commit was taken twice: its events count twice")
            await model.shows(("a", "x", 2, "n"), at=at, meaning="what was added once is there once")
            at = await model.commit(more, more, Add("levels", ("a", "y"), {"units": -1}), before=at)
            await model.shows(("a", "x", 6, "n"), ("a", "y", -1, None), at=at, meaning="each change of one commit counts")

    @promise("RM-2", _IN_PIECES, seeds=8)
    async def test_rm_2_in_any_pieces(self, harness: ReadModelHarness) -> None:
        chance = harness.run.schedule.chance
        changes = [_any_change(chance) for _ in range(_STEPS)]
        rows = _fold(changes)
        async with harness.open() as model:
            await model.prepare(NEXT)
            pieces, rest, at = [], list(changes), Checkpoint()
            while rest:
                size = chance.randint(1, 9)
                pieces.append(rest[:size])
                rest = rest[size:]
            for piece in pieces:
                at = await model.commit(*piece, before=at)
            await model.commit(*changes, before=Checkpoint(), after=at, projection=NEXT)
            for projection in (ID, NEXT):
                await model.shows(*rows, projection=projection, at=at, meaning="the changes, one after the other, make other rows")

    @promise("RM-2", _IN_PIECES)
    async def test_rm_2_what_changes_mean(self, harness: ReadModelHarness) -> None:
        async with harness.open() as model:
            at = await model.commit(level("a", "x", 1, "n"), level("a", "x", 2), before=Checkpoint())
            await model.shows(("a", "x", 2, None), meaning="put writes the whole row, the last one stays")
            at = await model.commit(Patch("levels", ("a", "x"), {"note": "p"}), Patch("levels", ("z", "z"), {"note": "p"}), before=at)
            await model.shows(("a", "x", 2, "p"), meaning="patch changes the columns that it names, and makes no row")
            at = await model.commit(Patch("levels", ("a", "x"), {}), Delete("levels", ("z", "z")), before=at)
            await model.shows(("a", "x", 2, "p"), meaning="a patch of nothing and a delete of nothing change nothing")
            at = await model.commit(Add("levels", ("a", "x"), {"units": -3}), Add("levels", ("b", "x"), {"units": 4}), before=at)
            await model.shows(("a", "x", -1, "p"), ("b", "x", 4, None), meaning="add adds, and makes the row that is not there from 0")
            gone: list[Change] = [
                Delete("levels", ("a", "x")),
                Patch("levels", ("a", "x"), {"note": "q"}),
                Add("levels", ("b", "y"), {}, {"note": "r"}),
            ]
            at = await model.commit(*gone, before=at)
            await model.shows(
                ("b", "x", 4, None), ("b", "y", None, "r"), meaning="delete takes the row away, and a patch does not bring it back"
            )
            again: list[Change] = [
                Patch("levels", ("c", "x"), {"units": 9}),
                Add("levels", ("c", "x"), {"units": 1}),
                Add("levels", ("b", "y"), {"units": 1}),
                Add("levels", ("d", "y"), {}),
            ]
            at = await model.commit(*again, before=at)
            meaning = "changes apply in the order in which they are given"
            await model.shows(("b", "x", 4, None), ("b", "y", 1, "r"), ("c", "x", 1, None), ("d", "y", None, None), at=at, meaning=meaning)

    @promise("RM-3", _BESIDE)
    async def test_rm_3_changing_over(self, harness: ReadModelHarness) -> None:
        async with harness.open() as model:
            first = await model.commit(level("a", "x", 1), before=Checkpoint())
            await model.prepare(NEXT)
            await _versions_are(model, [(ID, True, first), (NEXT, False, Checkpoint())])
            is_taken = await model.activate(NEXT, before=Checkpoint())
            same([is_taken], [False], "readers changed over to a version that is behind the one they read")
            conflict = partial(model.activate, NEXT, before=first)
            await refused(CheckpointConflictError, conflict, meaning="who does not know where a version is can't activate it")
            await refused(ValueError, partial(model.drop, ID), meaning="the version that readers ask was dropped under them")
            at = await model.commit(level("a", "x", 2), before=Checkpoint(), after=first, projection=NEXT)
            same((await model.select(projection=NEXT)).active, ID, "a version became active by itself")
            for _ in range(2):
                same([await model.activate(NEXT, before=at)], [True], "a version that is as far as the active one can take over")
            await _versions_are(model, [(ID, False, first), (NEXT, True, first)])
            same((await model.select()).active, NEXT, "who reads the old version is not told of the new one")
            await model.drop(ID)
            await _versions_are(model, [(NEXT, True, first)])
            uses = [use for use in model.every_use() if use not in {model.prepare, model.versions}]
            for use in uses:
                await refused(ProjectionNotFoundError, use, meaning="a version that was dropped is no longer there")
            await model.shows(("a", "x", 2, None), projection=NEXT, at=at, meaning="dropping one version took rows of another")
            await model.prepare()
            await model.shows(at=Checkpoint(), meaning="a version that was dropped begins anew")
            await _versions_are(model, [(ID, False, Checkpoint()), (NEXT, True, first)])
            await model.drop(ID)
            await model.drop(NEXT)
            await _versions_are(model, [])

    @promise("RM-12", "A version that stands at an error holds nobody back: readers may change over to one that is behind it.")
    async def test_rm_12_changing_over_from_an_error(self, harness: ReadModelHarness) -> None:
        async with harness.open() as model:
            ahead_of_it = await model.commit(level("a", "x", 1), before=Checkpoint(), after=Checkpoint(position=9, epoch=1))
            await model.prepare(NEXT)
            at = await model.commit(level("a", "x", 2), before=Checkpoint(), projection=NEXT)
            same([await model.activate(NEXT, before=at)], [False], "readers changed over to a version that is behind the one they read")
            stopped = await model.commit(before=ahead_of_it, after=Checkpoint(position=9, epoch=2, error="it is of another history"))
            meaning = "readers are kept at rows that nobody can go on with"
            same([await model.activate(NEXT, before=at)], [True], meaning)
            await _versions_are(model, [(ID, False, stopped), (NEXT, True, at)])
            await model.drop(ID)
            await model.shows(("a", "x", 2, None), projection=NEXT, at=at, meaning="dropping one version took rows of another")

    @promise("RM-3", _BESIDE, seeds=6)
    async def test_rm_3_while_events_arrive(self, harness: ReadModelHarness) -> None:
        async with harness.open() as model:
            await model.prepare(NEXT)
            head, is_over = 12, False

            async def build(projection: ProjectionId) -> None:
                nonlocal is_over
                at = Checkpoint()
                while at.position < head:
                    at = await model.commit(Add("levels", ("a", "x"), {"units": 1}), before=at, projection=projection)
                    if projection == NEXT:
                        await model.activate(NEXT, before=at)
                is_over = is_over or projection == NEXT

            async def read() -> None:
                asked, last = ID, 0
                while not is_over:
                    await let_others_run()  # a read model may answer without suspending
                    page = await model.select(projection=asked)
                    units = sum(int(row["units"] or 0) for row in page.rows)
                    same(units, page.checkpoint.position, "an event was lost, or counts twice")
                    if page.active == asked:
                        same(max(units, last), units, "a reader of the active version went back in time")
                        last = units
                    asked = page.active

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(read)
                tasks.start_soon(build, ID)
                tasks.start_soon(build, NEXT)
            same([one.projection_id for one in await model.versions() if one.is_active], [NEXT], "the new version is not active")


def _any_change(chance: Random) -> Change:
    key = (chance.choice("abc"), chance.choice("xy"))
    units, note = chance.choice([None, -2, 0, 3]), chance.choice([None, "n", "m"])
    some: Row = chance.choice([{}, {"note": note}, {"units": units}, {"units": units, "note": note}])
    match chance.randrange(4):
        case 0:
            return level(*key, units, note)
        case 1:
            return Patch("levels", key, some)
        case 2:
            return Delete("levels", key)
        case _:
            return Add("levels", key, {} if "units" in some else {"units": chance.randint(-2, 2)}, some)


def _fold(changes: Iterable[Change]) -> list[tuple[str | int | None, ...]]:
    """Return the rows, by the plainest reading of the changes."""
    rows: dict[tuple[object, ...], dict[str, str | int | None]] = {}
    for change in changes:
        if isinstance(change, Put):
            rows[change.row["product"], change.row["store"]] = dict(change.row)
        elif isinstance(change, Delete):
            rows.pop(change.key, None)
        elif isinstance(change, Add):
            row = rows.setdefault(change.key, {"product": change.key[0], "store": change.key[1], "units": None, "note": None})
            row.update(change.row)
            for name, amount in change.amounts.items():
                row[name] = int(row[name] or 0) + amount
        elif change.key in rows:
            rows[change.key].update(change.row)
    return [tuple(row[name] for name in LEVELS.columns) for _, row in sorted(rows.items(), key=lambda item: tuple(map(str, item[0])))]


async def _versions_are(model: TestedReadModel, expected: list[tuple[object, bool, Checkpoint]]) -> None:
    found = await model.versions()
    same([(one.projection_id, one.is_active, one.checkpoint) for one in found], expected, "the versions that are there, lowest first")
    same([set(one.tables) for one in found], [{"levels", "notes"}] * len(expected), "a version says which tables it has")
