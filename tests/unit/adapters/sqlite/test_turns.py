"""Turns of SQLite: the write lock held before there is anything to write, and what ends it."""

import sqlite3
from functools import partial
from pathlib import Path
from threading import Timer

import anyio
import pytest

from inventory_es.adapters.sqlite import connections, database, open_sqlite_event_store
from inventory_es.adapters.sqlite.connections import Connections, WriteTurn
from inventory_es.ports.errors import ConcurrencyError, StoreUnavailableError
from tests.unit.adapters.file.test_event_store import A, write

pytestmark = pytest.mark.usefixtures("patient")


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's turn ends for the time that it takes."""
    monkeypatch.setattr(connections, "LONGEST_TURN", 60)


def test_one_append_ends_it_and_so_does_anything_that_writes(tmp_path: Path, backend: str) -> None:
    async def body() -> None:
        async with open_sqlite_event_store(tmp_path / "s.db") as one, open_sqlite_event_store(tmp_path / "s.db") as other:
            async with one.turn():
                with pytest.raises(ConcurrencyError):
                    await one.append(write(A, 3, 9))
                assert (await other.append(write(A, 0, 1))).versions == {A: 1}
            async with one.turn():
                await one.discard_snapshots(A)
                assert (await other.append(write(A, 1, 2))).versions == {A: 2}
            async with one.turn():
                pass
            assert (await other.append(write(A, 2, 3))).versions == {A: 3}

    anyio.run(body, backend=backend)


def test_a_lapse_of_an_older_turn_ends_no_newer_one(tmp_path: Path) -> None:
    path = str(tmp_path / "s.db")
    open_writer = partial(database.open_database, path, synchronous="FULL")
    connections = Connections(path, name="store", synchronous="FULL", open_writer=open_writer)
    (connection,) = connections._writers
    turn = WriteTurn(connections)
    turn.take()
    older = turn._turn
    turn.give_back()
    turn.take()
    held: list[bool] = []
    for lapsed in (older, turn._turn):
        turn._lapse(lapsed)
        held.append(connection.in_transaction)
    assert held == [True, False]
    connections.close()


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


def lending(folder: Path, connection: sqlite3.Connection) -> Connections:
    return Connections(str(folder / "s.db"), name="a store", synchronous="FULL", open_writer=lambda: connection)


def test_a_turn_whose_end_can_not_be_timed_does_not_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread(_timer: object) -> None:
        raise RuntimeError

    connection = sqlite3.connect(tmp_path / "s.db", isolation_level=None)
    turn = WriteTurn(lending(tmp_path, connection))
    monkeypatch.setattr(Timer, "start", no_thread)
    with pytest.raises(RuntimeError):
        turn.take()
    assert not connection.in_transaction, "others may write"
    connection.close()


def test_a_lapse_that_fails_ends_nothing_else(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "s.db", isolation_level=None, check_same_thread=False)
    turn = WriteTurn(lending(tmp_path, connection))
    turn.take()
    connection.close()
    turn._lapse(turn._turn)
    assert turn._timer is not None
    turn._timer.cancel()
