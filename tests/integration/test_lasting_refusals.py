"""A full disk, a missing folder, a read-only file: what does not pass by itself is not tried again, and says what mends it."""

import errno
import os
import pickle
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import anyio
import pytest

from inventory_es import open_inventory
from inventory_es.adapters.file import open_file_cache, open_file_event_bus, open_file_event_store
from inventory_es.adapters.file.operating_system import OperatingSystem, OperatingSystemFile
from inventory_es.adapters.memory import MemoryEventStore
from inventory_es.adapters.sqlite import open_sqlite_event_store, open_sqlite_read_model
from inventory_es.adapters.sqlite.connections import Connections
from inventory_es.adapters.system import SystemClock
from inventory_es.application.guards import Retry, guarded
from inventory_es.application.observers import AppendFinished, CallRetried
from inventory_es.domain.commands import AddStock
from inventory_es.domain.identifiers import InventoryId
from inventory_es.domain.reasons import AddReason
from inventory_es.errors import (
    AppendOutcomeUnknownError,
    CacheUnavailableError,
    EventBusUnavailableError,
    ReadModelUnavailableError,
    StoreUnavailableError,
    UnavailableError,
)
from inventory_es.ports import AppendResult, Put, StreamWrite, Table
from inventory_es.ports.file_system import File, OpenMode
from inventory_es.ports.read_model import Checkpoint, ProjectionId


class FullDisk(OperatingSystem):
    """Refuses to write, or to sync, while it is full."""

    def __init__(self, refuses: str, number: int) -> None:
        self.refuses = refuses
        self.number = number
        self.is_full = False

    def open(self, path: str, mode: OpenMode) -> File:
        return FullFile(self, path, mode)


class FullFile(OperatingSystemFile):
    def __init__(self, disk: FullDisk, path: str, mode: OpenMode) -> None:
        super().__init__(path, {"read": os.O_RDONLY, "write": os.O_RDWR, "create": os.O_RDWR | os.O_CREAT | os.O_EXCL}[mode])
        self.disk = disk

    def write(self, data: bytes, offset: int) -> None:
        if self.disk.is_full and self.disk.refuses == "write":
            super().write(data[: len(data) // 2], offset)
            raise OSError(self.disk.number, os.strerror(self.disk.number))
        super().write(data, offset)

    def sync(self) -> None:
        if self.disk.is_full and self.disk.refuses == "sync":
            raise OSError(self.disk.number, os.strerror(self.disk.number))
        super().sync()


class Appends:
    """Counts the calls of the store."""

    def __init__(self) -> None:
        self.errors: list[str | None] = []

    def append_finished(self, record: AppendFinished) -> None:
        self.errors.append(record.error)

    def call_retried(self, record: CallRetried) -> None:
        self.errors.append(f"{record.operation} again")


def writer_of(connections: Connections) -> sqlite3.Connection:
    return connections._writers[0]


def add(product: str, command_id: str) -> AddStock:
    return AddStock(inventory_id=InventoryId(product, "berlin"), command_id=command_id, quantity=1, reason=AddReason.RECEIVED)


@pytest.mark.parametrize("basket", [False, True], ids=["command", "basket"])
@pytest.mark.parametrize(
    "number, says",
    [
        (errno.ENOSPC, "No space left on device; free space on its disk"),
        (errno.EDQUOT, "Disk quota exceeded; free space, or have the quota raised"),
        (errno.EFBIG, "File too large; have the limit on the size of files raised"),
    ],
)
def test_a_full_disk_is_told_at_once_and_survived_without_a_restart(
    tmp_path: Path, backend: str, number: int, says: str, basket: bool
) -> None:
    async def body() -> None:
        disk, appends = FullDisk("write", number), Appends()
        async with (
            open_file_event_store(tmp_path / "s", file_system=disk) as store,
            open_inventory(store, observers=[appends]) as inventory,
        ):
            await inventory.add_stock("tea", "berlin", 5)
            disk.is_full = True
            with pytest.raises(StoreUnavailableError) as told:
                await (inventory.execute_all([add("tea", "a"), add("mug", "b")]) if basket else inventory.execute(add("tea", "a")))
            assert str(told.value).endswith(f"nothing was written: {says}")
            assert not told.value.retryable
            assert appends.errors == [None, "store_unavailable"]
            with pytest.raises(StoreUnavailableError):
                await inventory.execute(add("tea", "a"))
            assert (await inventory.stock("tea", "berlin")).on_hand == 5
            disk.is_full = False
            assert (await inventory.execute(add("tea", "a"))).version == 2
        async with open_inventory(tmp_path / "s") as inventory:
            assert (await inventory.stock("tea", "berlin")).on_hand == 6

    anyio.run(body, backend=backend)


@pytest.mark.parametrize("basket", [False, True], ids=["command", "basket"])
def test_a_disk_that_is_full_when_it_is_synced_leaves_an_unknown_outcome_at_once(tmp_path: Path, backend: str, basket: bool) -> None:
    async def body() -> None:
        disk, appends = FullDisk("sync", errno.ENOSPC), Appends()
        commands = [add("tea", "a"), add("mug", "b")]
        async with (
            open_file_event_store(tmp_path / "s", file_system=disk) as store,
            open_inventory(store, observers=[appends]) as inventory,
        ):
            await inventory.add_stock("tea", "berlin", 5)
            disk.is_full = True
            with pytest.raises(AppendOutcomeUnknownError, match="free space on its disk, then send the same again") as told:
                await (inventory.execute_all(commands) if basket else inventory.execute(commands[0]))
            assert not told.value.retryable
            assert appends.errors == [None, "append_outcome_unknown"]
            disk.is_full = False
            await (inventory.execute_all(commands) if basket else inventory.execute(commands[0]))
            assert (await inventory.stock("tea", "berlin")).on_hand == 6

    anyio.run(body, backend=backend)


def test_a_full_database_is_told_at_once_and_survived_without_a_restart(tmp_path: Path, backend: str) -> None:
    async def body() -> None:
        appends = Appends()
        async with open_sqlite_event_store(tmp_path / "s.db") as store, open_inventory(store, observers=[appends]) as inventory:
            await inventory.add_stock("tea", "berlin", 5)
            writer = writer_of(store._store._connections)
            (pages,) = writer.execute("PRAGMA page_count").fetchone()
            writer.execute(f"PRAGMA max_page_count = {pages}")
            many = [add(f"product-{number}", "a" * 60) for number in range(100)]
            with pytest.raises(StoreUnavailableError, match=r"nothing was written: SQLITE_FULL; free space on its disk$") as told:
                await inventory.execute_all(many)
            assert not told.value.retryable
            assert appends.errors == [None, "store_unavailable"]
            writer.execute("PRAGMA max_page_count = 100000")
            assert len(await inventory.execute_all(many)) == 100

    anyio.run(body, backend=backend)


def test_a_full_read_model_says_what_mends_it(tmp_path: Path, backend: str) -> None:
    async def body() -> None:
        async with open_sqlite_read_model(tmp_path / "r.db") as model:
            name = ProjectionId("p", 1)
            await model.prepare(name, [Table("t", {"k": str}, ("k",))])
            writer = writer_of(model._connections)
            (pages,) = writer.execute("PRAGMA page_count").fetchone()
            writer.execute(f"PRAGMA max_page_count = {pages}")
            changes = [Put("t", {"k": f"{number:0500}"}) for number in range(100)]
            before = await model.checkpoint(name)
            after = Checkpoint(position=1, epoch=before.epoch)
            with pytest.raises(ReadModelUnavailableError, match="SQLITE_FULL; free space on its disk, then read the checkpoint") as told:
                await model.commit(name, changes, before=before, after=after)
            assert not told.value.retryable
            writer.execute("PRAGMA max_page_count = 100000")
            await model.commit(name, changes, before=before, after=after)

    anyio.run(body, backend=backend)


Opening = Callable[[Path], AbstractAsyncContextManager[object]]
OPENINGS: dict[str, tuple[Opening, type[UnavailableError]]] = {
    "file store": (open_file_event_store, StoreUnavailableError),
    "file store by URL": (lambda path: open_inventory(f"file:{path}"), StoreUnavailableError),
    "sqlite store": (open_sqlite_event_store, StoreUnavailableError),
    "sqlite store by URL": (lambda path: open_inventory(f"sqlite:{path}"), StoreUnavailableError),
    "read models": (lambda path: open_inventory("memory:", read_models=f"sqlite:{path}"), ReadModelUnavailableError),
    "bus": (lambda path: open_file_event_bus(path, clock=SystemClock()), EventBusUnavailableError),
    "cache": (lambda path: open_file_cache(path, clock=SystemClock()), CacheUnavailableError),
}


@pytest.mark.parametrize("what", OPENINGS)
def test_a_missing_folder_is_named_and_not_made(tmp_path: Path, backend: str, what: str) -> None:
    opening, kind = OPENINGS[what]

    async def body() -> None:
        with pytest.raises(kind) as told:
            async with opening(tmp_path / "a" / "b" / "c"):
                pytest.fail("it was opened")
        assert f"there is no folder {tmp_path}/a; " in str(told.value)
        assert "make it, or name another path" in str(told.value)
        assert "try again" not in str(told.value)
        assert not told.value.retryable
        assert not (tmp_path / "a").exists()

    anyio.run(body, backend=backend)


@pytest.mark.parametrize("what", OPENINGS)
def test_a_file_in_the_place_of_the_folder_is_no_reason_to_try_again(tmp_path: Path, backend: str, what: str) -> None:
    opening, kind = OPENINGS[what]
    (tmp_path / "a").touch()

    async def body() -> None:
        with pytest.raises(kind) as told:
            async with opening(tmp_path / "a" / "b"):
                pytest.fail("it was opened")
        assert "try again" not in str(told.value)
        assert not told.value.retryable

    anyio.run(body, backend=backend)


class Refusing(MemoryEventStore):
    """Refuses every append, for a reason that a person must mend."""

    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        raise StoreUnavailableError(store="S", reason="full", remedy="free space")


def test_a_guard_does_not_repeat_what_repeating_can_not_mend(backend: str) -> None:
    async def body() -> None:
        appends = Appends()
        store = guarded(Refusing(), Retry(waits=(0, 600, 600), observers=[appends]))
        async with open_inventory(store) as inventory:
            with pytest.raises(StoreUnavailableError, match=r"nothing was written: full; free space$"):
                await inventory.add_stock("tea", "berlin", 1)
        assert appends.errors == []

    anyio.run(body, backend=backend)


@pytest.mark.parametrize(
    "error, message",
    [
        (UnavailableError(remedy="mend it"), "a backend is away for now: mend it"),
        (StoreUnavailableError(store="S", reason="r", remedy="mend it"), "S is unavailable, nothing was written: r; mend it"),
        (CacheUnavailableError(cache="C", reason="r", remedy="mend it"), "C is unavailable: r; go on without it or mend it"),
        (EventBusUnavailableError(bus="B", reason="r", remedy="mend it"), "B is unavailable: r; mend it, then publish again"),
        (
            ReadModelUnavailableError(read_model="R", reason="r", remedy="mend it"),
            "R is unavailable: r; mend it, then read the checkpoint, and go on from there",
        ),
        (
            AppendOutcomeUnknownError(store="S", reason="r", remedy="mend it"),
            "S does not know whether the append was written: r; mend it, then send the same again, with the same ids",
        ),
    ],
)
def test_an_error_with_a_remedy_says_it_and_is_not_retryable(error: UnavailableError | AppendOutcomeUnknownError, message: str) -> None:
    again = pickle.loads(pickle.dumps(error))
    for one in (error, again):
        assert (str(one), one.retryable) == (message, False)
        assert (one.to_dict()["retryable"], one.to_dict()["remedy"]) == (False, "mend it")
    assert again == error
    assert type(error).retryable, "without a remedy it may pass"
