"""What the SQLite store says to a file that is not as it should be, and to a disk that is full or held by somebody else."""

import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import anyio
import pytest

from inventory_es import StreamId, StreamWrite
from inventory_es.adapters.sqlite import database, open_sqlite_read_model, read_model
from inventory_es.adapters.sqlite.event_store import SqliteStore
from inventory_es.errors import (
    AppendOutcomeUnknownError,
    ConcurrencyError,
    CorruptStoreError,
    IncompatibleStoreError,
    StoreClosedError,
    StoreUnavailableError,
)
from inventory_es.ports import AppendResult, NewEvent
from inventory_es.testing.contracts.core.event_labels import EventLabels

STREAM = StreamId("inventory", "tea", "berlin")
HUGE = 1 << 70


_engines: list[SqliteStore] = []


@pytest.fixture(autouse=True)
def close_every_engine() -> Iterator[None]:
    yield
    while _engines:
        _engines.pop().close()


def opened(path: Path) -> SqliteStore:
    _engines.append(SqliteStore(str(path), synchronous="FULL"))
    return _engines[-1]


def append(engine: SqliteStore, version: int, events: list[NewEvent]) -> AppendResult | Exception:
    (outcome,) = engine.commit([[StreamWrite(STREAM, version, events)]])
    return outcome


def filled(path: Path, count: int = 2_000) -> Path:
    """A store of some hundred pages, closed in order."""
    engine = opened(path)
    assert isinstance(append(engine, 0, EventLabels().events(" ".join(f"e{number}" for number in range(count)))), AppendResult)
    engine.close()
    return path


def damage(path: Path) -> None:
    """Overwrite pages in the middle."""
    content = bytearray(path.read_bytes())
    middle = len(content) // 2 // 4096 * 4096
    content[middle : middle + 8 * 4096] = b"\xa5" * (8 * 4096)
    path.write_bytes(content)


def text_file(path: Path) -> None:
    path.write_text("no database " * 1_000)


def other_application(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (a)")
        connection.execute("PRAGMA user_version = 1")
    connection.close()


def marked_by_another(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA application_id = 7")
    connection.close()


@pytest.mark.parametrize(
    "make, problem",
    [
        (text_file, "it is no SQLite database"),
        (other_application, "belongs to another application"),
        (marked_by_another, "belongs to another application"),
        (Path.mkdir, "it is a folder: name a file in it"),
    ],
)
def test_what_is_not_its_own_is_refused_and_left_alone(make: Callable[[Path], None], problem: str, tmp_path: Path) -> None:
    path = tmp_path / "stock.db"
    make(path)
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(IncompatibleStoreError, match=problem):
        opened(path)
    assert path.is_dir() or path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["stock.db"]


def test_an_empty_database_becomes_a_store(tmp_path: Path) -> None:
    path = tmp_path / "stock.db"
    path.touch()
    assert isinstance(append(opened(path), 0, EventLabels().events("a")), AppendResult)
    assert path.stat().st_mode & 0o777 == 0o644, "whoever made the file decides who reads it"


def test_a_new_file_is_its_owners_alone(tmp_path: Path) -> None:
    engine = opened(tmp_path / "stock.db")
    append(engine, 0, EventLabels().events("a"))
    assert {each.stat().st_mode & 0o777 for each in tmp_path.iterdir()} == {0o600}
    engine.close()


@pytest.mark.parametrize("place", ["no/such/folder/stock.db", "loop.db"])
def test_a_place_that_can_not_be_opened_is_told(place: str, tmp_path: Path) -> None:
    (tmp_path / "loop.db").symlink_to(tmp_path / "loop.db")
    with pytest.raises(StoreUnavailableError, match=place):
        opened(tmp_path / place)


def test_a_link_is_followed_once(tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to(tmp_path / "stock.db")
    engine = opened(tmp_path / "link.db")
    append(engine, 0, EventLabels().events("a"))
    (tmp_path / "link.db").unlink()
    (tmp_path / "link.db").symlink_to(filled(tmp_path / "another.db"))
    with pytest.raises(StoreClosedError, match=r"link\.db was moved, removed or replaced"):
        append(engine, 1, EventLabels().events("b"))
    engine.close()
    with closing(opened(tmp_path / "stock.db")) as there:
        assert there.read_stream(STREAM, after=0, limit=10).version == 1


def test_after_an_unclean_stop_damage_is_found_on_opening(tmp_path: Path) -> None:
    path = filled(tmp_path / "stock.db")
    (tmp_path / "stock.db-wal").touch()
    opened(path).close()
    damage(path)
    (tmp_path / "stock.db-wal").touch()
    with pytest.raises(CorruptStoreError, match=r"stock\.db"):
        opened(path)


def test_damage_is_found_by_who_reads_it(tmp_path: Path) -> None:
    path = filled(tmp_path / "stock.db")
    damage(path)
    engine = opened(path)
    with pytest.raises(CorruptStoreError):
        engine.read_all(after=0, limit=10_000)
    engine.close()


def test_a_killed_writer_leaves_what_it_acknowledged(tmp_path: Path) -> None:
    path = filled(tmp_path / "stock.db", 3)
    engine = opened(path)
    append(engine, 3, EventLabels().events("acknowledged"))
    for each in tmp_path.glob("stock.db*"):  # the files as a kill leaves them, with the log not yet in the database
        shutil.copy(each, tmp_path / f"copy{each.name.removeprefix('stock.db')}")
    engine.close()
    copy = opened(tmp_path / "copy")
    assert copy.read_stream(STREAM, after=0, limit=9).version == 4
    copy.close()


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """Threads that are switched as often as the interpreter can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("hasty_threads")
def test_many_may_open_a_new_file_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        for attempt in range(30):
            engines = list(threads.map(opened, [tmp_path / f"{attempt}.db"] * 8))
            outcomes = list(threads.map(lambda engine: append(engine, 0, EventLabels().events(f"e{id(engine)}")), engines))
            assert sum(isinstance(outcome, AppendResult) for outcome in outcomes) == 1
            assert sum(isinstance(outcome, ConcurrencyError) for outcome in outcomes) == 7
            for engine in engines:
                engine.close()


@pytest.mark.usefixtures("hasty_threads")
def test_many_may_open_new_read_models_at_once(tmp_path: Path) -> None:
    async def open_and_close(path: Path) -> None:
        async with open_sqlite_read_model(path) as model:
            assert not await model.versions("stock")

    with ThreadPoolExecutor(8) as threads:
        for attempt in range(20):
            opening = [threads.submit(anyio.run, open_and_close, tmp_path / f"{attempt}.db") for _ in range(8)]
            assert [each.exception() for each in opening] == [None] * 8


def test_a_store_made_meanwhile_stays_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "stock.db"

    def make_a_store(connection: sqlite3.Connection) -> None:
        assert isinstance(append(opened(path), 0, EventLabels().events("a")), AppendResult)
        database.use_write_ahead_log(connection)

    async def open_and_close() -> None:
        async with open_sqlite_read_model(path) as model:
            assert not await model.versions("stock")

    monkeypatch.setattr(read_model, "use_write_ahead_log", make_a_store)
    anyio.run(open_and_close)
    assert opened(path).read_stream(STREAM, after=0, limit=9).version == 1


def test_who_holds_a_new_file_for_long_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.0)
    with closing(sqlite3.connect(tmp_path / "stock.db", isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailableError, match="SQLITE_BUSY"):
            opened(tmp_path / "stock.db")
        holder.execute("ROLLBACK")
    opened(tmp_path / "stock.db").close()


def test_an_old_sqlite_is_told_by_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    with pytest.raises(IncompatibleStoreError, match=r"needs SQLite 3\.37\.0 or newer"):
        opened(tmp_path / "stock.db")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_writes_nothing_and_is_survived(tmp_path: Path) -> None:
    engine = opened(tmp_path / "stock.db")
    labels = EventLabels()
    append(engine, 0, labels.events("a"))
    (writer,) = engine._connections._writers
    (pages,) = writer.execute("PRAGMA page_count").fetchone()
    writer.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreUnavailableError, match="SQLITE_FULL"):
        append(engine, 1, [labels.sized(f"e{number}", 100_000) for number in range(9)])
    assert engine.read_stream(STREAM, after=0, limit=9).version == 1
    writer.execute("PRAGMA max_page_count = 1000000")
    assert isinstance(append(engine, 1, labels.events("b")), AppendResult)
    engine.close()


def test_a_writer_that_holds_the_file_too_long_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.01)
    engine = opened(tmp_path / "stock.db")
    with sqlite3.connect(tmp_path / "stock.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailableError, match="SQLITE_BUSY"):
            append(engine, 0, EventLabels().events("a"))
        assert engine.read_stream(STREAM, after=0, limit=9).version == 0, "readers do not wait for a writer"
        other.execute("ROLLBACK")
    other.close()
    assert isinstance(append(engine, 0, EventLabels().events("a")), AppendResult)
    engine.close()


def test_who_waits_for_long_looks_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = opened(tmp_path / "stock.db")
    (writer,) = engine._connections._writers
    waits: list[int] = []
    rests: list[float] = []
    monkeypatch.setattr(database, "sleep", rests.append)
    with closing(sqlite3.connect(tmp_path / "stock.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")

        def look() -> None:
            waits.append(writer.execute("PRAGMA busy_timeout").fetchone()[0])
            if len(waits) == 4:
                other.execute("ROLLBACK")

        monkeypatch.setattr(database, "check_wanted", look)
        assert isinstance(append(engine, 0, EventLabels().events("a")), AppendResult)
    assert (waits, rests) == ([100, 0, 0, 0], [database._REST] * 4), "longer rests lose each race with a writer that begins again at once"
    engine.close()


@pytest.mark.parametrize("read_only", [False, True])
def test_who_looks_into_a_file_waits_while_another_process_takes_it_over(read_only: bool, tmp_path: Path) -> None:
    opened(tmp_path / "stock.db").close()
    connection = database.connect(str(tmp_path / "stock.db"), synchronous="FULL", read_only=read_only)
    assert connection.execute("PRAGMA busy_timeout").fetchone() == (database.BUSY_SECONDS * 1_000,)
    connection.close()


def test_numbers_that_no_column_holds_are_bounds_like_others(tmp_path: Path) -> None:
    engine = opened(filled(tmp_path / "stock.db", 3))
    assert engine.read_stream(STREAM, after=HUGE, limit=HUGE).events == []
    assert len(engine.read_stream(STREAM, after=0, limit=HUGE).events) == 3
    assert len(engine.read_stream_backwards(STREAM, before=HUGE, limit=HUGE).events) == 3
    assert engine.read_all(after=HUGE, limit=HUGE).is_end
    assert len(engine.read_all(after=0, limit=HUGE).events) == 3
    assert len(engine.streams("", after=None, limit=HUGE).heads) == 1
    assert engine.load_snapshot(STREAM, schema_version=1, at_most=HUGE) is None
    assert isinstance(append(engine, HUGE, EventLabels().events("late")), ConcurrencyError)
    engine.close()


class FailingCommit:
    """A connection whose commit fails, before or after the real one."""

    def __init__(self, real: sqlite3.Connection, code: int, *, is_done: bool) -> None:
        self._real = real
        self._code = code
        self._is_done = is_done

    def __getattr__(self, name: str) -> object:
        return getattr(self._real, name)

    def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
        if statement != "COMMIT":
            return self._real.execute(statement, *values)
        if self._is_done:
            self._real.execute("COMMIT")
        problem = sqlite3.OperationalError("disk I/O error")
        problem.sqlite_errorcode = self._code
        raise problem


@pytest.mark.parametrize(
    "code, is_done, error, version",
    [
        (sqlite3.SQLITE_IOERR, False, AppendOutcomeUnknownError, 0),
        (sqlite3.SQLITE_IOERR, True, AppendOutcomeUnknownError, 1),
        (sqlite3.SQLITE_BUSY, False, StoreUnavailableError, 0),
    ],
)
def test_a_commit_that_fails_says_what_is_known(code: int, is_done: bool, error: type[Exception], version: int, tmp_path: Path) -> None:
    engine = opened(tmp_path / "stock.db")
    (real,), events = engine._connections._writers, EventLabels().events("a")
    engine._connections._writers[0] = cast(sqlite3.Connection, FailingCommit(real, code, is_done=is_done))
    with pytest.raises(error):
        append(engine, 0, events)
    engine._connections._writers[0] = real
    assert engine.read_stream(STREAM, after=0, limit=9).version == version
    again = append(engine, 0, events)
    assert isinstance(again, AppendResult)
    assert again.replayed is bool(version)
    engine.close()
