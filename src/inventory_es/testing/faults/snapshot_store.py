"""A snapshot store that fails, forgets and loses snapshots: its callers may get slower, and nothing else."""

from functools import partial

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import Snapshot, SnapshotStore
from inventory_es.ports.errors import StoreUnavailableError
from inventory_es.testing.faults.faults import Faults


class FaultySnapshotStore:
    """A snapshot store whose calls fail as ``faults`` says.

    ``fail_before`` and ``fail_after`` are ``StoreUnavailableError``. A lost ``load_snapshot`` finds nothing. Any other lost call has no
    effect and raises nothing.

    Args:
        store: the store to wrap.
        faults: decides which call fails, and how.
    """

    def __init__(self, store: SnapshotStore, faults: Faults) -> None:
        self.__wrapped__ = self._store = store
        self._faults = faults

    async def load_snapshot(self, stream: StreamId, /, *, schema_version: int, at_most: int | None = None) -> Snapshot | None:
        """Return a snapshot, or fail."""
        call = partial(self._store.load_snapshot, stream, schema_version=schema_version, at_most=at_most)
        return await self._faults.run("load_snapshot", call, unavailable=_away(), unknown=_away(), lost=lambda: None)

    async def save_snapshot(self, snapshot: Snapshot, /) -> None:
        """Keep a snapshot, or fail."""
        call = partial(self._store.save_snapshot, snapshot)
        await self._faults.run("save_snapshot", call, unavailable=_away(), unknown=_away(), lost=lambda: None)

    async def discard_snapshots(self, *streams: StreamId) -> None:
        """Forget the snapshots of streams, or fail."""
        call = partial(self._store.discard_snapshots, *streams)
        await self._faults.run("discard_snapshots", call, unavailable=_away(), unknown=_away(), lost=lambda: None)

    async def clear_snapshots(self) -> None:
        """Forget everything, or fail."""
        await self._faults.run("clear_snapshots", self._store.clear_snapshots, unavailable=_away(), unknown=_away(), lost=lambda: None)

    async def aclose(self) -> None:
        """Close the wrapped store."""
        await self._store.aclose()


def _away() -> StoreUnavailableError:
    return StoreUnavailableError(store="FaultySnapshotStore", reason="an injected fault")
