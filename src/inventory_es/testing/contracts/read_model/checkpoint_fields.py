"""CK-6 … CK-8: every field of a checkpoint is kept and compared; of two commits that meet, one wins."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import attrs

from inventory_es.ports import Checkpoint, EventMark
from inventory_es.ports.errors import CheckpointConflictError
from inventory_es.testing.contracts.core.await_points import MOST_POINTS, hold_at
from inventory_es.testing.contracts.core.schedule import AtSuspension
from inventory_es.testing.contracts.core.tested_port import refused
from inventory_es.testing.contracts.read_model.harness import NEXT, START, ReadModelHarness, TestedReadModel, ahead, level, same
from inventory_es.testing.promise import promise

_LARGE = 2**53 + 1
_LONG = "ä" * 2_499 + "\n'\"\u2028🜁" + "x" * 2_496
_MARK = EventMark(_LARGE, UUID(int=2**128 - 1))
_FULL = Checkpoint(
    position=_LARGE, recorded_at=START, epoch=7, owner=_LONG, owned_until=START + timedelta(days=1), error=_LONG[::-1], mark=_MARK
)
_WHERE = "the conflict does not say where the checkpoint is"
_LATE = datetime(2099, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)


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
