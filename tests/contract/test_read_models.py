"""What both read models promise: rows and checkpoint together, compared and set; the same answers to every question."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import anyio
import attrs
import pytest

from inventory_es.adapters.memory import MemoryReadModel
from inventory_es.adapters.sqlite import open_sqlite_event_store, open_sqlite_read_model
from inventory_es.ports import Add, Change, Checkpoint, Delete, Patch, ProjectionId, Put, ReadModel, Table
from inventory_es.ports.errors import CheckpointConflictError, IncompatibleStoreError, ProjectionNotFoundError, StoreClosedError
from inventory_es.ports.read_model import place_of

Run = Callable[[Callable[[ReadModel], Awaitable[None]]], None]
LEVELS = Table("levels", {"product": str, "store": str, "units": int, "note": str}, ("product", "store"), (("store", "units"),))
ID = ProjectionId("stock", 1)
T0 = datetime(2026, 1, 5, 9, 0, 0, 7, tzinfo=UTC)
ROWS = [("a", "x", 3), ("a", "y", 1), ("b", "x", 1), ("b", "y", 9), ("c", "x", 1), ("ü", "x", 2)]


def put(product: str, store: str, units: int, note: str | None = None) -> Put:
    return Put("levels", {"product": product, "store": store, "units": units, "note": note})


@asynccontextmanager
async def opened(kind: str, path: Path) -> AsyncIterator[ReadModel]:
    if kind == "memory":
        in_memory = MemoryReadModel()
        yield in_memory
        await in_memory.aclose()
    else:
        async with open_sqlite_read_model(path / "read.db") as model:
            yield model


@pytest.fixture(params=["memory", "sqlite"])
def run(request: pytest.FixtureRequest, backend: str, tmp_path: Path) -> Run:
    async def with_model(body: Callable[[ReadModel], Awaitable[None]]) -> None:
        async with opened(request.param, tmp_path) as model:
            await model.prepare(ID, [LEVELS])
            await body(model)

    return lambda body: anyio.run(with_model, body, backend=backend)


async def commit(model: ReadModel, *changes: Change) -> Checkpoint:
    before = await model.checkpoint(ID)
    after = attrs.evolve(before, position=before.position + 1, recorded_at=T0, owner="o", owned_until=T0, error="e")
    await model.commit(ID, changes, before=before, after=after)
    return after


async def units(model: ReadModel, **question: object) -> list[object]:
    page = await model.select(ID, "levels", limit=100, **question)  # type: ignore[arg-type]
    return [row["units"] for row in page.rows]


def test_rows_and_checkpoint_move_together(run: Run) -> None:
    async def body(model: ReadModel) -> None:
        assert await model.checkpoint(ID) == Checkpoint()
        after = await commit(model, put("a", "x", 1), put("a", "x", 2, "twice"), put("b", "x", 3), Delete("levels", ("b", "x")))
        page = await model.select(ID, "levels", limit=5)
        assert list(page.rows) == [{"product": "a", "store": "x", "units": 2, "note": "twice"}]
        assert page.checkpoint == after == await model.checkpoint(ID)
        await commit(
            model, Patch("levels", ("a", "x"), {"units": 5}), Patch("levels", ("z", "z"), {"units": 6}), Delete("levels", ("z", "z"))
        )
        assert [row["note"] for row in (await model.select(ID, "levels", where={"units": 5}, limit=5)).rows] == ["twice"]
        assert await units(model) == [5]

    run(body)


def test_numbers_are_added_to_and_rows_made_where_there_are_none(run: Run) -> None:
    async def body(model: ReadModel) -> None:
        await commit(
            model, put("a", "x", 1), Add("levels", ("a", "x"), {"units": 2}), Add("levels", ("b", "x"), {"units": -4}, {"note": "new"})
        )
        await commit(model, Add("levels", ("b", "x"), {"units": 1}), Add("levels", ("b", "y"), {}), Add("levels", ("b", "y"), {"units": 3}))
        found = (await model.select(ID, "levels", limit=9)).rows
        assert [(row["product"], row["store"], row["units"], row["note"]) for row in found] == [
            ("a", "x", 3, None),
            ("b", "x", -3, "new"),
            ("b", "y", 3, None),
        ]
        most = 2**63 - 1
        for first, second in (
            (put("b", "x", most), Add("levels", ("b", "x"), {"units": 1})),
            (Add("levels", ("b", "x"), {"units": most}),) * 2,
        ):
            before = await model.checkpoint(ID)
            with pytest.raises(ValueError, match="64 bits"):
                await model.commit(ID, [put("c", "x", 1), first, second], before=before, after=before)
        assert await units(model) == [3, -3, 3]

    run(body)


def test_a_commit_from_another_checkpoint_is_refused_whole(run: Run) -> None:
    async def body(model: ReadModel) -> None:
        first = await commit(model, put("a", "x", 1))
        for stale in (Checkpoint(), attrs.evolve(first, epoch=7), attrs.evolve(first, owner="other")):
            with pytest.raises(CheckpointConflictError) as conflict:
                await model.commit(ID, [put("a", "x", 2)], before=stale, after=attrs.evolve(stale, position=9))
            assert (conflict.value.actual_position, conflict.value.actual_epoch) == (1, 0)
        assert await units(model) == [1]
        assert await model.checkpoint(ID) == first

    run(body)


def test_only_one_of_many_commits_from_one_checkpoint_wins(run: Run) -> None:
    async def body(model: ReadModel) -> None:
        outcomes: list[str] = []

        async def attempt(number: int) -> None:
            try:
                await model.commit(ID, [put("a", "x", number)], before=Checkpoint(), after=Checkpoint(position=number))
                outcomes.append("won")
            except CheckpointConflictError:
                outcomes.append("lost")

        async with anyio.create_task_group() as tasks:
            for number in range(1, 9):
                tasks.start_soon(attempt, number)
        assert sorted(outcomes) == ["lost"] * 7 + ["won"]
        assert await units(model) == [(await model.checkpoint(ID)).position]

    run(body)


def test_every_question_has_the_same_answer(run: Run) -> None:
    async def body(model: ReadModel) -> None:
        await commit(model, *(put(*row) for row in ROWS))
        assert await units(model) == [3, 1, 1, 9, 1, 2]
        assert await units(model, where={"product": "b"}) == [1, 9]
        assert await units(model, where={"note": None, "units": 1}) == [1, 1, 1]
        assert await units(model, where={"store": "x"}, order=["units"]) == [1, 1, 2, 3]
        assert await units(model, where={"store": "x"}, order=["units"], descending=True) == [3, 2, 1, 1]
        assert await units(model, where={"product": "zz"}) == []

    run(body)


@pytest.mark.parametrize("descending", [False, True])
def test_pages_join_by_any_size(run: Run, descending: bool) -> None:
    async def body(model: ReadModel) -> None:
        await commit(model, *(put(*row) for row in ROWS))
        whole = [row["product"] for row in (await model.select(ID, "levels", order=["units"], descending=descending, limit=9)).rows]
        for size in (1, 2, 3, 6):
            joined: list[object] = []
            after = None
            is_end = False
            while not is_end:
                page = await model.select(ID, "levels", order=["units"], after=after, descending=descending, limit=size)
                joined += [row["product"] for row in page.rows]
                after, is_end = place_of(LEVELS, ["units"], page.rows[-1]), page.is_end
            assert joined == whole

    run(body)


def test_versions_of_a_projection_are_apart_and_a_changed_shape_needs_a_new_one(run: Run) -> None:
    async def body(model: ReadModel) -> None:
        await commit(model, put("a", "x", 1))
        await model.prepare(ID, [LEVELS])
        assert await units(model) == [1]
        other = attrs.evolve(LEVELS, indexes=())
        with pytest.raises(IncompatibleStoreError, match="new version"):
            await model.prepare(ID, [other])
        second = ProjectionId("stock", 2)
        await model.prepare(second, [other])
        assert await model.checkpoint(second) == Checkpoint()
        assert (await model.select(second, "levels", limit=1)).rows in ([], ())

    run(body)


def test_one_version_is_active_and_readers_never_go_back(run: Run) -> None:
    second = ProjectionId("stock", 2)

    async def body(model: ReadModel) -> None:
        first = await commit(model, put("a", "x", 1))
        assert await model.versions("none") == []
        await model.prepare(second, [LEVELS])
        found = await model.versions("stock")
        assert [(one.projection_id, one.is_active, one.checkpoint) for one in found] == [(ID, True, first), (second, False, Checkpoint())]
        assert [one.tables for one in found] == [{"levels": LEVELS}] * 2
        assert not await model.activate(second, before=Checkpoint())
        with pytest.raises(CheckpointConflictError):
            await model.activate(second, before=first)
        with pytest.raises(ValueError, match="readers ask"):
            await model.drop(ID)
        await model.commit(second, [put("a", "x", 2)], before=Checkpoint(), after=first)
        assert (await model.select(second, "levels", limit=1)).active == ID
        assert await model.activate(second, before=first)
        assert await model.activate(second, before=first)
        assert [one.is_active for one in await model.versions("stock")] == [False, True]
        assert (await model.select(ID, "levels", limit=1)).active == second
        await model.drop(ID)
        for gone in (model.checkpoint(ID), model.select(ID, "levels", limit=1), model.drop(ID), model.activate(ID, before=first)):
            with pytest.raises(ProjectionNotFoundError):
                await gone
        with pytest.raises(ProjectionNotFoundError):
            await model.commit(ID, [], before=first, after=first)
        assert (await model.select(second, "levels", limit=1)).rows[0]["units"] == 2
        await model.drop(second)
        assert await model.versions("stock") == []
        await model.prepare(ID, [LEVELS])
        assert await units(model) == []

    run(body)


def test_misuse_is_refused_and_changes_nothing(run: Run) -> None:
    async def body(model: ReadModel) -> None:
        first = await commit(model, put("a", "x", 1))
        after = attrs.evolve(first, position=5)
        wrong: list[Change] = [
            Put("nothing", {}),
            Put("levels", {"product": "a"}),
            Patch("levels", ("a",), {}),
            Patch("levels", ("a", "x"), {"store": "y"}),
            Patch("levels", ("a", "x"), {"colour": "red"}),
            Delete("levels", ("a",)),
            Delete("levels", ("a", 1)),
            Put("levels", {"product": "a", "store": "x", "units": 2**63, "note": None}),
            Put("levels", {"product": "a", "store": "x", "units": "2", "note": None}),
            Put("levels", {"note": None, "product": None, "store": "x", "units": 1}),
            Put("levels", {"product": None, "store": "x", "units": 1, "note": None}),
            Patch("levels", ("a", "x"), {"units": -(2**63) - 1}),
            Patch("levels", ("a", "x"), {"units": True}),
            Add("levels", ("a", "x"), {"units": 1}, {"units": 2}),
            Add("levels", ("a", "x"), {"note": 1}),
            Add("levels", ("a", "x"), {"units": 1.5}),  # type: ignore[dict-item]  # the mistake under test
            Add("levels", ("a", "x"), {"units": 1}, {"store": "y"}),
            Add("levels", ("a", "x"), {"units": 2**63 - 1}),
        ]
        for change in wrong:
            with pytest.raises(ValueError, match="table"):
                await model.commit(ID, [put("a", "x", 2), change], before=first, after=after)
        for back in (attrs.evolve(first, position=0), attrs.evolve(first, epoch=-1)):
            with pytest.raises(ValueError, match="never goes back"):
                await model.commit(ID, [], before=first, after=back)
        for question in ({"where": {"colour": "red"}}, {"order": ["colour"]}, {"after": ("a",)}):
            with pytest.raises(ValueError, match=r"column|after"):
                await units(model, **question)
        with pytest.raises(ValueError, match="limit"):
            await model.select(ID, "levels", limit=0)
        with pytest.raises(ValueError, match="no table"):
            await model.select(ID, "nothing", limit=1)
        with pytest.raises(ProjectionNotFoundError):
            await model.checkpoint(ProjectionId("missing", 1))
        assert await units(model) == [1]
        await model.aclose()
        with pytest.raises(StoreClosedError):
            await model.checkpoint(ID)

    run(body)


def test_names_that_could_be_more_than_names_are_refused() -> None:
    for name in ("", "a b", "x;drop", "Upper", "ü", "a" * 65, "a__v1"):
        with pytest.raises(ValueError, match="identifier"):
            ProjectionId(name, 1)
        with pytest.raises(ValueError, match="identifier"):
            Table(name, {"a": int}, ("a",))
        with pytest.raises(ValueError, match="identifier"):
            Table("t", {"a": int, name: str}, ("a",))
    with pytest.raises(ValueError, match="version"):
        ProjectionId("a", 0)
    with pytest.raises(ValueError, match="unknown"):
        Table("t", {"a": int}, ("b",))
    with pytest.raises(ValueError, match="key"):
        Table("t", {"a": int}, ())


def test_sqlite_keeps_everything_and_shares_the_file_of_the_event_store(backend: str, tmp_path: Path) -> None:
    async def body() -> None:
        path = tmp_path / "stock.db"
        async with open_sqlite_event_store(path), open_sqlite_read_model(path) as model:
            await model.prepare(ID, [LEVELS])
            kept = await commit(model, put("a", "x", 4))
        async with open_sqlite_event_store(path) as store, open_sqlite_read_model(path) as model, open_sqlite_read_model(path) as other:
            assert await store.head() == 0
            await model.prepare(ID, [LEVELS])
            await other.prepare(ID, [LEVELS])
            assert await model.checkpoint(ID) == kept
            assert await units(other) == [4]
            await commit(other, put("a", "x", 5))
            assert await units(model) == [5]
            await other.drop(ID)
            await other.prepare(ID, [attrs.evolve(LEVELS, indexes=())])
            with pytest.raises(ProjectionNotFoundError):
                await units(model)
            assert await units(model) == []

    anyio.run(body, backend=backend)


def test_sqlite_refuses_what_is_not_its_own(backend: str, tmp_path: Path) -> None:
    async def body() -> None:
        (tmp_path / "text").write_text("no database " * 100)
        with pytest.raises(IncompatibleStoreError, match="no SQLite"):
            async with open_sqlite_read_model(tmp_path / "text"):
                pass

    anyio.run(body, backend=backend)


def test_columns_may_have_the_names_of_sql_keywords(run: Run) -> None:
    lines = Table("group", {"order": str, "select": int, "where": str}, ("order",), (("where", "select"),))
    other = ProjectionId("table", 1)

    async def body(model: ReadModel) -> None:
        await model.prepare(other, [lines])
        before = await model.checkpoint(other)
        changes: list[Change] = [
            Put("group", {"order": "o1", "select": 2, "where": "x"}),
            Put("group", {"order": "o2", "select": 1, "where": "x"}),
            Put("group", {"order": "o3", "select": 1, "where": "y"}),
            Patch("group", ("o1",), {"select": 3}),
            Delete("group", ("o3",)),
        ]
        await model.commit(other, changes, before=before, after=attrs.evolve(before, position=1, recorded_at=T0))
        page = await model.select(other, "group", where={"where": "x"}, order=["select"], limit=10)
        assert [(row["order"], row["select"]) for row in page.rows] == [("o2", 1), ("o1", 3)]

    run(body)
