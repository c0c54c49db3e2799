"""A writer of snapshots that tells each when it is saved."""

from collections.abc import Awaitable, Callable

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import SnapshotStore
from inventory_es.testing.contracts.processes.other_process import Step
from inventory_es.testing.contracts.snapshot_store.harness import SCHEMA, STREAM, snapshot


def stream_of(writer: str) -> StreamId:
    """Return the stream whose snapshots a writer saves."""
    return StreamId("inventory", writer, "x")


async def write_rounds(store: SnapshotStore, writer: str, rounds: int, tell: Callable[[Step], None]) -> None:
    """Save ``rounds`` snapshots of this writer's stream, each newer than the one before, and tell each."""
    for number in range(1, rounds + 1):
        await store.save_snapshot(snapshot(number, writer, stream=stream_of(writer)))
        tell({"writer": writer, "number": number, "at": 0})


def uses(store: SnapshotStore) -> dict[str, Callable[[], Awaitable[object]]]:
    """Return every way of using a snapshot store, by the name of the method."""
    return {
        "load_snapshot": lambda: store.load_snapshot(STREAM, schema_version=SCHEMA),
        "save_snapshot": lambda: store.save_snapshot(snapshot(1, "inherited", stream=stream_of("inherited"))),
        "discard_snapshots": lambda: store.discard_snapshots(STREAM),
    }
