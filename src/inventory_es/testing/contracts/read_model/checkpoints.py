"""CK-1 … CK-8: rows and checkpoint are committed together, compared field by field, and durable."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import anyio
import attrs
from anyio.lowlevel import checkpoint as let_others_run

from inventory_es.ports import Add, Checkpoint, EventMark
from inventory_es.ports.errors import CheckpointConflictError, StoreClosedError
from inventory_es.testing.contracts.core.await_points import MOST_POINTS, cancel_at, hold_at
from inventory_es.testing.contracts.core.schedule import AtSuspension
from inventory_es.testing.contracts.core.tested_port import refused
from inventory_es.testing.contracts.read_model.harness import ID, NEXT, START, ReadModelHarness, TestedReadModel, ahead, level, same
from inventory_es.testing.promise import MismatchError, promise

_TOGETHER = "Rows and checkpoint move together or not at all: also when the commit is refused in the middle, or cancelled."
_COMPARED = "A commit from any other checkpoint than the one that is there is refused, and says which that is."
_LARGE = 2**53 + 1
_LONG = "ä" * 2_499 + "\n'\"\u2028🜁" + "x" * 2_496
_MARK = EventMark(_LARGE, UUID(int=2**128 - 1))
_FULL = Checkpoint(
    position=_LARGE, recorded_at=START, epoch=7, owner=_LONG, owned_until=START + timedelta(days=1), error=_LONG[::-1], mark=_MARK
)
_WHERE = "the conflict does not say where the checkpoint is"
_LATE = datetime(2099, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)


class CheckpointCases:
    """Cases of checkpoints."""

    @promise("CK-1", "A checkpoint begins at 0 and never goes back: a lower position or epoch is ValueError, and changes nothing.")
    async def test_ck_1_never_back(self, harness: ReadModelHarness) -> None:
        async with harness.open() as model:
            await model.shows(at=Checkpoint(), meaning="a projection begins without rows, at position 0, and nobody's")
            start = attrs.evolve(Checkpoint(), epoch=2)
            first = await model.commit(level("a", "x", 1), before=Checkpoint(), after=attrs.evolve(ahead(start, 5)))
            for back in (attrs.evolve(first, position=4), attrs.evolve(first, epoch=1), attrs.evolve(first, position=9, epoch=1)):
                call = partial(model.commit, level("a", "x", 2), before=first, after=back)
                await refused(ValueError, call, meaning="a checkpoint went back: events would be applied twice, or a dead owner lives on")
            await model.shows(("a", "x", 1, None), at=first, meaning="a refused commit changed something")
            await model.commit(before=first, after=first)
            await model.shows(("a", "x", 1, None), at=first, meaning="a commit that moves nothing is fine")

    @promise("CK-2", _TOGETHER)
    async def test_ck_2_a_refused_commit(self, harness: ReadModelHarness) -> None:
        async with harness.open() as model:
            first = await model.commit(level("a", "x", 2**63 - 1), before=Checkpoint())
            for name in ("a", "b"):
                changes = (level("b", "x", 2**63 - 1), level("c", "x", 1), Add("levels", (name, "x"), {"units": 1}))
                meaning = "a number beyond 64 bits was taken"
                await refused(ValueError, partial(model.commit, *changes, before=first), meaning=meaning)
                await model.shows(("a", "x", 2**63 - 1, None), at=first, meaning="half of a refused commit is visible")
            await model.commit(level("c", "x", 1), before=first)

    @promise("CK-2", _TOGETHER, seeds=1)
    async def test_ck_2_a_cancelled_commit(self, harness: ReadModelHarness) -> None:
        async with harness.open() as model:
            before = Checkpoint()
            for point in range(MOST_POINTS):
                changes = [level(product, "x", point) for product in "abc"]
                reached = await cancel_at(point, lambda at: model.commit(*changes, before=before, at_suspension=at))  # noqa: B023  # called at once
                found = await model.checkpoint()
                rows = {row["units"] for row in (await model.select()).rows}
                done = found == ahead(before)
                if not done:
                    same(found, before, f"a commit cancelled at await point {point} left a checkpoint between the two")
                same(
                    rows, {point} if done else rows - {point}, f"a commit cancelled at await point {point} left rows without its checkpoint"
                )
                before = found if done else await model.commit(*changes, before=found)
                if not reached:
                    break

    @promise("CK-2", _TOGETHER, seeds=4)
    async def test_ck_2_reading_meanwhile(self, harness: ReadModelHarness) -> None:
        async with harness.open() as model:
            is_over = False

            async def write() -> None:
                nonlocal is_over
                at = Checkpoint()
                for units in range(1, 13):
                    at = await model.commit(*(level(product, "x", units) for product in "abc"), before=at)
                is_over = True

            async def read() -> None:
                last = 0
                while not is_over:
                    await let_others_run()  # a read model may answer without suspending
                    page = await model.select()
                    shown, position = [row["units"] for row in page.rows], page.checkpoint.position
                    same(shown, [position] * (3 if position else 0), "rows and checkpoint of one page are not from one snapshot")
                    if position < last:
                        raise MismatchError(expected=f"position {last} or more", got=str(position), meaning="a reader went back in time")
                    last = position

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(read)
                tasks.start_soon(write)

    @promise("CK-3", _COMPARED)
    async def test_ck_3_compared_and_set(self, harness: ReadModelHarness) -> None:
        async with harness.open() as model:
            after = attrs.evolve(Checkpoint(), position=3, epoch=1, recorded_at=START, owner="one", owned_until=START)
            await model.commit(level("a", "x", 1), before=Checkpoint(), after=after)
            stale = [
                Checkpoint(),
                attrs.evolve(after, position=2),
                attrs.evolve(after, epoch=0),
                attrs.evolve(after, owner="two"),
                attrs.evolve(after, error="e"),
                attrs.evolve(after, owned_until=None),
                attrs.evolve(after, recorded_at=START + timedelta(microseconds=1)),
            ]
            for before in stale:
                call = partial(model.commit, level("a", "x", 2), before=before, after=attrs.evolve(before, position=9, epoch=9))
                error = await refused(
                    CheckpointConflictError, call, meaning="a runner that was fenced out, or slept, overwrote another's work"
                )
                facts = [getattr(error, name) for name in ("position", "epoch", "actual_position", "actual_epoch")]
                same(facts, [before.position, before.epoch, 3, 1], "the conflict does not say where the checkpoint is")
            await model.shows(("a", "x", 1, None), at=after, meaning="a refused commit changed something")

    @promise("CK-3", _COMPARED, seeds=8)
    async def test_ck_3_one_of_many_wins(self, harness: ReadModelHarness) -> None:
        async with harness.open() as model:
            won: list[int] = []

            async def attempt(number: int) -> None:
                try:
                    await model.commit(level("a", "x", number), before=Checkpoint(), after=Checkpoint(position=number, epoch=1))
                except CheckpointConflictError:
                    return
                won.append(number)

            async with anyio.create_task_group() as tasks:
                for number in range(1, 9):
                    tasks.start_soon(attempt, number)
            same(len(won), 1, "of several commits from one checkpoint, exactly one may win")
            await model.shows(("a", "x", won[0], None), at=Checkpoint(position=won[0], epoch=1), meaning="the rows are not the winner's")

    @promise("CK-4", "Rows and checkpoints survive as declared; closing twice is fine; use after close is StoreClosedError.")
    async def test_ck_4_closing_and_opening_again(self, harness: ReadModelHarness) -> None:
        until = START + timedelta(seconds=10)
        kept = Checkpoint(position=7, recorded_at=START, epoch=3, owner="ö", owned_until=until, error="line\n'two'")
        async with harness.open() as model:
            await model.commit(level("a", "x", 1, "kept"), before=Checkpoint(), after=kept)
            await model.shows(("a", "x", 1, "kept"), at=kept, meaning="a checkpoint has every field as it was set")
            await model.close()
            await model.close()
            for use in model.every_use():
                await refused(StoreClosedError, use, meaning="a closed read model must say that it is closed")
        async with harness.open() as model:
            if harness.contract.is_durable:
                await model.shows(("a", "x", 1, "kept"), at=kept, meaning="declared: rows and checkpoint survive opening the site again")
            else:
                found = await model.checkpoint()
                same(found, kept if found.position else Checkpoint(), "what is not kept begins at 0 again")
            same([one.projection_id for one in await model.versions()], [ID], "opening the site again made or lost a version")

    @promise(
        "CK-5", "A checkpoint keeps the mark of the event that it has read up to, and gives it back in every answer; as declared, for good."
    )
    async def test_ck_5_the_mark(self, harness: ReadModelHarness) -> None:
        first, second = (EventMark(position, UUID(int=2**127 + position)) for position in (3, 2**53))
        async with harness.open() as model:
            marked = await model.commit(before=Checkpoint(), after=Checkpoint(position=7, recorded_at=START, mark=first))
            await model.shows(at=marked, meaning="the mark of the last event is lost: a store that is replaced is taken for the same")
            (version,) = await model.versions()
            same(version.checkpoint, marked, "a version tells its checkpoint with the mark")
            for other in (None, second, EventMark(first.position, second.event_id), EventMark(4, first.event_id)):
                stale = attrs.evolve(marked, mark=other)
                call = partial(model.commit, before=stale, after=attrs.evolve(stale, position=9))
                await refused(CheckpointConflictError, call, meaning="a commit from a checkpoint with another mark was taken")
            moved = await model.commit(level("a", "x", 1), before=marked, after=attrs.evolve(marked, position=2**53, mark=second))
            await model.shows(("a", "x", 1, None), at=moved, meaning="the mark moves with the position")
        async with harness.open() as model:
            found = await model.checkpoint()
            expected = moved if harness.contract.is_durable or found.position else Checkpoint()
            same(found, expected, "the mark survives opening the site again as the rest of the checkpoint does")


class CheckpointFieldCases:
    """Cases of the fields of a checkpoint."""

    @promise(
        "CK-6",
        "Every field of a checkpoint comes back as it was set, in every answer: 5,000 characters, 2^53 + 1, microseconds, nothing.",
        seeds=0,
    )
    async def test_ck_6_every_field_comes_back(self, harness: ReadModelHarness) -> None:
        empties: list[dict[str, Any]] = [{name: None} for name in ("recorded_at", "owner", "owned_until", "error", "mark")]
        steps = [
            Checkpoint(position=1, recorded_at=START),
            Checkpoint(position=1, owner="", error=""),
            Checkpoint(position=2, owner="None", error="null", epoch=1),
            Checkpoint(position=2, owner=" a\x00b ", error="\r\na\x00", epoch=1, owned_until=_LATE, recorded_at=_LATE),
            Checkpoint(position=2**31, epoch=2**31, mark=EventMark(1, UUID(int=0))),
            Checkpoint(position=2**32 + 1, epoch=2**32 + 1, mark=EventMark(2**32 + 1, UUID(int=1))),
            Checkpoint(position=_LARGE - 1, epoch=2**32 + 2, mark=_MARK),
            *(attrs.evolve(_FULL, epoch=_LARGE, **empty) for empty in empties),
            attrs.evolve(_FULL, epoch=_LARGE),
        ]
        async with harness.open() as model:
            before = Checkpoint()
            for after in steps:
                before = await model.commit(before=before, after=after)
                await _is_everywhere(model, after)
        async with harness.open() as model:
            if harness.contract.is_durable:
                await _is_everywhere(model, before)

    @promise(
        "CK-7",
        "A commit or an activation compares every field of the checkpoint, also where nothing is changed, and a conflict changes nothing.",
        seeds=0,
    )
    async def test_ck_7_every_field_is_compared(self, harness: ReadModelHarness) -> None:
        async with harness.open() as model:
            await model.prepare(NEXT)
            for at in (_FULL, attrs.evolve(Checkpoint(), position=_LARGE, epoch=8)):
                await model.commit(level("a", "x", at.epoch), before=await model.checkpoint(), after=at)
                await model.commit(before=await model.checkpoint(NEXT), after=at, projection=NEXT)
                for field, stale in _neighbours(at):
                    after = attrs.evolve(stale, position=max(stale.position, at.position) + 1, epoch=max(stale.epoch, at.epoch) + 1)
                    for changes in ((), (level("a", "x", 99), level("b", "x", 99))):
                        call = partial(model.commit, *changes, before=stale, after=after)
                        meaning = f"a commit from a checkpoint of another {field} was taken"
                        error = await refused(CheckpointConflictError, call, meaning=meaning)
                        same(_facts(error), [stale.position, stale.epoch, at.position, at.epoch], _WHERE)
                    activate = partial(model.activate, NEXT, before=stale)
                    error = await refused(CheckpointConflictError, activate, meaning=f"activated from a checkpoint of another {field}")
                    same(_facts(error), [stale.position, stale.epoch, at.position, at.epoch], _WHERE)
                await model.shows(("a", "x", at.epoch, None), at=at, meaning="a refused commit changed something")
                same((await model.select()).active.version, 1, "a refused activation changed something")

    @promise("CK-8", "Of two commits from one checkpoint that meet at any await point, exactly one is done, and the other is a conflict.")
    async def test_ck_8_commits_that_meet(self, harness: ReadModelHarness) -> None:
        async with harness.open() as model:
            for point in range(1, MOST_POINTS):
                before = await model.checkpoint()
                won: list[str] = []

                async def commit(owner: str, at_suspension: AtSuspension | None = None) -> None:
                    after = attrs.evolve(before, position=before.position + 1, owner=owner)  # noqa: B023  # called at once
                    row = level("a", "x", 1, owner)
                    try:
                        await model.commit(row, before=before, after=after, at_suspension=at_suspension)  # noqa: B023  # called at once
                    except CheckpointConflictError:
                        return
                    won.append(owner)  # noqa: B023  # called at once

                met = await hold_at(point, partial(commit, "first"), partial(commit, "second"))
                if met:
                    same(len(won), 1, f"two commits from one checkpoint met at await point {point}: {won} were done")
                at = attrs.evolve(before, position=before.position + 1, owner=won[0])
                await model.shows(("a", "x", 1, won[0]), at=at, meaning="rows and checkpoint are not the winner's")
                if not met:
                    break

    @promise("CK-8", "Commits of two projections that meet at any await point are both done.")
    async def test_ck_8_projections_that_meet(self, harness: ReadModelHarness) -> None:
        async with harness.open() as model:
            await model.prepare(NEXT)
            for point in range(1, MOST_POINTS):
                one, two = await model.checkpoint(), await model.checkpoint(NEXT)
                first = partial(model.commit, level("a", "x", point), before=one)
                second = partial(model.commit, level("b", "y", point), before=two, projection=NEXT)
                met = await hold_at(point, lambda at: first(at_suspension=at), second)  # noqa: B023  # called at once
                if not met:
                    break
                meaning = f"two projections met at await point {point}, and the commit of one is lost"
                await model.shows(("a", "x", point, None), at=ahead(one), meaning=meaning)
                await model.shows(("b", "y", point, None), projection=NEXT, at=ahead(two), meaning=meaning)


async def _is_everywhere(model: TestedReadModel, expected: Checkpoint) -> None:
    page = await model.select()
    (version,) = await model.versions()
    for name, found in (("checkpoint", await model.checkpoint()), ("a page", page.checkpoint), ("a version", version.checkpoint)):
        same(found, expected, f"{name} gives a checkpoint that is another than the one that was set")
        for field in attrs.fields(Checkpoint):
            got, wanted = getattr(found, field.name), getattr(expected, field.name)
            same(type(got).__name__, type(wanted).__name__, f"{name} gives {field.name} as another type")
            if isinstance(got, datetime):
                same(got.utcoffset(), timedelta(0), f"{name} gives {field.name} in another zone than UTC")
        if found.mark is not None:
            same([type(found.mark.position), type(found.mark.event_id)], [int, UUID], f"{name} gives a mark of other types")


def _facts(error: Exception) -> list[Any]:
    return [getattr(error, name) for name in ("position", "epoch", "actual_position", "actual_epoch")]


def _neighbours(at: Checkpoint) -> Sequence[tuple[str, Checkpoint]]:
    """Return checkpoints that differ from this one in one field, by the least possible amount, each with the name of the field."""
    fields: dict[str, list[Any]] = {
        "position": [at.position - 1, at.position + 1, 0],
        "recorded_at": [None, START + timedelta(microseconds=1), START - timedelta(hours=1)],
        "epoch": [at.epoch - 1, at.epoch + 1, 0],
        "owner": [None, "", "other", f"{_LONG[:-1]}y"],
        "owned_until": [None, START, START + timedelta(days=1, microseconds=1)],
        "error": [None, "", _LONG],
        "mark": [None, EventMark(_LARGE - 1, _MARK.event_id), EventMark(_LARGE, UUID(int=0)), _MARK],
    }
    return [(name, attrs.evolve(at, **{name: value})) for name, values in fields.items() for value in values if value != getattr(at, name)]
