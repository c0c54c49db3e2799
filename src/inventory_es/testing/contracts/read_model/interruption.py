"""RM-14 … RM-16, RM-18, CK-9: calls that are cancelled, meet, are large, or during which the read model is closed."""

from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, TypeAlias

import anyio

from inventory_es.ports import Add, Change, Checkpoint, ProjectionId, Put, ReadModel, RowsPage
from inventory_es.ports.errors import CheckpointConflictError, ProjectionNotFoundError, ReadModelUnavailableError, StoreClosedError
from inventory_es.ports.read_model import Value
from inventory_es.testing.contracts.core.await_points import MOST_POINTS, cancel_at, cancel_some, close_again, hold_at
from inventory_es.testing.contracts.core.schedule import AtSuspension
from inventory_es.testing.contracts.core.tested_port import ends_well, refused
from inventory_es.testing.contracts.read_model.harness import ID, NEXT, TABLES, ReadModelHarness, TestedReadModel, ahead, level, same, show
from inventory_es.testing.promise import MismatchError, promise

_MANY = 1_000
_LAST = f"p{_MANY // 2 - 1:04}"
_TIMES = 40
_LOOKS = 3
_POOL = 20  # a connection that a cancelled call spoiled may come up again after all others
_ROUNDS = 30
_OTHER = ProjectionId("other", 1)
_NEW = ProjectionId("stock", 3)
_BEYOND = 2**63 - 1

Use: TypeAlias = Callable[[ReadModel], Coroutine[Any, Any, object]]


class InterruptionCases:
    """Cases of callers that give up or meet, and of closing during a call."""

    @promise(
        "RM-14",
        "A call that is cancelled at any await point, often, is done or not, and takes nothing from the next caller.",
        seeds=0,
    )
    async def test_rm_14_cancelled_often(self, harness: ReadModelHarness) -> None:
        async with harness.open() as model:
            await model.prepare(_OTHER)
            at = await model.commit(level("a", "x", 1), before=Checkpoint())
            mine = await model.commit(level("m", "x", 0), before=Checkpoint(), projection=_OTHER)
            for name, use in _uses(at).items():
                for point in range(MOST_POINTS):
                    reached = True
                    where = f"after {name} was cancelled at await point {point}"
                    for times in (1,) * _LOOKS + (_TIMES,):
                        await _again(model, at)
                        for _ in range(times):
                            reached = await cancel_at(point, _call(model, name, use))
                        mine = await model.commit(Add("levels", ("m", "x"), {"units": 1}), before=mine, projection=_OTHER)
                        await model.shows(
                            ("m", "x", mine.position - 1, None), projection=_OTHER, at=mine, meaning=f"{where}, another projection differs"
                        )
                        await _is_whole(model, at, where)
                        for _ in range(0 if times == 1 else _POOL):
                            same(await model.checkpoint(_OTHER), mine, f"{where}, a caller has another answer")
                        if not reached:
                            break
                    if not reached:
                        break

    @promise(
        "RM-14", "While some of many callers are cancelled, each other one gets its own answer, and 64 callers at once all end.", seeds=2
    )
    async def test_rm_14_cancelled_among_others(self, harness: ReadModelHarness) -> None:
        async with harness.open() as model:
            await model.commit(*(level(name, "x", number) for number, name in enumerate("abcd")), before=Checkpoint())

            async def ask(number: int) -> None:
                name = "abcd"[number % 4]
                page = await model.select(where={"product": name})
                same([row["product"] for row in page.rows], [name], "a caller got what another one asked for")

            async def give_up(number: int, point: int) -> None:
                select = partial(model.raw.select, ID, "levels", where={"product": "abcd"[number % 4]}, limit=9)
                await cancel_at(point, lambda at: model.call("select, to be cancelled", select(), show, at))

            await cancel_some(ask, give_up, points=3)

    @promise(
        "RM-15",
        "A commit of 1,000 changes of several tables is seen whole or not at all: by readers, after a cancellation, after a refusal.",
        seeds=0,
    )
    async def test_rm_15_a_large_commit(self, harness: ReadModelHarness) -> None:
        async with harness.open() as model:
            at = await model.commit(*_many(1), before=Checkpoint())
            await _is_of_one_commit(model, (1,), "a commit of 1,000 changes is not there as a whole")
            last: Sequence[Change] = (level("z", "z", _BEYOND), Add("levels", ("z", "z"), {"units": 1}))
            call = partial(model.commit, *_many(2), *last, before=at)
            await refused(ValueError, call, meaning="the last of 1,002 changes takes a number beyond 64 bits")
            await _is_of_one_commit(model, (1,), "a part of a commit that was refused at its end is visible")
            call = partial(model.commit, *_many(2), before=Checkpoint())
            await refused(CheckpointConflictError, call, meaning="a commit from an old checkpoint was taken")
            await _is_of_one_commit(model, (1,), "a part of a commit that was a conflict is visible")
            points = await _points(model, at)
            number = at.position + 1
            for point in points:
                before, commit = await model.checkpoint(), number + 1
                read = partial(
                    _is_of_one_commit, model, (before.position, commit), f"at await point {point} of a commit a reader sees a part"
                )
                call = partial(model.commit, *_many(commit), before=before, after=ahead(before, commit - before.position))
                await hold_at(point, lambda held: call(at_suspension=held), read)  # noqa: B023  # called at once
                await _is_of_one_commit(model, (commit,), "a commit that readers met is not there as a whole")
                before, number = await model.checkpoint(), commit + 1
                call = partial(model.commit, *_many(number), before=before, after=ahead(before, number - before.position))
                await cancel_at(point, lambda held: call(at_suspension=held))  # noqa: B023  # called at once
                meaning = f"a commit that was cancelled at await point {point} left a part"
                await _is_of_one_commit(model, (before.position, number), meaning)

    @promise("RM-16", "Several instances of one site are one read model: what one has done the others see, and of racing commits one wins.")
    async def test_rm_16_two_instances(self, harness: ReadModelHarness) -> None:
        if not harness.contract.multi_process:
            harness.run.not_declared("multi_process")
        async with harness.open() as one, harness.open() as two:
            await one.commit(level("a", "x", 1), before=Checkpoint())
            for number in range(1, _ROUNDS):
                before = await (one, two)[number % 2].checkpoint()
                same(before.position, number, "an instance does not see what another one committed")
                results = await _race(one, two, before)
                same(
                    sum(results),
                    1,
                    f"in round {number}, two instances committed from one checkpoint, and this many were told that it is done",
                )
                winner = results.index(True)
                await (two, one)[number % 2].shows(("a", "x", winner, None), at=ahead(before), meaning="rows are not the winner's")
            at = await two.checkpoint()
            await one.prepare(NEXT)
            await one.commit(level("b", "x", 5), before=Checkpoint(), after=at, projection=NEXT)
            await two.shows(("b", "x", 5, None), projection=NEXT, at=at, meaning="an instance does not see a version of another one")
            same([await two.activate(NEXT, before=at)], [True], "a version that another instance built can take over")
            same((await one.select()).active, NEXT, "an instance does not see which version another one activated")
            await two.drop(ID)
            for use in (one.checkpoint, one.select, partial(one.commit, level("a", "x", 9), before=at)):
                await refused(ProjectionNotFoundError, use, meaning="an instance goes on with a version that another one dropped")
            await two.prepare(ID, TABLES[1:])
            at = await two.commit(Put("notes", {"text": "t"}), before=Checkpoint())
            page = await one.select("notes")
            same([row["text"] for row in page.rows], ["t"], "an instance does not see a version that came again")
            await one.close()
            await two.commit(Put("notes", {"text": "u"}), before=at)
            same(len((await two.select("notes")).rows), 2, "closing one instance keeps another from working")

    @promise(
        "RM-18",
        "To prepare, activate or drop a version is one step: at every await point readers see it done or not begun, never a half.",
        seeds=0,
    )
    async def test_rm_18_versions_in_one_step(self, harness: ReadModelHarness) -> None:
        async with harness.open() as model:
            at = await model.commit(level("a", "x", 1), before=Checkpoint())
            for name in ("prepare", "activate", "drop"):
                use = _uses(at)[name]
                for point in range(1, MOST_POINTS):
                    await _again(model, at)
                    read = partial(_is_whole, model, at, f"at await point {point} of {name}")
                    met = await hold_at(point, _call(model, name, use), read)
                    await _is_whole(model, at, f"after {name} that a reader met")
                    if not met:
                        break

            async def prepare() -> None:
                await model.prepare(_NEW)

            for point in range(1, MOST_POINTS):
                await _again(model, at)
                met = await hold_at(point, _call(model, "prepare", _uses(at)["prepare"]), prepare)
                await _is_whole(model, at, f"after two callers prepared one version and met at await point {point}")
                if not met:
                    break
            await _again(model, at)
            async with anyio.create_task_group() as tasks:
                for _ in range(8):
                    tasks.start_soon(prepare)
            await _is_whole(model, at, "after eight callers prepared one version at once")
            await model.commit(level("n", "x", 1), before=Checkpoint(), projection=_NEW)

    @promise(
        "CK-9",
        "Closing during a commit or a question ends it with an answer or StoreClosedError; what a commit was told done is there, whole.",
        seeds=0,
    )
    async def test_ck_9_closing_during_a_call(self, harness: ReadModelHarness) -> None:
        reached, expected = Checkpoint(), 0
        for name in ("commit", "select"):
            for point in range(1, MOST_POINTS):
                async with harness.open() as model:
                    before = await model.checkpoint()
                    after = ahead(before)
                    changes = [level(product, "x", after.position) for product in "abc"]
                    done: list[bool] = []

                    async def use(at_suspension: AtSuspension) -> None:
                        note = f"{name}, closed at await point {point}"  # noqa: B023  # called at once
                        call: Coroutine[Any, Any, object] = (
                            model.raw.commit(ID, changes, before=before, after=after)  # noqa: B023  # called at once
                            if name == "commit"  # noqa: B023  # called at once
                            else model.raw.select(ID, "levels", limit=9)  # called at once
                        )
                        asked = model.call(note, call, show, at_suspension)
                        answer = await ends_well(asked, "read model", StoreClosedError, ReadModelUnavailableError)
                        done.append(answer is not None)  # noqa: B023  # called at once

                    met = await hold_at(point, use, model.close)
                    await model.close()
                    await refused(StoreClosedError, model.checkpoint, meaning="it works on after it was closed during a call")
                if harness.contract.is_durable:
                    async with harness.open() as model:
                        reached = await model.checkpoint()
                        rows = {row["units"] for row in (await model.select()).rows}
                        allowed = [after] if name == "commit" and done == [True] else [before, *([after] if name == "commit" else [])]
                        if reached not in allowed:
                            same(reached, allowed[0], f"{name} was closed under at await point {point}: another checkpoint is left")
                        expected = reached.position
                        same(rows, {expected} if expected else set[int](), "rows and checkpoint are not of one commit")
                if not met:
                    break

    @promise("CK-9", "Closing that is cancelled at any await point, or begun twice at once, can be made again, and then is done.", seeds=0)
    async def test_ck_9_closing_again(self, harness: ReadModelHarness) -> None:
        for point in range(MOST_POINTS):
            async with harness.open() as model:
                reached = await close_again(point, model.close)
                await refused(StoreClosedError, model.checkpoint, meaning="it works on after a close that was cancelled and made again")
            if not reached:
                break


def _uses(at: Checkpoint) -> dict[str, Use]:
    """Return one call of every method, on versions that :func:`_again` restores."""
    return {
        "checkpoint": lambda raw: raw.checkpoint(ID),
        "select": lambda raw: raw.select(ID, "levels", limit=9),
        "versions": lambda raw: raw.versions(ID.name),
        "prepare": lambda raw: raw.prepare(_NEW, TABLES),
        "activate": lambda raw: raw.activate(NEXT, before=at),
        "drop": lambda raw: raw.drop(NEXT),
        "commit": lambda raw: raw.commit(NEXT, [level("b", "x", 3), Put("notes", {"text": "t"})], before=at, after=ahead(at)),
    }


def _call(model: TestedReadModel, name: str, use: Use) -> Callable[[AtSuspension], Coroutine[Any, Any, object]]:
    async def call(at_suspension: AtSuspension) -> object:
        try:
            return await model.call(f"{name}, at one await point", use(model.raw), show, at_suspension)
        except (ProjectionNotFoundError, CheckpointConflictError, ValueError):
            return None  # an earlier call, which was cancelled, had been done

    return call


async def _again(model: TestedReadModel, at: Checkpoint) -> None:
    """Restore the versions: the first is active, the second has the same checkpoint, and the third does not exist."""
    await model.activate(ID, before=at)
    there = {one.projection_id: one for one in await model.versions()}
    if _NEW in there:
        await model.drop(_NEW)
    if NEXT in there and there[NEXT].checkpoint != at:
        await model.drop(NEXT)
    await model.prepare(NEXT)
    if await model.checkpoint(NEXT) != at:
        await model.commit(level("b", "x", 2), before=Checkpoint(), after=at, projection=NEXT)


async def _is_whole(model: TestedReadModel, at: Checkpoint, where: str) -> None:
    """Expect each version to be complete, whichever of the calls was done."""
    versions = await model.versions()
    same(sum(one.is_active for one in versions), 1, f"{where}, this many versions are active")
    await model.shows(("a", "x", 1, None), at=at, meaning=f"{where}, another version changed")
    allowed: dict[ProjectionId, Sequence[tuple[Checkpoint, list[Any]]]] = {
        NEXT: ((at, [("b", 2)]), (ahead(at), [("b", 3)])),
        _NEW: ((Checkpoint(), []),),
    }
    for projection, states in allowed.items():
        is_there = projection in {one.projection_id for one in versions}
        page: RowsPage | None = None
        try:
            page = await model.select(projection=projection)
            notes = await model.select("notes", projection=projection)
        except ProjectionNotFoundError:
            is_there_now = projection in {one.projection_id for one in await model.versions()}
            if is_there and is_there_now:
                raise
            continue
        found = (page.checkpoint, [(row["product"], row["units"]) for row in page.rows])
        if found not in states and len(await model.versions()) == len(versions):
            same(found, states[0], f"{where}, a version is there by half")
        if found[0] == notes.checkpoint:
            same(len(notes.rows), int(found[0] == ahead(at)), f"{where}, a version is there by half: its second table differs")


def _many(number: int) -> list[Change]:
    """Return nearly 1,000 changes of two tables, each with the number of their commit."""
    rows = [level(f"p{row:04}", "x", number) for row in range(_MANY // 2)]
    sums = [Add("levels", (f"p{row:04}", "x"), {"units": 0}, {"note": str(number)}) for row in range(_MANY // 2 - 1)]
    return [*rows, *sums, Put("notes", {"text": str(number)})]


async def _is_of_one_commit(model: TestedReadModel, allowed: Sequence[int], meaning: str) -> None:
    found: dict[object, int] = {}
    after: Sequence[Value] | None = None
    is_end = False
    while not is_end:
        page = await model.select(after=after, limit=_MANY)
        position = page.checkpoint.position
        if position not in allowed:
            raise MismatchError(expected=f"a position of {list(allowed)}", got=str(position), meaning=meaning)
        same({row["units"] for row in page.rows}, {position}, f"{meaning}: numbers of several commits")
        notes_of_it = {row["note"] for row in page.rows if row["product"] != _LAST}
        same(notes_of_it, {str(position)} if notes_of_it else set[str](), f"{meaning}: sums of several commits")
        found |= {row["product"]: position for row in page.rows}
        is_end = page.is_end or not page.rows
        after = None if is_end else (page.rows[-1]["product"], page.rows[-1]["store"])
    same(len(found), _MANY // 2, f"{meaning}: rows are missing")
    notes = await model.select("notes", limit=_MANY)
    is_there = str(notes.checkpoint.position) in {row["text"] for row in notes.rows}
    later = [row["text"] for row in notes.rows if int(str(row["text"])) > notes.checkpoint.position]
    same((is_there, later), (True, []), f"{meaning}: another table is of another commit")


async def _points(model: TestedReadModel, at: Checkpoint) -> Sequence[int]:
    """Return a dozen await points of a large commit, from its first to its last."""
    suspensions = 0

    def count() -> None:
        nonlocal suspensions
        suspensions += 1

    await model.commit(*_many(at.position + 1), before=at, at_suspension=count)
    return sorted({*range(1, min(4, suspensions) + 1), *(max(1, suspensions * part // 6) for part in range(1, 6)), max(1, suspensions)})


async def _race(one: TestedReadModel, two: TestedReadModel, before: Checkpoint) -> list[bool]:
    """Let two instances commit from one checkpoint at once, and return which of them succeeded."""
    results = [False, False]

    async def commit(number: int, model: TestedReadModel) -> None:
        try:
            await model.commit(level("a", "x", number), before=before)
        except CheckpointConflictError:
            return
        results[number] = True

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(commit, 0, one)
        tasks.start_soon(commit, 1, two)
    return results
