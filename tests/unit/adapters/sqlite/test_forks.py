"""What a fork does to open connections, step by step, without a fork; and the locks of several handles in one process."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import anyio
import pytest

from inventory_es.adapters.sqlite import connections, open_sqlite_read_model
from inventory_es.adapters.sqlite.connections import ForkGate, gate
from inventory_es.adapters.sqlite.event_store import SqliteStore
from inventory_es.ports.errors import UnavailableError
from tests.unit.adapters.file.test_event_store import A, B, write


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[SqliteStore]:
    opened = SqliteStore(str(tmp_path / "s.db"), synchronous="FULL")
    yield opened
    opened.close()


def names(tmp_path: Path) -> set[str]:
    return {path.name for path in tmp_path.iterdir()}


def test_before_a_fork_every_connection_is_closed_and_the_next_use_opens_another(engine: SqliteStore, tmp_path: Path) -> None:
    engine.commit([write(A, 0, 1)])
    assert engine.read_stream(A, after=0, limit=9).version == 1
    assert names(tmp_path) == {"s.db", "s.db-wal", "s.db-shm"}
    gate._before()
    assert names(tmp_path) == {"s.db"}
    gate._after_in_parent()
    assert engine.glance_version(A) is None
    assert engine.read_stream(A, after=0, limit=9).version == 1
    engine.commit([write(A, 1, 2)])
    assert engine.glance_version(A) == 2


def test_what_was_remembered_before_a_fork_is_forgotten(engine: SqliteStore, tmp_path: Path) -> None:
    engine.commit([write(A, 0, 1)])
    gate._before()
    gate._after_in_parent()
    child = SqliteStore(str(tmp_path / "s.db"), synchronous="FULL")
    child.commit([write(A, 1, 2), write(B, 0, 3)])
    child.close()
    (outcome,) = engine.commit([write(A, 2, 4)])
    assert not isinstance(outcome, Exception)
    assert (outcome.position, outcome.versions) == (4, {A: 3})


def test_a_fork_ends_a_turn(engine: SqliteStore, tmp_path: Path) -> None:
    engine.take_turn()
    gate._before()
    gate._after_in_parent()
    other = SqliteStore(str(tmp_path / "s.db"), synchronous="FULL")
    other.commit([write(A, 0, 1)])
    other.close()
    engine.give_turn_back()
    engine.commit([write(A, 1, 2)])
    assert engine.read_stream(A, after=0, limit=9).version == 2


def test_a_fork_waits_for_the_use_of_a_connection_and_a_use_for_the_fork(tmp_path: Path) -> None:
    order: list[str] = []
    tested = ForkGate()
    tested.enter("first")

    def fork() -> None:
        tested._before()
        order.append("forks")
        tested._after_in_parent()

    forking = Thread(target=fork)
    forking.start()
    while not tested.forks:
        pass
    assert not tested.enter("second", wait=False)
    order.append("used")
    tested.uses.discard("first")
    tested.tell()
    forking.join()
    tested.enter("third")
    order.append("used again")
    assert order == ["used", "forks", "used again"]


def test_a_use_does_not_wait_for_ever_for_a_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "FORK_SECONDS", 0)
    tested = ForkGate()
    tested._before()
    with pytest.raises(UnavailableError, match="fork"):
        tested.enter("use")


_VISIT = """
import sys
from inventory_es.adapters.sqlite.event_store import SqliteStore
engine = SqliteStore(sys.argv[1], synchronous="FULL")
print(engine.head())
engine.close()
"""


def visit(path: Path) -> int:
    """Open and close the file in another process, which takes the log away if it thinks that it is the last."""
    return int(subprocess.run([sys.executable, "-c", _VISIT, str(path)], capture_output=True, text=True, check=True).stdout)


def test_a_second_handle_in_one_process_does_not_cost_the_first_one_its_locks(engine: SqliteStore, tmp_path: Path, backend: str) -> None:
    path = tmp_path / "s.db"
    engine.commit([write(A, 0, 1)])

    async def open_and_close_another() -> None:
        async with open_sqlite_read_model(path):
            pass

    anyio.run(open_and_close_another, backend=backend)
    SqliteStore(str(path), synchronous="FULL").close()
    assert visit(path) == 1
    engine.commit([write(A, 1, 2), write(A, 2, 3)])
    assert visit(path) == 3
