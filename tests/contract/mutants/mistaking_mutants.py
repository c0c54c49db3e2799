"""Caches, read models and snapshot stores that confuse a name, a value, misuse, an instance, or an order with another."""

import gzip
from ast import literal_eval
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from hashlib import blake2b
from re import sub
from typing import Any

import anyio
import attrs
from anyio.lowlevel import checkpoint

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import Add, Cache, CacheEntry, Change, Checkpoint, Patch, ProjectionId, Put, Row, Snapshot, Table
from inventory_es.ports.errors import CheckpointConflictError, StoreClosedError
from inventory_es.ports.read_model import Value
from inventory_es.testing import ManualClock, Site
from tests.contract.mutants.mutant import CacheMutants, breaks
from tests.contract.mutants.row_mutants import ReadModelsOfOneSite
from tests.contract.mutants.state_mutants import SnapshotsOfOneSite
from tests.contract.stores.cell_cache import CellCache, Cells
from tests.contract.stores.plain_cache import Kept, PlainCache
from tests.contract.stores.plain_read_model import Disk, Key, PlainReadModel
from tests.contract.stores.plain_snapshots import Cells as SnapshotCells
from tests.contract.stores.plain_snapshots import PlainSnapshots
from tests.contract.test_good_caches import TestCachesOfOneSite as CachesOfOneSite
from tests.contract.test_good_caches import TestCellCache as CellContract


class Roomy(CacheMutants):
    """The contract of a cache that declares no bound."""

    capacity: int | None = None

    @asynccontextmanager
    async def open_cache(self, site: Site, *, clock: ManualClock) -> AsyncIterator[Cache]:
        yield self.adapter(clock, capacity=10_000)


# ── caches ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


@breaks("CA-22", "Takes keys for paths.")
class KeysArePaths(PlainCache):
    def name(self, key: str) -> str:
        return sub("/+", "/", key)


@breaks("CA-31", "Cuts keys at 1,024 bytes.")
class CutsKeysByBytes(PlainCache):
    def name(self, key: str) -> str:
        return key.encode()[:1_024].decode(errors="ignore")


@breaks("CA-31", "Knows a key by its first 64 and its last 128 characters.")
class LeavesOutTheMiddle(PlainCache):
    def name(self, key: str) -> str:
        return key if len(key) < 200 else key[:64] + key[-128:]


@breaks("CA-31", "Knows a key by a digest of 16 bits.", contract=Roomy)
class ShortDigest(PlainCache):
    def name(self, key: str) -> str:
        return blake2b(key.encode(), digest_size=2).hexdigest()


@breaks("CA-07", "Unpacks values that look packed.")
class UnpacksValues(PlainCache):
    def put(self, name: str, kept: Kept) -> None:
        super().put(name, attrs.evolve(kept, value=_unpacked(kept.value)))


@breaks("CA-07", "Keeps a value of digits as a number.")
class DigitsAreNumbers(PlainCache):
    def put(self, name: str, kept: Kept) -> None:
        value = b"%d" % int(kept.value) if kept.value.isdigit() else kept.value
        super().put(name, attrs.evolve(kept, value=value))


@breaks("CA-32", "Takes the entry away before it looks at the value.")
class ForgetsOnMisuse(PlainCache):
    async def set(self, key: str, value: bytes, /, *, version: int, ttl: timedelta) -> None:
        before = self.entries.pop(key, None)
        self.check_value(value, version)
        if before is not None:
            self.entries[key] = before
        await super().set(key, value, version=version, ttl=ttl)


@breaks("CA-32", "Looks whether there is a newer version, and only then at the time to live.")
class RefusesTooLate(PlainCache):
    async def set(self, key: str, value: bytes, /, *, version: int, ttl: timedelta) -> None:
        await self.begin()
        self.check_key(key)
        kept = self.live(key)
        if kept is None or self.may_overwrite(kept, version):
            await super().set(key, value, version=version, ttl=ttl)


@breaks("CA-33", "Locks keys one after the other, in the order in which they are named.")
class LocksInTheOrderGiven(PlainCache):
    def __init__(self, clock: Any, *, capacity: int) -> None:
        super().__init__(clock, capacity=capacity)
        self.locks: dict[str, anyio.Lock] = {}

    async def invalidate(self, *keys: str) -> None:
        await _with_locks(self.locks, keys)
        await super().invalidate(*keys)


@breaks("CA-20", "Counts the entries that it set itself since it was opened.", contract=CellContract)
class CountsItsOwn(CellCache):
    def __init__(self, clock: Any, *, capacity: int, cells: Cells) -> None:
        super().__init__(clock, capacity=capacity, cells=cells)
        self.own: dict[str, None] = {}

    def use(self, name: str, kept: Kept) -> None:
        if name in self.own:
            self.own[name] = self.own.pop(name)

    def put(self, name: str, kept: Kept) -> None:
        self.own.pop(name, None)
        self.own[name] = None
        self.cells.content[name] = self.encode(kept)
        while len(self.own) > self.capacity:
            gone = next(iter(self.own))
            del self.own[gone]
            self.cells.content.pop(gone, None)


@breaks("CA-20", "Invalidates what it set itself since it was opened.", contract=CellContract)
class InvalidatesItsOwn(CellCache):
    def __init__(self, clock: Any, *, capacity: int, cells: Cells) -> None:
        super().__init__(clock, capacity=capacity, cells=cells)
        self.own: set[str] = set()

    def put(self, name: str, kept: Kept) -> None:
        self.own.add(name)
        super().put(name, kept)

    async def invalidate(self, *keys: str) -> None:
        await super().invalidate(*(key for key in keys if key in self.own))


@breaks("CA-34", "Keeps near what it got, and another instance overwrites it.", contract=CachesOfOneSite)
class NearOfOneInstance(CellCache):
    def __init__(self, clock: Any, *, capacity: int, cells: Cells) -> None:
        super().__init__(clock, capacity=capacity, cells=cells)
        self.near: dict[str, Kept] = {}

    async def get(self, key: str, /) -> CacheEntry | None:
        near = self.near.get(key)
        if near is not None and self.clock.now() < near.until:
            await self.begin()
            return CacheEntry(near.value, near.version)
        entry = await super().get(key)
        kept = self.live(key) if entry is not None else None
        if kept is not None:
            self.near[key] = kept
        return entry

    async def set(self, key: str, value: bytes, /, *, version: int, ttl: timedelta) -> None:
        await super().set(key, value, version=version, ttl=ttl)
        self.near.pop(key, None)

    async def invalidate(self, *keys: str) -> None:
        await super().invalidate(*keys)
        for key in keys:
            self.near.pop(key, None)

    async def clear(self) -> None:
        await super().clear()
        self.near.clear()


@breaks("CA-34", "Has one connection for all instances of a place, and the first close ends it.", contract=CachesOfOneSite)
class ClosesForAll(CellCache):
    async def begin(self) -> None:
        await super().begin()
        if "\0closed" in self.cells.content:
            raise StoreClosedError(store="ClosesForAll")

    async def aclose(self) -> None:
        await super().aclose()
        self.cells.content["\0closed"] = b""


class TellsChanges(CellCache):
    """A cache that tells changes, by a counter of its cells."""

    async def set(self, key: str, value: bytes, /, *, version: int, ttl: timedelta) -> None:
        await super().set(key, value, version=version, ttl=ttl)
        self.tell("set", [key])

    async def invalidate(self, *keys: str) -> None:
        await super().invalidate(*keys)
        self.tell("invalidate", keys)

    async def clear(self) -> None:
        await super().clear()
        self.tell("clear", [])

    def tell(self, call: str, keys: Sequence[str]) -> None:
        self.cells.changes += 1

    def change_mark(self, key: str, /) -> int | None:
        return self.cells.changes


class Telling(CachesOfOneSite):
    """The contract of a cache that tells changes at once."""

    adapter: type[CellCache] = TellsChanges
    patience_for_marks = 0.05


@breaks("CA-35", "Tells what is set alone.", contract=Telling)
class TellsSetsAlone(TellsChanges):
    def tell(self, call: str, keys: Sequence[str]) -> None:
        if call == "set":
            super().tell(call, keys)


@breaks("CA-35", "Tells what goes alone.", contract=Telling)
class TellsRemovalsAlone(TellsChanges):
    def tell(self, call: str, keys: Sequence[str]) -> None:
        if call != "set":
            super().tell(call, keys)


@breaks("CA-35", "Tells the first key of an invalidation alone.", contract=Telling)
class TellsTheFirstKey(TellsChanges):
    def tell(self, call: str, keys: Sequence[str]) -> None:
        if call != "invalidate" or keys[0] == "k":
            super().tell(call, keys)


@breaks("CA-35", "Does not tell that everything goes.", contract=Telling)
class TellsNoClear(TellsChanges):
    def tell(self, call: str, keys: Sequence[str]) -> None:
        if keys:
            super().tell(call, keys)


@breaks("CA-35", "Tells the changes of one instance alone.", contract=Telling)
class TellsItsOwn(TellsChanges):
    changes = 0

    def tell(self, call: str, keys: Sequence[str]) -> None:
        self.changes += 1

    def change_mark(self, key: str, /) -> int | None:
        return self.changes


@breaks("CA-35", "Takes the version of an entry for its mark.", contract=Telling)
class MarksAreVersions(TellsChanges):
    def change_mark(self, key: str, /) -> int | None:
        kept = self.live(key)
        return 0 if kept is None else kept.version


@breaks("CA-35", "Never has a mark.", contract=Telling)
class NeverTells(TellsChanges):
    def change_mark(self, key: str, /) -> int | None:
        return None


@breaks("CA-35", "Has marks below zero.", contract=Telling)
class CountsDown(TellsChanges):
    def change_mark(self, key: str, /) -> int | None:
        return -self.cells.changes


# ── snapshot stores ──────────────────────────────────────────────────────────────────────────────────────────────────────


class NamedOtherwise(PlainSnapshots):
    """A snapshot store that discards by the names that it makes."""

    async def discard_snapshots(self, *streams: StreamId) -> None:
        await self.begin()
        gone = {self.name(stream, 1)[0] for stream in streams}
        for name in [name for name in self.cells if name[0] in gone]:
            del self.cells[name]


@breaks("SN-15", "Names a stream without its category.")
class NoCategory(NamedOtherwise):
    def name(self, stream: StreamId, schema_version: int) -> tuple[str, int]:
        return stream.text.partition("-")[2], schema_version


@breaks("SN-15", "Cuts the names of streams at 255 characters.")
class CutsNames(NamedOtherwise):
    def name(self, stream: StreamId, schema_version: int) -> tuple[str, int]:
        return stream.text[:255], schema_version


@breaks("SN-15", "Discards every stream whose name has the same first 255 characters.")
class DiscardsByTheBeginning(PlainSnapshots):
    async def discard_snapshots(self, *streams: StreamId) -> None:
        await self.begin()
        gone = {stream.text[:255] for stream in streams}
        for name in [name for name in self.cells if name[0][:255] in gone]:
            del self.cells[name]


@breaks("SN-1", "Unpacks states that look packed.")
class UnpacksStates(PlainSnapshots):
    def encode(self, snapshot: Snapshot) -> bytes:
        return super().encode(attrs.evolve(snapshot, data=_unpacked(snapshot.data)))


@breaks("SN-16", "Keeps schema versions in one byte.")
class SchemaOfOneByte(PlainSnapshots):
    def name(self, stream: StreamId, schema_version: int) -> tuple[str, int]:
        return stream.text, schema_version & 0xFF


@breaks("SN-16", "Discards the schema versions that it has seen since it was opened.")
class DiscardsSeenSchemas(PlainSnapshots):
    def __init__(self, cells: SnapshotCells) -> None:
        super().__init__(cells)
        self.seen: set[int] = set()

    def name(self, stream: StreamId, schema_version: int) -> tuple[str, int]:
        self.seen.add(schema_version)
        return super().name(stream, schema_version)

    async def discard_snapshots(self, *streams: StreamId) -> None:
        await self.begin()
        for stream in streams:
            for schema_version in self.seen:
                self.cells.pop((stream.text, schema_version), None)


@breaks("SN-17", "Locks streams one after the other, in the order in which they are named.")
class LocksStreamsInTheOrderGiven(PlainSnapshots):
    def __init__(self, cells: SnapshotCells) -> None:
        super().__init__(cells)
        self.locks: dict[str, anyio.Lock] = {}

    async def discard_snapshots(self, *streams: StreamId) -> None:
        await _with_locks(self.locks, tuple(stream.text for stream in streams))
        await super().discard_snapshots(*streams)


@breaks("SN-14", "Has one connection for all instances of a place, and the first close ends it.", contract=SnapshotsOfOneSite)
class ClosesSnapshotsForAll(PlainSnapshots):
    async def begin(self) -> None:
        await super().begin()
        if ("\0closed", 0) in self.cells:
            raise StoreClosedError(store="ClosesSnapshotsForAll")

    async def aclose(self) -> None:
        await super().aclose()
        self.cells["\0closed", 0] = b""


@breaks("SN-1", "Keeps nothing.")
class KeepsNothing(PlainSnapshots):
    async def put(self, name: tuple[str, int], cell: bytes) -> None:
        self.cells.pop(name, None)


# ── read models ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class ChangesTexts(PlainReadModel):
    """A read model that keeps changed texts."""

    def text(self, value: str) -> str:
        return value

    def change(self, table: Table, rows: dict[Key, dict[str, Value]], change: Change) -> None:
        if isinstance(change, Put):
            change = Put(change.table, {name: self._kept(name, value, table) for name, value in change.row.items()})
        super().change(table, rows, change)

    def _kept(self, name: str, value: Value, table: Table) -> Value:
        return self.text(value) if isinstance(value, str) and name not in table.key else value


@breaks("RM-6", "Ends lines in one way.")
class EndsLinesInOneWay(ChangesTexts):
    def text(self, value: str) -> str:
        return value.replace("\r\n", "\n")


@breaks("RM-6", "Keeps texts of digits as numbers.")
class TextsOfDigits(ChangesTexts):
    def text(self, value: str) -> str:
        return str(int(value)) if value.isascii() and value.isdigit() else value


@breaks("RM-6", "Keeps texts that look like instants to the millisecond.")
class InstantsInMilliseconds(ChangesTexts):
    def text(self, value: str) -> str:
        return f"{value[:23]}000Z" if len(value) == 27 and value.endswith("Z") else value


@breaks("RM-4", "Filters by the first two columns of a question.")
class FiltersByTwo(PlainReadModel):
    def fits(self, row: Row, where: Row) -> bool:
        return super().fits(row, dict(list(where.items())[:2]))


@breaks("RM-4", "Compares what a question asks for as texts: None is 'None'.")
class ComparesTexts(PlainReadModel):
    def fits(self, row: Row, where: Row) -> bool:
        return all(str(row[name]) == str(value) for name, value in where.items())


@breaks("RM-4", "Finds a row by its key, whatever else the question asks for.")
class FindsByTheKeyAlone(PlainReadModel):
    def fits(self, row: Row, where: Row) -> bool:
        key = {"product", "store"}
        return super().fits(row, {name: where[name] for name in key} if key < set(where) else where)


@breaks("RM-6", "Takes keys that are equal as numbers for one.")
class KeysOfDigits(PlainReadModel):
    def key_of(self, table: Table, row: Row) -> Key:
        return tuple(map(self._number, super().key_of(table, row)))

    def change(self, table: Table, rows: dict[Key, dict[str, Value]], change: Change) -> None:
        if not isinstance(change, Put):
            change = attrs.evolve(change, key=tuple(map(self._number, change.key)))
        super().change(table, rows, change)

    def _number(self, value: Value) -> Value:
        return str(int(value)) if isinstance(value, str) and value.isascii() and value.isdigit() else value


class Indexed(PlainReadModel):
    """A read model that looks rows up by their values in an index."""

    not_indexed: type[Any]

    def __init__(self, disk: Disk) -> None:
        super().__init__(disk)
        self.index: dict[tuple[str, Key], dict[str, Value]] = {}

    def change(self, table: Table, rows: dict[Key, dict[str, Value]], change: Change) -> None:
        key = self.key_of(table, change.row) if isinstance(change, Put) else change.key
        is_left_out = isinstance(change, self.not_indexed) and key in rows
        before = dict(rows.get(key, {}))
        super().change(table, rows, change)
        if key in rows:
            rows[key]["\0"] = before.get("\0") if is_left_out else repr({name: value for name, value in rows[key].items() if name != "\0"})

    def fits(self, row: Row, where: Row) -> bool:
        indexed: dict[str, Value] = literal_eval(str(row["\0"])) if row.get("\0") else dict(row)
        return super().fits(indexed, where)

    async def select(self, projection: ProjectionId, table: str, /, **how: Any) -> Any:
        page = await super().select(projection, table, **how)
        return attrs.evolve(page, rows=[{name: value for name, value in row.items() if name != "\0"} for row in page.rows])


@breaks("RM-20", "A patch does not reach the index: rows are found by what they held before.")
class PatchMissesTheIndex(Indexed):
    not_indexed: type[Any] = Patch


@breaks("RM-20", "An addition does not reach the index: rows are found by what they held before.")
class AddMissesTheIndex(Indexed):
    not_indexed: type[Any] = Add


@breaks("CK-6", "Keeps no NUL in a text of the checkpoint.")
class NoNulInCheckpoints(PlainReadModel):
    async def write(self, known: Any, changes: Any, after: Checkpoint) -> None:
        error = None if after.error is None else after.error.replace("\0", "")
        await super().write(known, changes, attrs.evolve(after, error=error))


@breaks("CK-7", "A refused activation tells the two checkpoints the wrong way round.")
class TellsCheckpointsTheWrongWayRound(PlainReadModel):
    async def activate(self, projection: ProjectionId, /, *, before: Checkpoint) -> bool:
        try:
            return await super().activate(projection, before=before)
        except CheckpointConflictError:
            there = self.known(projection).checkpoint
            raise CheckpointConflictError(
                projection=str(projection),
                position=there.position,
                epoch=there.epoch,
                actual_position=before.position,
                actual_epoch=before.epoch,
            ) from None


@breaks("RM-16", "Has one connection for all instances of a place, and the first close ends it.", contract=ReadModelsOfOneSite)
class ClosesReadModelsForAll(PlainReadModel):
    async def begin(self) -> None:
        await super().begin()
        if "\0closed" in self.disk.active:
            raise StoreClosedError(store="ClosesReadModelsForAll")

    async def aclose(self) -> None:
        await super().aclose()
        self.disk.active["\0closed"] = ProjectionId("closed", 1)


def _unpacked(value: bytes) -> bytes:
    if value[:2] != b"\x1f\x8b":
        return value
    try:
        return gzip.decompress(value)
    except (OSError, EOFError):
        return value


async def _with_locks(locks: dict[str, anyio.Lock], names: tuple[str, ...]) -> None:
    """Take all locks, and release them."""
    taken: list[anyio.Lock] = []
    try:
        for name in dict.fromkeys(names):
            await checkpoint()
            lock = locks.setdefault(name, anyio.Lock())
            await lock.acquire()
            taken.append(lock)
    finally:
        for lock in taken:
            lock.release()
