"""Turns: who waits for whom, what ends one, and that nobody hangs on one that is not left."""

from pathlib import Path

import anyio
import pytest

from inventory_es.adapters.file import FileEventStore, commit_writer, open_file, open_file_event_store
from inventory_es.adapters.file.operating_system import OperatingSystem, OperatingSystemLockFile
from inventory_es.ports import AppendResult, LockFile, TurnTaking
from inventory_es.ports.errors import ConcurrencyError, StoreClosedError, StoreUnavailableError
from tests.unit.adapters.file.test_event_store import A, B, write

pytestmark = pytest.mark.usefixtures("patient")


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's turn ends for want of news."""
    monkeypatch.setattr(commit_writer, "_LONGEST_PAUSE", 60)


async def _append(store: FileEventStore, expected: int, number: int, outcomes: list[AppendResult | Exception]) -> None:
    try:
        outcomes.append(await store.append(write(A, expected, number)))
    except ConcurrencyError as lost:
        outcomes.append(lost)


def test_what_is_read_in_a_turn_is_what_an_append_meets(tmp_path: Path, backend: str) -> None:
    async def body() -> None:
        outcomes: list[AppendResult | Exception] = []
        async with (
            open_file_event_store(tmp_path / "s") as one,
            open_file_event_store(tmp_path / "s") as other,
            anyio.create_task_group() as tasks,
        ):
            assert isinstance(one, TurnTaking)
            async with one.turn():
                tasks.start_soon(_append, other, 0, 9, outcomes)
                assert (await one.read_stream(A, limit=1)).version == 0
                for version in range(5):
                    assert (await one.append(write(A, version, version + 1))).versions == {A: version + 1}
                assert (await one.append(write(B, 0, 7))).versions == {B: 1}
                assert outcomes == []
        (lost,) = outcomes
        assert isinstance(lost, ConcurrencyError)
        assert lost.actual == 5

    anyio.run(body, backend=backend)


def test_others_go_on_when_it_is_over(tmp_path: Path, backend: str) -> None:
    async def body() -> None:
        async with open_file_event_store(tmp_path / "s") as one, open_file_event_store(tmp_path / "s") as other:
            for number in (1, 3):
                async with one.turn():
                    await one.append(write(A, number - 1, number))
                async with other.turn():
                    await other.append(write(A, number, number + 1))
            async with one.turn():
                pass
            assert (await other.append(write(A, 4, 5))).versions == {A: 5}

    anyio.run(body, backend=backend)


def test_one_that_is_not_left_ends_by_itself(tmp_path: Path, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit_writer, "_LONGEST_PAUSE", 0.001)

    async def body() -> None:
        async with open_file_event_store(tmp_path / "s") as one, open_file_event_store(tmp_path / "s") as other:
            async with one.turn():
                assert (await other.append(write(A, 0, 1))).versions == {A: 1}
                with pytest.raises(ConcurrencyError):
                    await one.append(write(A, 0, 2))
            async with one.turn():
                assert (await one.append(write(A, 1, 2))).versions == {A: 2}

    anyio.run(body, backend=backend)


def test_tasks_of_one_handle_take_turns_too(tmp_path: Path, backend: str) -> None:
    async def body() -> None:
        async with open_file_event_store(tmp_path / "s") as store:

            async def add(number: int) -> None:
                async with store.turn():
                    version = (await store.read_stream(A, limit=1)).version
                    await store.append(write(A, version, number))

            async with anyio.create_task_group() as tasks:
                for number in range(1, 9):
                    tasks.start_soon(add, number)
            assert (await store.read_stream(A, limit=1)).version == 8

    anyio.run(body, backend=backend)


def test_who_is_cancelled_while_waiting_holds_nothing(tmp_path: Path, backend: str) -> None:
    async def body() -> None:
        async with open_file_event_store(tmp_path / "s") as one, open_file_event_store(tmp_path / "s") as other:
            async with one.turn(), anyio.create_task_group() as tasks:
                for _ in range(2):
                    with anyio.move_on_after(0) as scope:
                        async with other.turn():
                            pytest.fail("its turn has not come")
                    assert scope.cancelled_caught
                await one.append(write(A, 0, 1))
                tasks.cancel_scope.cancel()
            assert (await other.append(write(A, 1, 2))).versions == {A: 2}
            assert (await one.append(write(A, 2, 3))).versions == {A: 3}

    anyio.run(body, backend=backend)


def test_a_store_that_closes_ends_a_turn_and_gives_no_other(tmp_path: Path, backend: str) -> None:
    async def body() -> None:
        store = await open_file(str(tmp_path / "s"))
        async with store.turn():
            await store.append(write(A, 0, 1))
            await store.aclose()
            with pytest.raises(StoreClosedError):
                await store.append(write(A, 1, 2))
        with pytest.raises(StoreClosedError):
            async with store.turn():
                pytest.fail("it is closed")
        async with open_file_event_store(tmp_path / "s") as again:
            assert (await again.append(write(A, 1, 2))).versions == {A: 2}

    anyio.run(body, backend=backend)


class Locked(OperatingSystem):
    """Its lock can't be taken for a while."""

    refuses = False

    def open_lock(self, path: str) -> LockFile:
        return StiffLock(self, path)


class StiffLock(OperatingSystemLockFile):
    def __init__(self, system: Locked, path: str) -> None:
        super().__init__(path)
        self.system = system

    def acquire(self, *, wait: bool = True) -> bool:
        if self.system.refuses:
            raise OSError(37, "No locks available")
        return super().acquire(wait=wait)


def test_where_no_turn_can_be_given_everybody_passes(tmp_path: Path, backend: str) -> None:
    async def body() -> None:
        system = Locked()
        async with open_file_event_store(tmp_path / "s", file_system=system) as store:
            system.refuses = True
            async with store.turn():
                with pytest.raises(StoreUnavailableError):
                    await store.append(write(A, 0, 1))
                system.refuses = False
                assert (await store.append(write(A, 0, 1))).versions == {A: 1}
            async with store.turn():
                assert (await store.append(write(A, 1, 2))).versions == {A: 2}

    anyio.run(body, backend=backend)
