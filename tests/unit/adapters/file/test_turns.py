"""Turns of the file store: as many appends as are made in one, who is cancelled while waiting, and a lock that can not be taken."""

from pathlib import Path

import anyio
import pytest

from inventory_es.adapters.file import FileEventStore, open_file_event_store
from inventory_es.adapters.file.operating_system import OperatingSystem, OperatingSystemLockFile
from inventory_es.adapters.file.store import writer as commit_writer
from inventory_es.ports import AppendResult, TurnTaking
from inventory_es.ports.errors import ConcurrencyError, StoreUnavailableError
from inventory_es.ports.file_system import LockFile
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


def test_a_turn_holds_as_many_appends_as_are_made_in_it(tmp_path: Path, backend: str) -> None:
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


class Locked(OperatingSystem):
    """Its lock can't be taken for a while."""

    refuses = False

    def open_lock(self, path: str) -> LockFile:
        return StiffLock(self, path)


class StiffLock(OperatingSystemLockFile):
    def __init__(self, system: Locked, path: str) -> None:
        super().__init__(path)
        self.system = system

    def acquire(self, *, timeout: float) -> bool:
        if self.system.refuses:
            raise OSError(37, "No locks available")
        return super().acquire(timeout=timeout)


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
