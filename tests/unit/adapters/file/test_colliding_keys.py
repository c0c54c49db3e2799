"""Event ids whose 64-bit keys collide, which their maker can choose, are told apart."""

from datetime import UTC, datetime
from uuid import UUID

from inventory_es.adapters.file.store.file_store import FileStore
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.records import NewEvent, StreamWrite
from inventory_es.testing.crash.simfs import SimFS

STREAM = StreamId("s", "x")


def colliding_events(count: int) -> list[NewEvent]:
    return [NewEvent(UUID(int=n << 64 | n), "Happened", 1, datetime(2026, 1, 5, tzinfo=UTC), b"{}") for n in range(1, count + 1)]


def test_each_is_found_once() -> None:
    events = colliding_events(3)
    engine = FileStore.open("/stock", creation_id="1", file_system=SimFS())
    engine.commit([[StreamWrite(STREAM, 0, events)]])
    found = engine.find_events(STREAM, [event.event_id for event in events])
    assert [event.event_id for event in found] == [event.event_id for event in events]
    assert [event.version for event in engine.find_events(STREAM, [events[1].event_id])] == [2]


def test_each_is_an_append_of_its_own() -> None:
    engine = FileStore.open("/stock", creation_id="1", file_system=SimFS())
    for version, event in enumerate(colliding_events(3)):
        first, again = (engine.commit([[StreamWrite(STREAM, version, [event])]])[0] for _ in range(2))
        assert getattr(first, "replayed", None) is False
        assert getattr(again, "replayed", None) is True
