"""Turns: the write lock held before there is anything to write, and never for long."""

import sqlite3
from pathlib import Path

import anyio
import pytest

from inventory_es.adapters.sqlite import SqliteEventStore, database, open_sqlite, open_sqlite_event_store, write_turn
from inventory_es.ports import AppendResult, TurnTaking
from inventory_es.ports.errors import ConcurrencyError, StoreClosedError, StoreUnavailableError
from tests.unit.adapters.file.test_event_store import A, B, write

pytestmark = pytest.mark.usefixtures("patient")


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's turn ends for the time that it takes."""
    monkeypatch.setattr(write_turn, "LONGEST_TURN", 60)


async def _append(store: SqliteEventStore, expected: int, number: int, outcomes: list[AppendResult | Exception]) -> None:
    try:
        outcomes.append(await store.append(write(A, expected, number)))
    except ConcurrencyError as lost:
        outcomes.append(lost)


def test_what_is_read_in_a_turn_is_what_an_append_meets(tmp_path: Path, backend: str) -> None:
    async def body() -> None:
        outcomes: list[AppendResult | Exception] = []
        async with open_sqlite_event_store(tmp_path / "s.db") as one, open_sqlite_event_store(tmp_path / "s.db") as other:
            assert isinstance(one, TurnTaking)
            async with anyio.create_task_group() as tasks, one.turn():
                tasks.start_soon(_append, other, 0, 9, outcomes)
                for _ in range(5):
                    assert (await one.read_stream(A, limit=1)).version == 0
                assert outcomes == []
                assert (await one.append(write(A, 0, 1))).versions == {A: 1}
                assert (await one.append(write(B, 0, 2))).versions == {B: 1}
        (lost,) = outcomes
        assert isinstance(lost, ConcurrencyError)
        assert lost.actual == 1

    anyio.run(body, backend=backend)


def test_others_go_on_when_it_is_over(tmp_path: Path, backend: str) -> None:
    async def body() -> None:
        async with open_sqlite_event_store(tmp_path / "s.db") as one, open_sqlite_event_store(tmp_path / "s.db") as other:
            for number in (1, 3):
                async with one.turn():
                    await one.append(write(A, number - 1, number))
                async with other.turn():
                    await other.append(write(A, number, number + 1))
            async with one.turn():
                with pytest.raises(ConcurrencyError):
                    await one.append(write(A, 0, 9))
                assert (await other.append(write(A, 4, 5))).versions == {A: 5}
            async with one.turn():
                await one.discard_snapshots(A)
                assert (await other.append(write(A, 5, 6))).versions == {A: 6}
            async with one.turn():
                pass
            assert (await other.append(write(A, 6, 7))).versions == {A: 7}

    anyio.run(body, backend=backend)


def test_one_that_is_not_left_ends_by_itself(tmp_path: Path, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_turn, "LONGEST_TURN", 0.001)

    async def body() -> None:
        async with open_sqlite_event_store(tmp_path / "s.db") as one, open_sqlite_event_store(tmp_path / "s.db") as other, one.turn():
            assert (await other.append(write(A, 0, 1))).versions == {A: 1}
            assert (await one.append(write(A, 1, 2))).versions == {A: 2}

    anyio.run(body, backend=backend)


def test_a_lapse_of_an_older_turn_ends_no_newer_one(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "s.db", isolation_level=None)
    turn = write_turn.WriteTurn(connection)
    turn.take()
    older = turn._turn
    turn.give_back()
    turn.take()
    held: list[bool] = []
    for lapsed in (older, turn._turn):
        turn._lapse(lapsed)
        held.append(connection.in_transaction)
    assert held == [True, False]
    connection.close()


def test_tasks_of_one_handle_take_turns_too(tmp_path: Path, backend: str) -> None:
    async def body() -> None:
        async with open_sqlite_event_store(tmp_path / "s.db") as store:

            async def add(number: int) -> None:
                async with store.turn():
                    version = (await store.read_stream(A, limit=1)).version
                    await store.append(write(A, version, number))

            async with anyio.create_task_group() as tasks:
                for number in range(1, 9):
                    tasks.start_soon(add, number)
            assert (await store.read_stream(A, limit=1)).version == 8

    anyio.run(body, backend=backend)


def test_who_is_cancelled_holds_nothing(tmp_path: Path, backend: str) -> None:
    async def body() -> None:
        async with open_sqlite_event_store(tmp_path / "s.db") as one, open_sqlite_event_store(tmp_path / "s.db") as other:
            with anyio.CancelScope() as scope:
                async with one.turn():
                    scope.cancel()
                    await anyio.Event().wait()
            assert scope.cancelled_caught
            async with anyio.create_task_group() as tasks:

                async def wait() -> None:
                    async with one.turn():
                        pytest.fail("its turn has not come")

                async with one.turn():
                    tasks.start_soon(wait)
                    await one.read_stream(A, limit=1)
                    tasks.cancel_scope.cancel()
            assert (await other.append(write(A, 0, 1))).versions == {A: 1}

    anyio.run(body, backend=backend)


def test_a_store_that_closes_ends_a_turn_and_gives_no_other(tmp_path: Path, backend: str) -> None:
    async def body() -> None:
        store = await open_sqlite(str(tmp_path / "s.db"))
        async with open_sqlite_event_store(tmp_path / "s.db") as other:
            async with store.turn():
                await store.aclose()
                with pytest.raises(StoreClosedError):
                    await store.append(write(A, 0, 1))
                assert (await other.append(write(A, 0, 2))).versions == {A: 1}
            with pytest.raises(StoreClosedError):
                async with store.turn():
                    pytest.fail("it is closed")

    anyio.run(body, backend=backend)


def test_where_no_turn_can_be_given_everybody_passes(tmp_path: Path, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.01)

    async def body() -> None:
        async with open_sqlite_event_store(tmp_path / "s.db") as store:
            busy = sqlite3.connect(tmp_path / "s.db", isolation_level=None)
            busy.execute("BEGIN IMMEDIATE")
            async with store.turn():
                with pytest.raises(StoreUnavailableError):
                    await store.append(write(A, 0, 1))
                busy.execute("ROLLBACK")
                assert (await store.append(write(A, 0, 1))).versions == {A: 1}
            busy.close()

    anyio.run(body, backend=backend)
