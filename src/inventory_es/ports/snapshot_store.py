"""The port of snapshots: a disposable cache of state, never trusted over the log. The loss of all snapshots changes no answer."""

from typing import Protocol, runtime_checkable
from uuid import UUID

import attrs

from inventory_es.domain.stream_id import StreamId


@attrs.frozen(kw_only=True)
class Snapshot:
    """The state of a stream after some of its events, as bytes.

    Attributes:
        stream: the stream whose state it is.
        schema_version: of the state, 1 or more. A state of another schema version is useless.
        version: the number of folded events, 1 or more.
        event_id: of the event at ``version``. It distinguishes a snapshot of this log from one of another log.
        data: the state, opaque to a store.
    """

    stream: StreamId
    schema_version: int
    version: int
    event_id: UUID
    data: bytes

    def __attrs_post_init__(self) -> None:
        if type(self.schema_version) is not int or type(self.version) is not int or self.schema_version < 1 or self.version < 1:
            msg = "the versions of a snapshot are ints of 1 or more"
            raise ValueError(msg)
        if type(self.data) is not bytes:
            msg = "the data of a snapshot is bytes"
            raise ValueError(msg)


@runtime_checkable
class SnapshotStore(Protocol):
    """Keeps the newest snapshot of a stream for each schema version, or forgets it. Its users never rely on a snapshot.

    A store that keeps nothing saves no work. So a store has room for at least 16 snapshots of up to 100,000 bytes. Where there is room, it
    returns the newest saved snapshot, until that is discarded, replaced or damaged, or the store is closed. Of two snapshots of one
    version, either stays. A snapshot that is too large is forgotten.

    A loaded snapshot equals the saved one in every field. After a torn write, the load returns the snapshot before it, or none. Any number
    of tasks may call at once. A snapshot that was discarded or replaced before a load began is not its answer. A cancelled call takes
    effect or not, and takes nothing from the next one.

    Every method may raise ``StoreUnavailableError``, ``CorruptStoreError``, and ``StoreClosedError`` after :meth:`aclose`.
    """

    async def load_snapshot(self, stream: StreamId, /, *, schema_version: int, at_most: int | None = None) -> Snapshot | None:
        """Return the newest snapshot of a stream, if one is kept.

        Args:
            stream: the stream of the state.
            schema_version: of the state. Snapshots of other schema versions are not returned.
            at_most: the newest acceptable version; ``None`` for any.
        """
        ...

    async def save_snapshot(self, snapshot: Snapshot, /) -> None:
        """Keep a snapshot. An older version never replaces a newer one."""
        ...

    async def discard_snapshots(self, *streams: StreamId) -> None:
        """Remove every snapshot of these streams, of all schema versions, and no other snapshot. A missing snapshot is a no-op."""
        ...

    async def clear_snapshots(self) -> None:
        """Remove every snapshot."""
        ...

    async def aclose(self) -> None:
        """Release every resource. Idempotent."""
        ...
