"""Reading an inventory's stream from a snapshot on: a cold load folds what came after it, not the whole history.

A snapshot is a cache. It counts only where the log has the very event that it was taken at, with the balance that it holds; otherwise,
and whenever the snapshot store fails, the fold begins before the first event, and only a warning in the log tells.
"""

import logging

from inventory_es.application.commands.states import StreamReader
from inventory_es.application.commands.warm_states import WarmState
from inventory_es.domain.errors import FaultError
from inventory_es.domain.identifiers import InventoryId
from inventory_es.domain.inventory import Inventory
from inventory_es.domain.reservation_book import STATE_SCHEMA_VERSION, InventorySnapshot
from inventory_es.ports import EventStore, RecordedEvent, Snapshot, SnapshotCodec, SnapshotStore
from inventory_es.ports.codec import EventCodec

_log = logging.getLogger("inventory_es")


class SnapshotReader(StreamReader):
    """A :class:`StreamReader` that takes snapshots after long folds and begins at them.

    Args:
        store: where events are.
        codec: turns stored events into domain events.
        snapshots: where snapshots are kept.
        snapshot_codec: turns states into bytes and back.
        after: a load that folded more events than this takes one.

    Raises:
        ValueError: ``snapshot_codec`` can't say a state.
    """

    def __init__(
        self, store: EventStore, codec: EventCodec, *, snapshots: SnapshotStore, snapshot_codec: SnapshotCodec, after: int
    ) -> None:
        super().__init__(store, codec)
        self._snapshots = snapshots
        self._snapshot_codec = snapshot_codec
        self._after = after
        snapshot_codec.encode_snapshot(Inventory(InventoryId("any", "any")).snapshot())

    async def begin(self, inventory_id: InventoryId, *, at_most: int | None = None) -> WarmState:
        """The state of a snapshot that the log bears out; otherwise the one before the first event."""
        stream = inventory_id.stream
        try:
            snapshot = await self._snapshots.load_snapshot(stream, schema_version=STATE_SCHEMA_VERSION, at_most=at_most)
        except Exception as problem:  # noqa: BLE001  # whatever ails a snapshot store, a load goes on without it
            self._warn("snapshot_not_read", inventory_id, problem)
            snapshot = None
        if snapshot is not None:
            event = await self.at_version(stream, snapshot.version)
            try:
                return WarmState(Inventory.from_snapshot(self._checked(snapshot, event)), event.position if event else 0)
            except (ValueError, FaultError) as problem:
                self._warn("snapshot_ignored", inventory_id, problem)
                await self._discard(inventory_id)
        return await super().begin(inventory_id)

    async def load(self, inventory_id: InventoryId) -> WarmState:
        """Fold what came after the snapshot; take another one if that was much."""
        state = await self.begin(inventory_id)
        before = state.inventory.version
        await self.refresh(state)
        if state.inventory.version - before > self._after:
            await self._take(state.inventory)
        return state

    def _checked(self, snapshot: Snapshot, event: RecordedEvent | None) -> InventorySnapshot:
        if event is None or event.event_id != snapshot.event_id:
            msg = "the stream does not have the event that it was taken at"
            raise ValueError(msg)
        state = self._snapshot_codec.decode_snapshot(snapshot)
        fact = self.event(event)
        if (state.on_hand, state.reserved, state.last_time) != (fact.on_hand, fact.reserved, event.recorded_at):
            msg = "it does not hold the balance of the event that it was taken at"
            raise ValueError(msg)
        return state

    async def _take(self, inventory: Inventory) -> None:
        stream, version = inventory.inventory_id.stream, inventory.version
        try:
            event = await self.at_version(stream, version)
            if event is not None:
                data = self._snapshot_codec.encode_snapshot(inventory.snapshot())
                await self._snapshots.save_snapshot(
                    Snapshot(stream=stream, schema_version=STATE_SCHEMA_VERSION, version=version, event_id=event.event_id, data=data)
                )
        except Exception as problem:  # noqa: BLE001  # whatever ails a snapshot store, a load goes on without it
            self._warn("snapshot_not_taken", inventory.inventory_id, problem)

    async def _discard(self, inventory_id: InventoryId) -> None:
        try:
            await self._snapshots.discard_snapshots(inventory_id.stream)
        except Exception as problem:  # noqa: BLE001  # whatever ails a snapshot store, a load goes on without it
            self._warn("snapshot_not_discarded", inventory_id, problem)

    def _warn(self, name: str, inventory_id: InventoryId, problem: Exception) -> None:
        _log.warning(name, extra={"stream": inventory_id.stream.text, "reason": str(problem)})
