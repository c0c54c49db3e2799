"""What the memory snapshot store adds to its contract: its bound."""

from uuid import UUID

import anyio
import pytest

from inventory_es import StreamId
from inventory_es.adapters.memory import MemorySnapshotStore
from inventory_es.ports import Snapshot

STREAMS = [StreamId("inventory", f"p{number}", "berlin") for number in range(4)]


def snapshot(stream: StreamId) -> Snapshot:
    return Snapshot(stream=stream, schema_version=1, version=1, event_id=UUID(int=1), data=b"state")


def test_the_least_recently_used_goes_first(backend: str) -> None:
    async def main() -> None:
        store = MemorySnapshotStore(max_snapshots=3)
        for stream in STREAMS[:3]:
            await store.save_snapshot(snapshot(stream))
        await store.load_snapshot(STREAMS[0], schema_version=1)
        await store.save_snapshot(snapshot(STREAMS[1]))
        await store.save_snapshot(snapshot(STREAMS[3]))
        kept = [stream for stream in STREAMS if await store.load_snapshot(stream, schema_version=1)]
        assert kept == [STREAMS[0], STREAMS[1], STREAMS[3]]

    anyio.run(main, backend=backend)


def test_a_bound_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="1 or more"):
        MemorySnapshotStore(max_snapshots=0)


@pytest.mark.parametrize("wrong", [{"version": 0}, {"version": True}, {"schema_version": 0}, {"schema_version": "1"}, {"data": "text"}])
def test_what_is_no_snapshot_is_refused(wrong: dict[str, object]) -> None:
    facts: dict[str, object] = {"stream": STREAMS[0], "schema_version": 1, "version": 1, "event_id": UUID(int=1), "data": b"state"}
    with pytest.raises(ValueError, match="of a snapshot"):
        Snapshot(**(facts | wrong))  # type: ignore[arg-type]  # the point of the test
