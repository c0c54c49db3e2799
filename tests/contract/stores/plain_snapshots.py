"""A correct snapshot store of the tests' own, built in steps that can be broken one at a time. Snapshots are bytes in cells."""

from hashlib import blake2b
from uuid import UUID

from anyio.lowlevel import checkpoint

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import Snapshot
from inventory_es.ports.errors import StoreClosedError

Cells = dict[tuple[str, int], bytes]
_DIGEST = 16


class PlainSnapshots:
    """The snapshot store itself."""

    def __init__(self, cells: Cells) -> None:
        self.cells = cells
        self.closed = False

    async def load_snapshot(self, stream: StreamId, /, *, schema_version: int, at_most: int | None = None) -> Snapshot | None:
        await self.begin()
        cell = self.cells.get(self.name(stream, schema_version))
        kept = None if cell is None else self.decode(stream, schema_version, cell)
        return kept if kept is not None and self.will_do(kept, at_most) else None

    async def save_snapshot(self, snapshot: Snapshot, /) -> None:
        await self.begin()
        name = self.name(snapshot.stream, snapshot.schema_version)
        cell = self.cells.get(name)
        kept = None if cell is None else self.decode(snapshot.stream, snapshot.schema_version, cell)
        if kept is None or self.may_replace(kept, snapshot):
            await self.put(name, self.encode(snapshot))

    async def discard_snapshots(self, *streams: StreamId) -> None:
        await self.begin()
        for name in [name for name in self.cells if name[0] in {stream.text for stream in streams}]:
            del self.cells[name]

    async def clear_snapshots(self) -> None:
        await self.begin()
        self.cells.clear()

    async def aclose(self) -> None:
        self.closed = True

    # ── step by step ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def begin(self) -> None:
        if self.closed:
            raise StoreClosedError(store="PlainSnapshots")
        await checkpoint()

    def name(self, stream: StreamId, schema_version: int) -> tuple[str, int]:
        return stream.text, schema_version

    def will_do(self, kept: Snapshot, at_most: int | None) -> bool:
        return at_most is None or kept.version <= at_most

    def may_replace(self, kept: Snapshot, new: Snapshot) -> bool:
        return new.version >= kept.version

    async def put(self, name: tuple[str, int], cell: bytes) -> None:
        self.cells[name] = cell

    def encode(self, snapshot: Snapshot) -> bytes:
        content = b"%d\n%s\n%s" % (snapshot.version, snapshot.event_id.hex.encode(), snapshot.data)
        return blake2b(content, digest_size=_DIGEST).digest() + content

    def decode(self, stream: StreamId, schema_version: int, cell: bytes) -> Snapshot | None:
        if blake2b(cell[_DIGEST:], digest_size=_DIGEST).digest() != cell[:_DIGEST]:
            return None
        return self.read(stream, schema_version, cell[_DIGEST:])

    def read(self, stream: StreamId, schema_version: int, content: bytes) -> Snapshot:
        version, event_id, data = content.split(b"\n", 2)
        return Snapshot(stream=stream, schema_version=schema_version, version=int(version), event_id=UUID(event_id.decode()), data=data)
