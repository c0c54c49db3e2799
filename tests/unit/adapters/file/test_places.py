"""A folder, or a file in it, is moved, removed or replaced while it is open: nothing is written where nobody would find it."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from inventory_es.adapters.file import FileStore, open_file_event_store
from inventory_es.ports.errors import CacheUnavailableError, CorruptStoreError, IncompatibleStoreError, StoreClosedError
from inventory_es.ports.records import AppendResult
from tests.unit.adapters.file.test_cache_folder import HOUR
from tests.unit.adapters.file.test_cache_folder import open_engine as open_cache
from tests.unit.adapters.file.test_file_bus import ALL, T0
from tests.unit.adapters.file.test_file_bus import event as published
from tests.unit.adapters.file.test_file_bus import open_engine as open_bus
from tests.unit.adapters.file.test_file_store import A, B, versions, write

FIRST = "journal/00000000000000000001.jsonl"


def open_store(path: Path, segment_bytes: int = 1 << 20) -> FileStore:
    return FileStore.open(str(path), creation_id="1", segment_bytes=segment_bytes)


@pytest.fixture
def stock(tmp_path: Path) -> Path:
    return tmp_path / "stock"


@pytest.fixture
def engine(stock: Path) -> Iterator[FileStore]:
    with closing(open_store(stock)) as engine:
        engine.commit([write(A, 0, 1)])
        yield engine


def move(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))


def replace_by_copy(path: Path) -> None:
    shutil.copytree(path, path.with_name("copy"))
    move(path)
    path.with_name("copy").rename(path)


def remove_lock(path: Path) -> None:
    (path / ".lock").unlink()


def copy_lock(path: Path) -> None:
    content = (path / ".lock").read_bytes()
    remove_lock(path)
    (path / ".lock").write_bytes(content)


def link_lock(path: Path) -> None:
    (path / ".lock").rename(path / "real")
    (path / ".lock").symlink_to(path / "real")


def put_a_file(path: Path) -> None:
    move(path)
    path.write_text("not a folder")


GONE = [move, shutil.rmtree, replace_by_copy, remove_lock, copy_lock, link_lock, put_a_file]


@pytest.mark.parametrize("take_away", GONE)
def test_a_store_whose_place_was_taken_away_serves_nobody(engine: FileStore, stock: Path, take_away: Callable[[Path], None]) -> None:
    take_away(stock)
    for use in (
        lambda: engine.commit([write(A, 1, 2)]),
        lambda: engine.commit([write(A, 0, 1)]),
        lambda: engine.read_stream(A, limit=9),
        lambda: engine.read_all(after=0, limit=9),
        lambda: engine.streams("", limit=9),
        engine.head,
        engine.turn().__enter__,
    ):
        with pytest.raises(StoreClosedError, match=r"stock/\.lock was moved, removed or replaced while it was open; open it again"):
            use()
    assert engine.glance_version(A) is None


def test_what_was_put_in_the_place_of_a_store_is_not_touched(engine: FileStore, stock: Path) -> None:
    move(stock)
    with closing(open_store(stock)) as other:
        other.commit([write(B, 0, 7)])
    before = {path: path.read_bytes() for path in stock.rglob("*") if path.is_file()}
    with pytest.raises(StoreClosedError):
        engine.commit([write(A, 1, 2)])
    assert engine.tidy()
    engine.close()
    assert {path: path.read_bytes() for path in stock.rglob("*") if path.is_file()} == before


def test_a_store_that_came_back_works_on(engine: FileStore, stock: Path) -> None:
    move(stock)
    with pytest.raises(StoreClosedError):
        engine.commit([write(A, 1, 2)])
    stock.with_name("elsewhere").rename(stock)
    assert engine.commit([write(A, 1, 2)]) == [AppendResult(2, {A: 2})]


def test_nothing_is_written_into_a_folder_without_its_format(engine: FileStore, stock: Path) -> None:
    content = (stock / "format.json").read_bytes()
    (stock / "format.json").unlink()
    for _ in range(2):
        with pytest.raises(StoreClosedError, match=r"format\.json was moved or removed while it was open"):
            engine.commit([write(A, 1, 2)])
    (stock / "format.json").write_bytes(content.replace(b'"1"', b'"2"'))
    for _ in range(2):
        with pytest.raises(StoreClosedError, match=r"format\.json was replaced by that of another store"):
            engine.commit([write(A, 1, 2)])
    (stock / "format.json").write_bytes(b"{}")
    with pytest.raises(IncompatibleStoreError):
        engine.commit([write(A, 1, 2)])
    (stock / "format.json").unlink()
    (stock / "format.json").write_bytes(content)
    assert engine.commit([write(A, 1, 2)]) == [AppendResult(2, {A: 2})]


def test_a_segment_that_is_taken_away_is_noticed(engine: FileStore, stock: Path) -> None:
    move(stock / FIRST)
    for use in (lambda: engine.commit([write(A, 1, 2)]), lambda: engine.read_stream(A, limit=9)):
        with pytest.raises(CorruptStoreError, match="the segment is missing"):
            use()


def test_a_finished_segment_that_is_taken_away_is_noticed_by_who_reads_it(stock: Path) -> None:
    with closing(open_store(stock, segment_bytes=1)) as engine:
        for number in range(1, 4):
            engine.commit([write(A, number - 1, number)])
        assert versions(engine, A) == [1, 2, 3]
        move(stock / FIRST)
        with pytest.raises(CorruptStoreError, match="the segment is missing"):
            engine.read_stream(A, limit=9)


def test_an_equal_copy_of_a_segment_is_as_good(engine: FileStore, stock: Path) -> None:
    content = (stock / FIRST).read_bytes()
    (stock / FIRST).unlink()
    (stock / FIRST).write_bytes(content)
    assert engine.commit([write(A, 1, 2)]) == [AppendResult(2, {A: 2})]
    assert versions(engine, A) == [1, 2]
    with closing(open_store(stock)) as again:
        assert versions(again, A) == [1, 2]


def test_an_older_copy_of_a_segment_is_refused(engine: FileStore, stock: Path) -> None:
    older = (stock / FIRST).read_bytes()
    engine.commit([write(A, 1, 2)])
    (stock / FIRST).unlink()
    (stock / FIRST).write_bytes(older)
    with pytest.raises(CorruptStoreError, match="durable bytes are missing"):
        engine.commit([write(A, 2, 3)])


def test_a_folder_behind_a_link_is_opened_and_a_link_that_moves_is_noticed(tmp_path: Path) -> None:
    link = tmp_path / "current"
    link.symlink_to(tmp_path / "one", target_is_directory=True)
    with closing(open_store(link)) as engine:
        engine.commit([write(A, 0, 1)])
    with closing(open_store(tmp_path / "one")) as direct, closing(open_store(link)) as engine:
        assert versions(direct, A) == versions(engine, A) == [1]
        link.unlink()
        link.symlink_to(tmp_path / "two", target_is_directory=True)
        with pytest.raises(StoreClosedError):
            engine.commit([write(A, 1, 2)])
        direct.commit([write(A, 1, 2)])
        with closing(open_store(link)) as other:
            assert other.head() == 0


def test_an_open_store_is_closed_well_after_its_folder_is_gone(stock: Path, backend: str) -> None:
    async def case() -> None:
        async with open_file_event_store(stock) as store:
            await store.append(write(A, 0, 1))
            shutil.rmtree(stock)
            with pytest.raises(StoreClosedError):
                await store.append(write(A, 1, 2))

    anyio.run(case, backend=backend)
    assert not stock.exists()


@pytest.mark.parametrize("take_away", GONE)
def test_a_bus_whose_place_was_taken_away_serves_nobody(stock: Path, take_away: Callable[[Path], None]) -> None:
    with closing(open_bus(stock)) as bus:
        bus.publish([published("a", 1)])
        group, consumer = bus.join("g", ALL)
        group.take(consumer, T0)
        take_away(stock)
        for use in (
            lambda: bus.publish([published("a", 2)]),
            lambda: group.take(consumer, T0),
            lambda: group.settle(consumer, consumer.ready[0][0]),
            lambda: bus.join("h", ALL),
            lambda: bus.dead_letters("g", limit=1),
        ):
            with pytest.raises(StoreClosedError, match="moved, removed or replaced"):
                use()


@pytest.mark.parametrize("take_away", GONE)
def test_a_cache_whose_place_was_taken_away_is_unavailable(stock: Path, take_away: Callable[[Path], None]) -> None:
    with closing(open_cache(stock)) as cache:
        cache.set("k", b"value", version=1, since=T0, until=T0 + HOUR)
        take_away(stock)
        uses: list[Callable[[], object]] = [
            lambda: cache.set("k", b"newer", version=2, since=T0, until=T0 + HOUR),
            lambda: cache.get("k"),
            lambda: cache.invalidate(["k"]),
            cache.clear,
        ]
        for use in uses:
            with pytest.raises(CacheUnavailableError, match="moved, removed or replaced while it was open: open it again"):
                use()


def test_a_bus_and_a_cache_are_opened_through_a_link(tmp_path: Path) -> None:
    for name in ("bus", "cache"):
        (tmp_path / name).mkdir()
        (tmp_path / f"{name}-link").symlink_to(tmp_path / name, target_is_directory=True)
    with closing(open_bus(tmp_path / "bus-link")) as bus:
        bus.publish([published("a", 1)])
    with closing(open_cache(tmp_path / "cache-link")) as cache:
        cache.set("k", b"value", version=1, since=T0, until=T0 + HOUR)
        assert cache.get("k") is not None
    assert (tmp_path / "bus" / "journal").exists()
