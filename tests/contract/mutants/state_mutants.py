"""Snapshot stores with one mistake that SQL, DynamoDB, Redis and S3 make likely."""

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import attrs
from anyio.lowlevel import checkpoint

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import Snapshot, SnapshotStore
from inventory_es.testing import Site
from tests.contract.mutants.mutant import SnapshotMutants, breaks
from tests.contract.stores.plain_snapshots import Cells, PlainSnapshots


class SnapshotsOfOneSite(SnapshotMutants):
    """The contract of several instances over the same cells."""

    multi_process = True

    @asynccontextmanager
    async def open_snapshots(self, site: Site) -> AsyncIterator[SnapshotStore]:
        yield self.adapter(self.cells.setdefault(site, {}))


@breaks("SN-8", "Gives the snapshot of another schema version where it has none of the one that is asked for.")
class GivesTheNextBest(PlainSnapshots):
    async def load_snapshot(self, stream: StreamId, /, *, schema_version: int, at_most: int | None = None) -> Snapshot | None:
        found = await super().load_snapshot(stream, schema_version=schema_version, at_most=at_most)
        others = [name for name in self.cells if name[0] == stream.text and name[1] > schema_version]
        if found is None and others:
            found = self.decode(stream, schema_version, self.cells[others[0]])
            return found if found is not None and self.will_do(found, at_most) else None
        return found


@breaks("SN-8", "Compares a bound as a text.")
class BoundIsAText(PlainSnapshots):
    def will_do(self, kept: Snapshot, at_most: int | None) -> bool:
        return at_most is None or str(kept.version) <= str(at_most)


@breaks("SN-8", "Discards the newest schema version, and an older one is given again.")
class DiscardsTheNewestSchema(PlainSnapshots):
    async def discard_snapshots(self, *streams: StreamId) -> None:
        await self.begin()
        for stream in streams:
            found = [name for name in self.cells if name[0] == stream.text]
            if found:
                del self.cells[max(found)]


@breaks("SN-9", "Discards the first hundred snapshots that it finds.")
class DiscardsAHundred(PlainSnapshots):
    async def discard_snapshots(self, *streams: StreamId) -> None:
        await self.begin()
        for name in [name for name in self.cells if name[0] in {stream.text for stream in streams}][:100]:
            del self.cells[name]


@breaks("SN-9", "Discards the schema versions below ten, which are all that there will ever be.")
class DiscardsKnownSchemas(PlainSnapshots):
    async def discard_snapshots(self, *streams: StreamId) -> None:
        await self.begin()
        for stream in streams:
            for schema_version in range(1, 100):
                self.cells.pop(self.name(stream, schema_version), None)


@breaks("SN-9", "Discards by prefix.")
class DiscardsPrefixes(PlainSnapshots):
    async def discard_snapshots(self, *streams: StreamId) -> None:
        await self.begin()
        for name in [name for name in self.cells if name[0].startswith(tuple(stream.text for stream in streams) or "?")]:
            del self.cells[name]


@breaks("SN-9", "Fails on a stream that is named twice.")
class DiscardsOnce(PlainSnapshots):
    async def discard_snapshots(self, *streams: StreamId) -> None:
        if len({*streams}) < len(streams):
            msg = "ValidationException: Provided list of item keys contains duplicates"
            raise RuntimeError(msg)
        await super().discard_snapshots(*streams)


@breaks("SN-9", "Has more parameters in one statement than its database takes.")
class TooManyStreams(PlainSnapshots):
    async def discard_snapshots(self, *streams: StreamId) -> None:
        if len(streams) > 999:
            msg = "too many SQL variables"
            raise RuntimeError(msg)
        await super().discard_snapshots(*streams)


@breaks("SN-9", "Clears the first hundred snapshots that it finds.")
class ClearsAHundredStates(PlainSnapshots):
    async def clear_snapshots(self) -> None:
        await self.begin()
        for name in list(self.cells)[:100]:
            del self.cells[name]


@breaks("SN-10", "Keeps versions as fractions.")
class VersionsAreFractions(PlainSnapshots):
    def encode(self, snapshot: Snapshot) -> bytes:
        return super().encode(attrs.evolve(snapshot, version=int(float(snapshot.version))))


@breaks("SN-10", "Keeps versions in 32 bits.")
class SnapshotVersionsIn32Bits(PlainSnapshots):
    def encode(self, snapshot: Snapshot) -> bytes:
        return super().encode(attrs.evolve(snapshot, version=snapshot.version % 2**32))


@breaks("SN-10", "Gives the id of an event as a text.")
class GivesTextIds(PlainSnapshots):
    def read(self, stream: StreamId, schema_version: int, content: bytes) -> Snapshot:
        found = super().read(stream, schema_version, content)
        text: Any = StrId(str(found.event_id))
        return attrs.evolve(found, event_id=text)


class StrId(str):
    """A text that equals the id that it shows."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))


@breaks("SN-10", "Trims the state.")
class TrimsTheState(PlainSnapshots):
    def encode(self, snapshot: Snapshot) -> bytes:
        return super().encode(attrs.evolve(snapshot, data=snapshot.data.strip()))


@breaks("SN-10", "Cuts a state at 8 MiB.")
class CutsLargeStates(PlainSnapshots):
    def encode(self, snapshot: Snapshot) -> bytes:
        return super().encode(attrs.evolve(snapshot, data=snapshot.data[: 8 << 20]))


@breaks("SN-11", "Keeps near what it loaded, although it was discarded or replaced meanwhile.")
class KeepsNear(PlainSnapshots):
    def __init__(self, cells: Cells) -> None:
        super().__init__(cells)
        self.near: dict[tuple[str, int], Snapshot] = {}

    async def load_snapshot(self, stream: StreamId, /, *, schema_version: int, at_most: int | None = None) -> Snapshot | None:
        name = self.name(stream, schema_version)
        near = self.near.get(name)
        if near is not None and not self.closed:
            return near if self.will_do(near, at_most) else None
        found = await super().load_snapshot(stream, schema_version=schema_version, at_most=at_most)
        if found is not None:
            await checkpoint()
            self.near[name] = found
        return found

    async def put(self, name: tuple[str, int], cell: bytes) -> None:
        await super().put(name, cell)
        self.near.pop(name, None)

    async def discard_snapshots(self, *streams: StreamId) -> None:
        await super().discard_snapshots(*streams)
        self.near.clear()

    async def clear_snapshots(self) -> None:
        await super().clear_snapshots()
        self.near.clear()


@breaks("SN-11", "Saves again what it read before a discard.")
class SavesTheOldAgain(PlainSnapshots):
    async def save_snapshot(self, snapshot: Snapshot, /) -> None:
        cell = self.cells.get(self.name(snapshot.stream, snapshot.schema_version))
        await super().save_snapshot(snapshot)
        kept = None if cell is None else self.decode(snapshot.stream, snapshot.schema_version, cell)
        if cell is not None and kept is not None and kept.version < snapshot.version:
            await checkpoint()
            there = self.cells.get(self.name(snapshot.stream, snapshot.schema_version))
            if there is None:
                self.cells[self.name(snapshot.stream, snapshot.schema_version)] = cell


@breaks("SN-11", "Reads all snapshots, lets others run, and writes all of them back.")
class WritesAllStatesBack(PlainSnapshots):
    async def save_snapshot(self, snapshot: Snapshot, /) -> None:
        there = {name: cell for name, cell in self.cells.items() if name[0] != snapshot.stream.text}
        await super().save_snapshot(snapshot)
        self.cells.update(there)


@breaks("SN-12", "A cancelled load keeps its connection.")
class LoadKeepsConnection(PlainSnapshots):
    def __init__(self, cells: Cells) -> None:
        super().__init__(cells)
        self.pool = anyio.Semaphore(32)

    async def load_snapshot(self, stream: StreamId, /, *, schema_version: int, at_most: int | None = None) -> Snapshot | None:
        await self.pool.acquire()
        found = await super().load_snapshot(stream, schema_version=schema_version, at_most=at_most)
        self.pool.release()
        return found


@breaks("SN-12", "The answer to a load that was cancelled is given to the next caller.")
class StateOfAnother(PlainSnapshots):
    def __init__(self, cells: Cells) -> None:
        super().__init__(cells)
        self.answers: deque[Snapshot | None] = deque()

    async def load_snapshot(self, stream: StreamId, /, *, schema_version: int, at_most: int | None = None) -> Snapshot | None:
        self.answers.append(await super().load_snapshot(stream, schema_version=schema_version, at_most=at_most))
        await checkpoint()
        return self.answers.popleft()


@breaks("SN-13", "A save that meets the close fails with what its connection says.")
class SaveLeaksWhenClosed(PlainSnapshots):
    async def put(self, name: tuple[str, int], cell: bytes) -> None:
        if self.closed:
            msg = "the pool is closed"
            raise RuntimeError(msg)
        await super().put(name, cell)


@breaks("SN-13", "Tells a save that meets the close that it is done, and does not keep it.")
class ClosedSaveIsLost(PlainSnapshots):
    async def put(self, name: tuple[str, int], cell: bytes) -> None:
        if not self.closed:
            await super().put(name, cell)


@breaks("SN-13", "A close that is cancelled is taken for done.")
class CancelledCloseOfStates(PlainSnapshots):
    begun = False

    async def aclose(self) -> None:
        if not self.begun:
            self.begun = True
            await checkpoint()
            self.closed = True


@breaks("SN-14", "Believes what it saved itself.", contract=SnapshotsOfOneSite)
class BelievesItself(PlainSnapshots):
    def __init__(self, cells: Cells) -> None:
        super().__init__(cells)
        self.own: Cells = {}

    async def put(self, name: tuple[str, int], cell: bytes) -> None:
        await super().put(name, cell)
        self.own[name] = cell

    async def discard_snapshots(self, *streams: StreamId) -> None:
        await super().discard_snapshots(*streams)
        self.own.clear()

    async def load_snapshot(self, stream: StreamId, /, *, schema_version: int, at_most: int | None = None) -> Snapshot | None:
        found = await super().load_snapshot(stream, schema_version=schema_version, at_most=at_most)
        own = self.own.get(self.name(stream, schema_version))
        return found if own is None else self.decode(stream, schema_version, own)


@breaks("SN-14", "Remembers what is not there.", contract=SnapshotsOfOneSite)
class RemembersMisses(PlainSnapshots):
    def __init__(self, cells: Cells) -> None:
        super().__init__(cells)
        self.missing: set[tuple[str, int]] = set()

    async def put(self, name: tuple[str, int], cell: bytes) -> None:
        await super().put(name, cell)
        self.missing.discard(name)

    async def load_snapshot(self, stream: StreamId, /, *, schema_version: int, at_most: int | None = None) -> Snapshot | None:
        found = await super().load_snapshot(stream, schema_version=schema_version, at_most=at_most)
        name = self.name(stream, schema_version)
        if found is None and at_most is None:
            self.missing.add(name)
        return None if name in self.missing else found


@breaks("SN-14", "Discards in memory, and the disk brings it back.")
class DiscardsInMemory(PlainSnapshots):
    def __init__(self, cells: Cells) -> None:
        super().__init__(cells)
        self.disk, self.cells = cells, dict(cells)

    async def put(self, name: tuple[str, int], cell: bytes) -> None:
        self.cells[name] = self.disk[name] = cell
