"""Turns of the stores that give them: who waits for whom, what ends one, and that nobody hangs on one that is not left."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import anyio
import pytest

from inventory_es.adapters.file import open_file, open_file_event_store
from inventory_es.adapters.file.store import writer as commit_writer
from inventory_es.adapters.sqlite import connections, open_sqlite, open_sqlite_event_store
from inventory_es.ports import AppendResult, TurnTaking
from inventory_es.ports.errors import ConcurrencyError, StoreClosedError
from tests.unit.adapters.file.test_event_store import A, write

Open = Callable[[Path], AbstractAsyncContextManager[Any]]

pytestmark = pytest.mark.usefixtures("patient")
stores = pytest.mark.parametrize("opened", [open_file_event_store, open_sqlite_event_store], ids=["file", "sqlite"])


def _ends_after(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    monkeypatch.setattr(commit_writer, "_LONGEST_PAUSE", seconds)
    monkeypatch.setattr(connections, "LONGEST_TURN", seconds)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's turn ends for the time that it takes."""
    _ends_after(monkeypatch, 60)


@stores
def test_what_is_read_in_a_turn_is_what_an_append_meets(opened: Open, tmp_path: Path, backend: str) -> None:
    async def body() -> None:
        outcomes: list[AppendResult | Exception] = []

        async def append(store: Any) -> None:
            try:
                outcomes.append(await store.append(write(A, 0, 9)))
            except ConcurrencyError as lost:
                outcomes.append(lost)

        async with opened(tmp_path / "s") as one, opened(tmp_path / "s") as other:
            assert all(isinstance(store, TurnTaking) for store in (one, other))
            async with anyio.create_task_group() as tasks, one.turn():
                tasks.start_soon(append, other)
                for _ in range(5):
                    assert (await one.read_stream(A, limit=1)).version == 0
                assert outcomes == []
                assert (await one.append(write(A, 0, 1))).versions == {A: 1}
        (lost,) = outcomes
        assert isinstance(lost, ConcurrencyError)
        assert lost.actual == 1

    anyio.run(body, backend=backend)


@stores
def test_others_go_on_when_it_is_over(opened: Open, tmp_path: Path, backend: str) -> None:
    async def body() -> None:
        async with opened(tmp_path / "s") as one, opened(tmp_path / "s") as other:
            for number in (1, 3):
                async with one.turn():
                    await one.append(write(A, number - 1, number))
                async with other.turn():
                    await other.append(write(A, number, number + 1))
            async with one.turn():
                pass
            assert (await other.append(write(A, 4, 5))).versions == {A: 5}

    anyio.run(body, backend=backend)


@stores
def test_one_that_is_not_left_ends_by_itself(opened: Open, tmp_path: Path, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _ends_after(monkeypatch, 0.001)

    async def body() -> None:
        async with opened(tmp_path / "s") as one, opened(tmp_path / "s") as other:
            async with one.turn():
                assert (await other.append(write(A, 0, 1))).versions == {A: 1}
                with pytest.raises(ConcurrencyError):
                    await one.append(write(A, 0, 2))
            async with one.turn():
                assert (await one.append(write(A, 1, 2))).versions == {A: 2}

    anyio.run(body, backend=backend)


@stores
def test_tasks_of_one_handle_take_turns_too(opened: Open, tmp_path: Path, backend: str) -> None:
    async def body() -> None:
        async with opened(tmp_path / "s") as store:

            async def add(number: int) -> None:
                async with store.turn():
                    version = (await store.read_stream(A, limit=1)).version
                    await store.append(write(A, version, number))

            async with anyio.create_task_group() as tasks:
                for number in range(1, 9):
                    tasks.start_soon(add, number)
            assert (await store.read_stream(A, limit=1)).version == 8

    anyio.run(body, backend=backend)


@pytest.mark.parametrize("opened", [open_file, open_sqlite], ids=["file", "sqlite"])
def test_a_store_that_closes_ends_a_turn_and_gives_no_other(opened: Callable[[str], Awaitable[Any]], tmp_path: Path, backend: str) -> None:
    async def body() -> None:
        store, other = await opened(str(tmp_path / "s")), await opened(str(tmp_path / "s"))
        async with store.turn():
            await store.aclose()
            with pytest.raises(StoreClosedError):
                await store.append(write(A, 0, 1))
            assert (await other.append(write(A, 0, 2))).versions == {A: 1}
        with pytest.raises(StoreClosedError):
            async with store.turn():
                pytest.fail("it is closed")
        await other.aclose()

    anyio.run(body, backend=backend)
