"""The reference snapshot store, in memory."""

from collections import OrderedDict

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.errors import StoreClosedError
from inventory_es.ports.snapshot_store import Snapshot, SnapshotStore
from inventory_es.ports.toolkit.waiting import STATE_LOCK, give_way


class MemorySnapshotStore(SnapshotStore):
    """A :class:`~inventory_es.ports.SnapshotStore` in memory: **the reference** of its port. Nothing survives the process.

    Args:
        max_snapshots: the most snapshots, 1 or more. The least recently used one is evicted first.

    Raises:
        ValueError: ``max_snapshots`` is below 1.
    """

    serves_threads: bool = True

    def __init__(self, *, max_snapshots: int = 1_000) -> None:
        if max_snapshots < 1:
            msg = "max_snapshots must be 1 or more"
            raise ValueError(msg)
        self._max_snapshots = max_snapshots
        self._kept: OrderedDict[tuple[StreamId, int], Snapshot] = OrderedDict()
        self._is_closed = False

    async def load_snapshot(self, stream: StreamId, /, *, schema_version: int, at_most: int | None = None) -> Snapshot | None:
        await self._begin()
        with STATE_LOCK:
            kept = self._kept.get((stream, schema_version))
            if kept is None or (at_most is not None and kept.version > at_most):
                return None
            self._kept.move_to_end((stream, schema_version))
            return kept

    async def save_snapshot(self, snapshot: Snapshot, /) -> None:
        await self._begin()
        key = snapshot.stream, snapshot.schema_version
        with STATE_LOCK:
            kept = self._kept.get(key)
            if kept is not None and kept.version > snapshot.version:
                return
            self._kept[key] = snapshot
            self._kept.move_to_end(key)
            if len(self._kept) > self._max_snapshots:
                self._kept.popitem(last=False)

    async def discard_snapshots(self, *streams: StreamId) -> None:
        await self._begin()
        with STATE_LOCK:
            for key in [key for key in self._kept if key[0] in streams]:
                del self._kept[key]

    async def clear_snapshots(self) -> None:
        await self._begin()
        self._kept.clear()

    async def aclose(self) -> None:
        """Forget everything and refuse every further call. Idempotent."""
        self._is_closed = True
        self._kept.clear()
        await give_way()

    async def _begin(self) -> None:
        self._check_open()
        await give_way()
        self._check_open()

    def _check_open(self) -> None:
        if self._is_closed:
            raise StoreClosedError(store="MemorySnapshotStore")
