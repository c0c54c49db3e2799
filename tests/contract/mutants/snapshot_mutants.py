"""Snapshot stores with one mistake each."""

from anyio.lowlevel import checkpoint

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import Snapshot
from tests.contract.mutants.mutant import breaks
from tests.contract.stores.plain_snapshots import Cells, PlainSnapshots


@breaks("SN-1", "Gives the newest one, whatever version it is asked for.")
class IgnoresTheBound(PlainSnapshots):
    def will_do(self, kept: Snapshot, at_most: int | None) -> bool:
        return True


@breaks("SN-1", "Gives only what is below the version, and not at it.")
class BoundOffByOne(PlainSnapshots):
    def will_do(self, kept: Snapshot, at_most: int | None) -> bool:
        return at_most is None or kept.version < at_most


@breaks("SN-1", "Takes version 0 for no bound.")
class ZeroIsNoBound(PlainSnapshots):
    def will_do(self, kept: Snapshot, at_most: int | None) -> bool:
        return not at_most or kept.version <= at_most


@breaks("SN-1", "Folds the names of streams to lower case.")
class SnapshotsFoldNames(PlainSnapshots):
    def name(self, stream: StreamId, schema_version: int) -> tuple[str, int]:
        return stream.text.lower(), schema_version


@breaks("SN-1", "Keeps the state as text.")
class SnapshotsKeepText(PlainSnapshots):
    def encode(self, snapshot: Snapshot) -> bytes:
        text = snapshot.data.decode(errors="replace").encode()
        return super().encode(
            Snapshot(
                stream=snapshot.stream,
                schema_version=snapshot.schema_version,
                version=snapshot.version,
                event_id=snapshot.event_id,
                data=text,
            )
        )


@breaks("SN-2", "The last one saved stays, whatever its version.")
class LastSaveStays(PlainSnapshots):
    def may_replace(self, kept: Snapshot, new: Snapshot) -> bool:
        return True


@breaks("SN-2", "Compares versions as texts: 9 is newer than 10.")
class ComparesTexts(PlainSnapshots):
    def may_replace(self, kept: Snapshot, new: Snapshot) -> bool:
        return str(new.version) >= str(kept.version)


@breaks("SN-2", "Compares versions, lets others run, and then writes.")
class ComparesThenSaves(PlainSnapshots):
    async def put(self, name: tuple[str, int], cell: bytes) -> None:
        await checkpoint()
        await super().put(name, cell)


@breaks("SN-3", "Knows a stream, and no schema version.")
class KnowsNoSchema(PlainSnapshots):
    def name(self, stream: StreamId, schema_version: int) -> tuple[str, int]:
        return stream.text, 0


@breaks("SN-3", "Gives what is left of a torn state.")
class GivesTornStates(PlainSnapshots):
    def decode(self, stream: StreamId, schema_version: int, cell: bytes) -> Snapshot | None:
        return self.read(stream, schema_version, cell[16:])


@breaks("SN-3", "Fails on a torn state instead of forgetting it.")
class FailsOnTornStates(PlainSnapshots):
    def decode(self, stream: StreamId, schema_version: int, cell: bytes) -> Snapshot | None:
        kept = super().decode(stream, schema_version, cell)
        if kept is None:
            msg = "a torn state"
            raise OSError(msg)
        return kept


@breaks("SN-4", "Writes a state in two halves, and a caller that is cancelled leaves one.")
class WritesHalves(PlainSnapshots):
    async def put(self, name: tuple[str, int], cell: bytes) -> None:
        self.cells[name] = cell[: len(cell) // 2]
        await checkpoint()
        self.cells[name] = cell

    def decode(self, stream: StreamId, schema_version: int, cell: bytes) -> Snapshot | None:
        return self.read(stream, schema_version, cell[16:])


@breaks("SN-4", "Keeps its lock when a caller is cancelled, and refuses every later save.")
class LosesTheLock(PlainSnapshots):
    def __init__(self, cells: Cells) -> None:
        super().__init__(cells)
        self.is_locked = False

    async def put(self, name: tuple[str, int], cell: bytes) -> None:
        if not self.is_locked:
            self.is_locked = True
            await checkpoint()
            self.is_locked = False
            await super().put(name, cell)


@breaks("SN-5", "Discards the first of several streams.")
class DiscardsTheFirst(PlainSnapshots):
    async def discard_snapshots(self, *streams: StreamId) -> None:
        await super().discard_snapshots(*streams[:1])


@breaks("SN-5", "Takes no names for all of them.")
class NoneMeansAll(PlainSnapshots):
    async def discard_snapshots(self, *streams: StreamId) -> None:
        await (super().discard_snapshots(*streams) if streams else self.clear_snapshots())


@breaks("SN-5", "Remembers the versions of what it has cleared.")
class ClearKeepsTheVersions(PlainSnapshots):
    newest: dict[str, int]

    def __init__(self, cells: Cells) -> None:
        super().__init__(cells)
        self.newest = {}

    async def save_snapshot(self, snapshot: Snapshot, /) -> None:
        if snapshot.version >= self.newest.get(snapshot.stream.text, 0):
            self.newest[snapshot.stream.text] = snapshot.version
            await super().save_snapshot(snapshot)


@breaks("SN-5", "Gives a state as that of the version that was asked for.")
class RelabelsVersions(PlainSnapshots):
    async def load_snapshot(self, stream: StreamId, /, *, schema_version: int, at_most: int | None = None) -> Snapshot | None:
        found = await super().load_snapshot(stream, schema_version=schema_version)
        if found is None or at_most is None or at_most >= found.version:
            return found
        return Snapshot(stream=stream, schema_version=schema_version, version=max(at_most, 1), event_id=found.event_id, data=found.data)


@breaks("SN-6", "Works on after it was closed.")
class SnapshotsWorkAfterClose(PlainSnapshots):
    async def begin(self) -> None:
        await checkpoint()


@breaks("SN-6", "Loses its snapshots when it is closed, although it declares that they survive.")
class SnapshotsForgetOnClose(PlainSnapshots):
    async def aclose(self) -> None:
        await super().aclose()
        self.cells.clear()
