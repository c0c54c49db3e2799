"""The port of snapshots: a disposable cache of state, never trusted over the log. Losing all of it changes no answer."""

from typing import Protocol, runtime_checkable
from uuid import UUID

import attrs

from inventory_es.domain.stream_id import StreamId


@attrs.frozen(kw_only=True)
class Snapshot:
    """The state of a stream after some of its events, as bytes.

    Attributes:
        stream: of which stream.
        schema_version: of the state, 1 or more. A state of another schema version is of no use.
        version: events folded, 1 or more.
        event_id: of the event that made ``version``: what tells a snapshot of this log from one of another.
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
    """Keeps the newest snapshot of a stream for each schema version, or forgets it: its users never rely on one.

    A store that keeps nothing saves no work. So it has room for at least 16 snapshots of up to 100,000 bytes, and where there is, it
    gives the newest that was saved: until this is discarded, replaced or damaged, or the store is closed. Of two of one version, either
    stays.

    What it gives is what was saved, whole and in every field: after a torn write the one before, or none. Any number of tasks may call at
    once; what was discarded or replaced before a load began is not its answer. A cancelled call is done or not, and takes nothing from the
    next one. A state that is too large is forgotten. Every method may raise ``StoreUnavailableError``, ``CorruptStoreError``, and
    ``StoreClosedError`` after :meth:`aclose`.
    """

    async def load_snapshot(self, stream: StreamId, /, *, schema_version: int, at_most: int | None = None) -> Snapshot | None:
        """The newest snapshot of a stream, if one is kept.

        Args:
            stream: of which stream.
            schema_version: of the state; one of another is not given.
            at_most: the newest version that will do; ``None`` for any.
        """
        ...

    async def save_snapshot(self, snapshot: Snapshot, /) -> None:
        """Keep a snapshot. One of an older version never replaces a newer one."""
        ...

    async def discard_snapshots(self, *streams: StreamId) -> None:
        """Forget every snapshot of these streams, of every schema version, and of no other; a missing one is fine."""
        ...

    async def clear_snapshots(self) -> None:
        """Forget everything."""
        ...

    async def aclose(self) -> None:
        """Release every resource. Closing twice is fine."""
        ...
