"""A guarded snapshot store."""

from collections.abc import Sequence
from functools import partial
from typing import Protocol

from inventory_es.application.guards.guard import Guard, GuardChain, GuardedPort
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import Snapshot, SnapshotStore
from inventory_es.ports.errors import StoreUnavailableError


class _Over(Protocol):
    store: SnapshotStore
    chain: GuardChain


class GuardedSnapshots:
    """The calls for snapshots, of a store that may be an event store too; each of them may be made again."""

    async def load_snapshot(self: _Over, stream: StreamId, /, *, schema_version: int, at_most: int | None = None) -> Snapshot | None:
        """See :meth:`SnapshotStore.load_snapshot`."""
        call = partial(self.store.load_snapshot, stream, schema_version=schema_version, at_most=at_most)
        return await self.chain.run("load_snapshot", call)

    async def save_snapshot(self: _Over, snapshot: Snapshot, /) -> None:
        """See :meth:`SnapshotStore.save_snapshot`."""
        await self.chain.run("save_snapshot", partial(self.store.save_snapshot, snapshot))

    async def discard_snapshots(self: _Over, *streams: StreamId) -> None:
        """See :meth:`SnapshotStore.discard_snapshots`."""
        await self.chain.run("discard_snapshots", partial(self.store.discard_snapshots, *streams))

    async def clear_snapshots(self: _Over) -> None:
        """See :meth:`SnapshotStore.clear_snapshots`."""
        await self.chain.run("clear_snapshots", self.store.clear_snapshots)


class GuardedSnapshotStore(GuardedSnapshots):
    """The snapshot store with its calls guarded.

    Args:
        store: what is guarded.
        guards: by whom, the outermost first.
    """

    def __init__(self, store: SnapshotStore, guards: Sequence[Guard]) -> None:
        name = type(store).__name__
        port = GuardedPort(name, lambda reason, after: StoreUnavailableError(store=name, reason=reason, retry_after=after))
        self.store = store
        self.chain: GuardChain = GuardChain(port, guards)

    async def aclose(self) -> None:
        """Close the snapshot store."""
        await self.store.aclose()
