"""The asynchronous layer: who shares a commit, who is withdrawn, who hears what when it fails, and how it closes."""

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any, Literal, cast
from uuid import UUID

import anyio
import anyio.to_thread
import pytest

from inventory_es.adapters.file import FileEventStore, FileStore, open_file, open_file_event_store
from inventory_es.adapters.file.operating_system import _FLAGS, OperatingSystem, OperatingSystemFile
from inventory_es.adapters.file.store import writer as commit_writer
from inventory_es.adapters.file.store.append_batch import CAPABILITIES
from inventory_es.adapters.file.store.file_store import SEGMENT_BYTES
from inventory_es.adapters.file.store.writer import CommitWriter
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import AppendResult, NewEvent, StoreCapabilities, StreamWrite
from inventory_es.ports.errors import AppendOutcomeUnknownError, ConcurrencyError, CorruptStoreError, StoreClosedError
from inventory_es.ports.file_system import File, OpenMode

A, B = StreamId("s", "a"), StreamId("s", "b")


def write(stream: StreamId, expected: int, number: int) -> list[StreamWrite]:
    return [StreamWrite(stream, expected, [NewEvent(UUID(int=number), "Happened", 1, datetime(2026, 1, 5, tzinfo=UTC), b"{}")])]


class Gated(OperatingSystem):
    """Journal files whose sync or read waits at a gate; the n-th sync fails where told so."""

    def __init__(self) -> None:
        self.kind: Literal["sync", "read", ""] = ""
        self.entered = Event()
        self.gate = Event()
        self.passed = 0
        self.failures: dict[int, Exception] = {}

    def close_gate(self, kind: Literal["sync", "read"]) -> None:
        self.entered.clear()
        self.gate.clear()
        self.kind = kind

    def open_gate(self) -> None:
        self.kind = ""
        self.gate.set()

    def pass_through(self, kind: str) -> None:
        if kind == "sync":
            self.passed += 1
        if kind == self.kind:
            self.entered.set()
            assert self.gate.wait(60)
        if kind == "sync" and self.passed in self.failures:
            raise self.failures[self.passed]

    def open(self, path: str, mode: OpenMode) -> File:
        return GatedFile(self, path, mode) if path.endswith(".jsonl") and "/journal/" in path else super().open(path, mode)


class GatedFile(OperatingSystemFile):
    def __init__(self, system: Gated, path: str, mode: OpenMode) -> None:
        super().__init__(path, _FLAGS[mode])
        self.system = system

    def sync(self) -> None:
        self.system.pass_through("sync")
        super().sync()

    def read(self, size: int, offset: int) -> bytes:
        self.system.pass_through("read")
        return super().read(size, offset)


async def wait_until(event: Event) -> None:
    assert await anyio.to_thread.run_sync(event.wait, 60)


async def numbers(store: FileEventStore) -> list[int]:
    return [event.event_id.int for event in (await store.read_all(after=0, limit=100)).events]


def test_appends_that_meet_share_the_next_commit_and_each_has_its_own_outcome(tmp_path: Path, backend: str) -> None:
    system = Gated()
    heard: dict[int, AppendResult | Exception] = {}

    async def main() -> None:
        async def append(number: int, *, expected: int) -> None:
            try:
                heard[number] = await store.append(write(StreamId("s", f"p{number}"), expected, number))
            except ConcurrencyError as conflict:
                heard[number] = conflict

        async with open_file_event_store(tmp_path / "stock", file_system=system) as store:
            async with anyio.create_task_group() as tasks:
                system.close_gate("sync")
                tasks.start_soon(store.append, write(A, 0, 1))
                await wait_until(system.entered)
                for number in range(2, 12):
                    tasks.start_soon(partial(append, number, expected=number % 5 // 4))
                await anyio.wait_all_tasks_blocked()
                system.open_gate()
            assert system.passed == 2
            written = {event.stream: event.position for event in (await store.read_all(after=1, limit=99)).events}
        for number, outcome in heard.items():
            stream = StreamId("s", f"p{number}")
            refused = ConcurrencyError(stream=stream, expected=1, actual=0)
            assert outcome == (refused if number in {4, 9} else AppendResult(written[stream], {stream: 1}))
        assert len(heard) == 10

    anyio.run(main, backend=backend)


def test_whoever_closes_second_waits_for_the_first(tmp_path: Path, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    entered, gate, closed = Event(), Event(), list[str]()
    close = FileStore.close

    def slow(engine: FileStore) -> None:
        if not entered.is_set():
            entered.set()
            assert gate.wait(60)
            close(engine)
            closed.append("engine")

    monkeypatch.setattr(FileStore, "close", slow)

    async def main() -> None:
        async def close_second() -> None:
            await store.aclose()
            closed.append("second")

        async with open_file_event_store(tmp_path / "stock") as store, anyio.create_task_group() as tasks:
            tasks.start_soon(store.aclose)
            await wait_until(entered)
            tasks.start_soon(close_second)
            for _ in range(20):  # time for a thread that need not wait
                await anyio.to_thread.run_sync(lambda: None)
            gate.set()

    anyio.run(main, backend=backend)
    assert closed == ["engine", "second"]


def test_what_it_declares() -> None:
    declared = StoreCapabilities(
        durability="power",
        feed="total",
        multi_process=True,
        multi_stream=True,
        group_commit=True,
        unique_event_ids=True,
        withdraws=True,
        settles_within=0.0,
        survives_fork=True,
        max_append_events=10_000,
        max_append_bytes=32 * 1024 * 1024,
    )
    assert declared == CAPABILITIES
    assert SEGMENT_BYTES == 64 * 1024 * 1024


def test_a_caller_cancelled_while_queued_is_withdrawn(tmp_path: Path, backend: str) -> None:
    system = Gated()

    async def main() -> None:
        async with open_file_event_store(tmp_path / "stock", file_system=system) as store:
            async with anyio.create_task_group() as tasks:
                system.close_gate("sync")
                tasks.start_soon(store.append, write(A, 0, 1))
                await wait_until(system.entered)
                async with anyio.create_task_group() as cancelled:
                    cancelled.start_soon(store.append, write(B, 0, 2))
                    await anyio.wait_all_tasks_blocked()
                    tasks.start_soon(store.append, write(A, 1, 3))
                    await anyio.wait_all_tasks_blocked()
                    cancelled.start_soon(store.append, write(B, 0, 4))
                    await anyio.wait_all_tasks_blocked()
                    cancelled.cancel_scope.cancel()
                system.open_gate()
            assert await numbers(store) == [1, 3]
            assert system.passed == 2

    anyio.run(main, backend=backend)


def test_when_all_that_waited_are_withdrawn_nothing_is_committed(tmp_path: Path, backend: str) -> None:
    system = Gated()

    async def main() -> None:
        async with open_file_event_store(tmp_path / "stock", file_system=system) as store, anyio.create_task_group() as tasks:
            system.close_gate("sync")
            tasks.start_soon(store.append, write(A, 0, 1))
            await wait_until(system.entered)
            async with anyio.create_task_group() as cancelled:
                cancelled.start_soon(store.append, write(B, 0, 2))
                await anyio.wait_all_tasks_blocked()
                cancelled.cancel_scope.cancel()
            system.open_gate()
        assert system.passed == 1

    anyio.run(main, backend=backend)


@pytest.mark.parametrize("read", ["find_events", "read_stream", "read_stream_backwards"])
def test_reads_wait_for_a_commit_whose_caller_was_cancelled(tmp_path: Path, backend: str, read: str) -> None:
    system = Gated()
    found: list[int] = []

    async def look(store: FileEventStore) -> None:
        match read:
            case "find_events":
                found.append(len(await store.find_events(A, [UUID(int=1)])))
            case "read_stream":
                found.append((await store.read_stream(A, limit=9)).version)
            case _:
                found.append((await store.read_stream_backwards(A, limit=9)).version)

    async def main() -> None:
        async with open_file_event_store(tmp_path / "stock", file_system=system) as store:
            system.close_gate("sync")
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(store.append, write(A, 0, 1))
                await wait_until(system.entered)
                tasks.cancel_scope.cancel()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(look, store)
                tasks.start_soon(look, store)
                with anyio.move_on_after(0.02):  # one that gives up holds up nobody
                    await look(store)
                assert found == []
                system.open_gate()
            assert found == [1, 1]

    anyio.run(main, backend=backend)


def test_a_caller_cancelled_in_flight_finds_out_by_sending_the_same_again(tmp_path: Path, backend: str) -> None:
    system = Gated()

    async def main() -> None:
        async with open_file_event_store(tmp_path / "stock", file_system=system) as store:
            system.close_gate("sync")
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(store.append, write(A, 0, 1))
                await wait_until(system.entered)
                tasks.cancel_scope.cancel()
            system.open_gate()
            assert await store.append(write(A, 0, 1)) == AppendResult(1, {A: 1}, replayed=True)

    anyio.run(main, backend=backend)


class _SlowEngine:
    """Commits that last until they are let go, one after the other; each group is its own outcome."""

    def __init__(self) -> None:
        self.begun = [Event(), Event()]
        self.go = [Event(), Event()]
        self.commits = 0

    def commit(self, appends: Iterable[Any]) -> list[Any]:
        groups = list(appends)
        number, self.commits = self.commits, self.commits + 1
        self.begun[number].set()
        self.go[number].wait()
        return groups

    def settle(self) -> int:
        return 0

    def tidy(self) -> bool:
        return True


def test_a_caller_cancelled_in_flight_keeps_nobody_waiting(backend: str) -> None:
    engine = _SlowEngine()
    heard: list[Any] = []

    async def commit(writer: CommitWriter, name: str) -> None:
        heard.extend(await writer.commit(cast(Any, [name])))

    async def main() -> None:
        writer = CommitWriter(cast(FileStore, engine))
        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(commit, writer, "first")
                await wait_until(engine.begun[0])
                async with anyio.create_task_group() as cancelled:
                    cancelled.start_soon(commit, writer, "cancelled")
                    await anyio.wait_all_tasks_blocked()
                    tasks.start_soon(commit, writer, "beside it")
                    await anyio.wait_all_tasks_blocked()
                    engine.go[0].set()
                    await wait_until(engine.begun[1])
                    cancelled.cancel_scope.cancel()
                engine.go[1].set()
            await writer.stop()
        assert heard == ["first", "beside it"]
        assert engine.commits == 2

    anyio.run(main, backend=backend)


def test_callers_of_a_failed_commit_each_hear_that_the_outcome_is_unknown(tmp_path: Path, backend: str) -> None:
    system = Gated()
    system.failures[2] = OSError(5, "Input/output error")
    heard: list[Exception] = []

    async def append(store: FileEventStore, stream: StreamId, number: int) -> None:
        try:
            await store.append(write(stream, 0, number))
        except AppendOutcomeUnknownError as problem:
            heard.append(problem)

    async def main() -> None:
        async with open_file_event_store(tmp_path / "stock", file_system=system) as store:
            async with anyio.create_task_group() as tasks:
                system.close_gate("sync")
                tasks.start_soon(store.append, write(A, 0, 1))
                await wait_until(system.entered)
                for number in (2, 3, 4):
                    tasks.start_soon(append, store, StreamId("s", str(number)), number)
                await anyio.wait_all_tasks_blocked()
                system.open_gate()
            results = [await store.append(write(StreamId("s", str(number)), 0, number)) for number in (2, 3, 4)]
            assert [result.versions for result in results] == [{StreamId("s", str(number)): 1} for number in (2, 3, 4)]

    anyio.run(main, backend=backend)
    assert len({id(problem) for problem in heard}) == len(heard) == 3
    assert {str(problem) for problem in heard} == {str(heard[0])}


def test_a_group_has_one_outcome_for_each_append(tmp_path: Path, backend: str) -> None:
    async def main() -> None:
        async with open_file_event_store(tmp_path / "stock") as store:
            outcomes = await store.append_group([write(A, 0, 1), write(A, 0, 2), write(B, 0, 3)])
            assert outcomes == [AppendResult(1, {A: 1}), ConcurrencyError(stream=A, expected=0, actual=1), AppendResult(2, {B: 1})]
            assert await store.append_group([]) == []
            with pytest.raises(ConcurrencyError):
                await store.append(write(A, 0, 9))

    anyio.run(main, backend=backend)


def test_an_error_that_nobody_foresaw_reaches_the_caller_and_the_writer_lives(tmp_path: Path, backend: str) -> None:
    system = Gated()

    async def main() -> None:
        async with open_file_event_store(tmp_path / "stock", file_system=system) as store:
            system.failures[1] = ZeroDivisionError("a bug")
            with pytest.raises(ZeroDivisionError):
                await store.append(write(A, 0, 1))
            assert (await store.append(write(A, 0, 1))).versions == {A: 1}

    anyio.run(main, backend=backend)


def test_closing_finishes_what_is_in_flight(tmp_path: Path, backend: str) -> None:
    system = Gated()
    results: list[AppendResult] = []

    async def append(store: FileEventStore, number: int) -> None:
        results.append(await store.append(write(A, number - 1, number)))

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            async with open_file_event_store(tmp_path / "stock", file_system=system) as store:
                system.close_gate("sync")
                tasks.start_soon(append, store, 1)
                await wait_until(system.entered)
                tasks.start_soon(append, store, 2)
                await anyio.wait_all_tasks_blocked()
                tasks.start_soon(store.aclose)
                await anyio.wait_all_tasks_blocked()
                for use in (lambda: store.append(write(A, 2, 3)), store.head, lambda: store.read_stream(A, limit=1)):
                    with pytest.raises(StoreClosedError):
                        await use()
                system.open_gate()
            await store.aclose()
        async with open_file_event_store(tmp_path / "stock") as again:
            assert await numbers(again) == [1, 2]

    anyio.run(main, backend=backend)
    assert [result.versions for result in sorted(results, key=lambda result: result.position)] == [{A: 1}, {A: 2}]


def test_closing_waits_for_reads(tmp_path: Path, backend: str) -> None:
    system = Gated()
    read: list[int] = []

    async def main() -> None:
        store = await open_file(str(tmp_path / "stock"))
        await store.append(write(A, 0, 1))
        await store.aclose()
        async with anyio.create_task_group() as tasks, open_file_event_store(tmp_path / "stock", file_system=system) as store:

            async def read_slowly() -> None:
                read.extend(await numbers(store))

            system.close_gate("read")
            tasks.start_soon(read_slowly)
            tasks.start_soon(read_slowly)
            await wait_until(system.entered)
            tasks.start_soon(store.aclose)
            await anyio.wait_all_tasks_blocked()
            assert read == []
            system.open_gate()

    anyio.run(main, backend=backend)
    assert read == [1, 1]


def test_a_commit_of_this_handle_wakes_whoever_waits_for_it(tmp_path: Path, backend: str) -> None:
    async def main() -> None:
        async with open_file_event_store(tmp_path / "stock") as store, anyio.create_task_group() as tasks:
            assert not await store.wait_for_position(1, timeout=0.01)
            tasks.start_soon(store.append, write(A, 0, 1))
            assert await store.wait_for_position(1, timeout=60)
            assert await store.wait_for_position(1, timeout=60)

    anyio.run(main, backend=backend)


def test_people_s_files_are_written_when_the_writer_has_time(tmp_path: Path, backend: str) -> None:
    async def main() -> None:
        async with open_file_event_store(tmp_path / "stock") as store:
            await store.append(write(A, 0, 1))
            with anyio.fail_after(60):
                while not (tmp_path / "stock" / "events" / "s-a.jsonl").exists():
                    await anyio.to_thread.run_sync(lambda: None)
            assert [head.version for head in (await store.streams("s-", limit=5)).heads] == [1]
            assert [event.version for event in await store.find_events(A, [UUID(int=1)])] == [1]
            for read in (store.read_stream, store.read_stream_backwards):
                assert [event.version for event in (await read(A, limit=5)).events] == [1]

    anyio.run(main, backend=backend)


def test_a_store_that_can_t_tidy_says_so_and_serves(
    tmp_path: Path, backend: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tried = Event()

    def tidy(_engine: FileStore) -> bool:
        tried.set()
        raise CorruptStoreError(store="stock", place="x", problem="y")

    monkeypatch.setattr(FileStore, "tidy", tidy)

    async def main() -> None:
        async with open_file_event_store(tmp_path / "stock") as store:
            await store.append(write(A, 0, 1))
            await wait_until(tried)
            assert (await store.append(write(A, 1, 2))).versions == {A: 2}

    anyio.run(main, backend=backend)
    (said,) = {record.__dict__["problem"] for record in caplog.records if record.message == "store_not_tidied"}
    assert said == str(CorruptStoreError(store="stock", place="x", problem="y"))


def test_under_steady_load_people_s_files_are_not_left_behind(tmp_path: Path, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit_writer, "_MAX_BACKLOG", 2)
    monkeypatch.setattr(commit_writer, "_IDLE", 3600.0)

    async def main() -> None:
        async with open_file_event_store(tmp_path / "stock") as store:
            for number in range(1, 5):
                await store.append(write(A, number - 1, number))
            assert (tmp_path / "stock" / "events" / "s-a.jsonl").read_bytes().count(b"\n") == 3

    anyio.run(main, backend=backend)


def test_a_handle_that_a_fork_inherited_closes_without_its_writer(tmp_path: Path, backend: str) -> None:
    async def main() -> None:
        async with open_file_event_store(tmp_path / "stock") as store:
            assert store.capabilities.durability == "power"
            store._store._process -= 1
            with pytest.raises(StoreClosedError, match="inherited by fork"):
                await store.append(write(A, 0, 1))
            with pytest.raises(StoreClosedError, match="inherited by fork"):
                await store.head()

    anyio.run(main, backend=backend)
