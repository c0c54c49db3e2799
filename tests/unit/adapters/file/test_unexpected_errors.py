"""One unexpected exception in the file store: nobody waits for ever, nobody is told something wrong."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from threading import Event
from uuid import UUID

import anyio
import anyio.to_thread
import pytest

from inventory_es.adapters.file import FileEventStore, FileStore
from inventory_es.adapters.file.index.table import GrowingTable, IndexedEvent
from inventory_es.adapters.file.operating_system import OperatingSystem, OperatingSystemFile
from inventory_es.ports import StreamWrite
from inventory_es.ports.errors import ConcurrencyError, StoreClosedError
from inventory_es.ports.file_system import File, OpenMode
from inventory_es.ports.records import AppendResult
from tests.unit.adapters.file.test_file_store import A, B, versions, write

UNEXPECTED = [MemoryError, RecursionError, AssertionError, SystemExit]


class Trap(OperatingSystem):
    """Raises an exception at the next operation of a kind on a path that has ``part`` in it."""

    def __init__(self, kind: str, part: str, problem: type[BaseException]) -> None:
        self.kind, self.part, self.problem = kind, part, problem
        self.is_set = False
        self.hit = Event()

    def spring(self, kind: str, path: str) -> None:
        if self.is_set and kind == self.kind and self.part in path:
            self.is_set = False
            self.hit.set()
            raise self.problem

    def open(self, path: str, mode: OpenMode) -> File:
        self.spring("open", path)
        super().open(path, mode).close()
        return TrappedFile(self, path, mode)


class TrappedFile(OperatingSystemFile):
    def __init__(self, trap: Trap, path: str, mode: OpenMode) -> None:
        self._trap = trap
        self._path = path
        super().__init__(path, 2 if mode != "read" else 0)

    def write(self, data: bytes, offset: int) -> None:
        self._trap.spring("write", self._path)
        super().write(data, offset)

    def sync(self) -> None:
        self._trap.spring("sync", self._path)
        super().sync()


def open_engine(path: Path, trap: Trap | None = None) -> FileStore:
    return FileStore.open(str(path / "stock"), creation_id="1", file_system=trap)


def with_store(engine: FileStore, backend: str, case: Callable[[FileEventStore], Awaitable[None]]) -> None:
    async def run() -> None:
        store = FileEventStore(engine)
        try:
            with anyio.fail_after(60):
                await case(store)
        finally:
            await store.aclose()

    anyio.run(run, backend=backend)


@pytest.mark.parametrize("problem", UNEXPECTED)
@pytest.mark.parametrize("kind", ["open", "write"])
def test_idle_work_that_fails_keeps_nobody_from_writing(tmp_path: Path, backend: str, kind: str, problem: type[BaseException]) -> None:
    trap = Trap(kind, "/events/", problem)
    engine = open_engine(tmp_path, trap)

    async def case(store: FileEventStore) -> None:
        await store.append(write(A, 0, 1))
        trap.is_set = True
        assert await anyio.to_thread.run_sync(trap.hit.wait, 60)
        assert await store.append(write(A, 1, 2)) == AppendResult(2, {A: 2})
        assert (await store.read_stream(A, limit=9)).version == 2

    with_store(engine, backend, case)


@pytest.mark.parametrize("kind", ["write", "sync"])
@pytest.mark.parametrize("problem", [MemoryError, RecursionError])
def test_a_write_that_fails_in_an_unexpected_way_is_there_whole_or_not_at_all(
    tmp_path: Path, kind: str, problem: type[BaseException]
) -> None:
    trap = Trap(kind, "/journal/", problem)
    with closing(open_engine(tmp_path, trap)) as engine:
        engine.commit([write(A, 0, 1)])
        trap.is_set = True
        with pytest.raises(problem):
            engine.commit([write(A, 1, 2)])
        (outcome,) = engine.commit([write(A, 1, 2)])
        assert isinstance(outcome, AppendResult)
        assert versions(engine, A) == [1, 2]


class Halved:
    """An index table that has run out of memory in the middle of an addition."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_set = False
        add = GrowingTable.add

        def halved(table: GrowingTable, events: Iterable[IndexedEvent], offset: int) -> None:
            def some() -> Iterable[IndexedEvent]:
                for number, one in enumerate(events):
                    if self.is_set and number == 1:
                        self.is_set = False
                        raise MemoryError
                    yield one

            add(table, some(), offset)

        monkeypatch.setattr(GrowingTable, "add", halved)


def two(number: int) -> list[StreamWrite]:
    return [*write(A, number - 1, number), *write(B, number - 1, 100 + number)]


def test_an_index_that_was_left_half_changed_is_begun_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    halved = Halved(monkeypatch)
    with closing(open_engine(tmp_path)) as engine, closing(open_engine(tmp_path)) as other:
        engine.commit([two(1)])
        halved.is_set = True
        with pytest.raises(MemoryError):
            engine.settle()
        assert engine.glance_version(A) is None
        assert versions(engine, A) == versions(other, A) == [1]
        assert [event.version for event in engine.find_events(A, [UUID(int=1)])] == [1]
        assert engine.commit([two(2)]) == [AppendResult(4, {A: 2, B: 2})]
        assert len(engine.read_all(after=0, limit=9).events) == 4
    with closing(open_engine(tmp_path)) as engine:
        assert versions(engine, A) == [1, 2]


def test_a_reader_that_ran_out_of_memory_is_told_nothing_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    halved = Halved(monkeypatch)
    with closing(open_engine(tmp_path)) as engine, closing(open_engine(tmp_path)) as other:
        engine.commit([two(1)])
        engine.settle()
        halved.is_set = True
        with pytest.raises(MemoryError):
            other.read_stream(A, limit=9)
        assert versions(other, A) == versions(engine, A) == [1]


class Failing(FileStore):
    """Raises what it is told to in a call that the writer makes."""

    where = ""
    problem: type[BaseException] = MemoryError

    def commit(self, appends: Iterable[Sequence[StreamWrite]]) -> list[AppendResult | Exception]:
        if self.where == "commit":
            raise self.problem
        return super().commit(appends)

    def settle(self) -> int:
        if self.where == "settle":
            raise self.problem
        return super().settle()


@pytest.mark.parametrize("problem", UNEXPECTED)
@pytest.mark.parametrize("where", ["commit", "settle"])
def test_a_writer_that_fails_leaves_nobody_waiting(tmp_path: Path, backend: str, where: str, problem: type[BaseException]) -> None:
    engine = Failing.open(str(tmp_path / "stock"), creation_id="1")
    ends: list[str] = []

    async def append(store: FileEventStore, number: int) -> None:
        try:
            await store.append([StreamWrite(A, number, write(A, number, number)[0].events)])
        except (StoreClosedError, ConcurrencyError, MemoryError, RecursionError, AssertionError) as error:
            ends.append(type(error).__name__)
        else:
            ends.append("done")

    async def case(store: FileEventStore) -> None:
        engine.where, engine.problem = where, problem
        async with anyio.create_task_group() as tasks:
            for number in range(5):
                tasks.start_soon(append, store, number)
        for number in range(3):
            await append(store, number)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(store.aclose)
            tasks.start_soon(store.aclose)

    with_store(engine, backend, case)
    assert len(ends) == 8
    if problem is SystemExit:
        assert ends[-3:] == ["StoreClosedError"] * 3


def test_a_writer_that_fails_gives_no_turn_and_keeps_nobody_waiting_for_one(tmp_path: Path, backend: str) -> None:
    engine = Failing.open(str(tmp_path / "stock"), creation_id="1")
    ends: list[str] = []

    async def go_first(store: FileEventStore) -> None:
        try:
            async with store.turn():
                await store.append(write(B, 0, 2))
        except StoreClosedError:
            ends.append("turn")

    async def append(store: FileEventStore) -> None:
        with pytest.raises(StoreClosedError):
            await store.append(write(A, 0, 1))
        ends.append("append")

    async def case(store: FileEventStore) -> None:
        engine.where, engine.problem = "commit", SystemExit
        async with anyio.create_task_group() as tasks:
            for one in (append, go_first, append, go_first):
                tasks.start_soon(one, store)

    with_store(engine, backend, case)
    assert sorted(ends) == ["append", "append", "turn", "turn"]


def test_a_readable_copy_that_ends_in_nested_brackets_is_written_again(tmp_path: Path) -> None:
    with closing(open_engine(tmp_path)) as engine:
        engine.commit([write(A, 0, 1)])
    (copy,) = (tmp_path / "stock" / "events").glob("*.jsonl")
    line = copy.read_bytes()
    copy.write_bytes(line + b"[" * 200_000 + b"\n")
    (tmp_path / "stock" / "events" / ".lock").write_bytes(b"")
    with closing(open_engine(tmp_path)) as engine:
        engine.commit([write(A, 1, 2)])
    assert copy.read_bytes().startswith(line)
    assert copy.read_bytes().count(b"\n") == 2
