from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

import attrs
import pytest

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.errors import AppendTooLargeError, ConcurrencyError, EventIdCollisionError, UnsupportedCapabilityError
from inventory_es.ports.event_store import StoreCapabilities
from inventory_es.ports.records import NewEvent, RecordedEvent, StreamWrite
from inventory_es.ports.toolkit.append_rules import check_append, check_page, check_stream, check_versions, find_earlier_append

A, B = StreamId("s", "a"), StreamId("s", "b")
LIMITS = StoreCapabilities(multi_stream=True, max_append_events=3, max_event_bytes=20, max_append_bytes=30)


def event(number: int, data: bytes = b"{}") -> NewEvent:
    return NewEvent(UUID(int=number), "Happened", 1, datetime(2026, 1, 5, tzinfo=UTC), data)


def write(stream: StreamId, expected: int, *numbers: int) -> StreamWrite:
    return StreamWrite(stream, expected, [event(number) for number in numbers])


class Stored:
    """What a store holds: by stream, event numbers in order; positions go through the streams one by one."""

    def __init__(self, streams: dict[StreamId, Sequence[int]]) -> None:
        self.events: list[RecordedEvent] = []
        for stream, numbers in streams.items():
            for version, number in enumerate(numbers, 1):
                new = event(number)
                self.events.append(
                    RecordedEvent(
                        stream, version, len(self.events) + 1, new.event_id, new.event_type, 1, new.recorded_at, new.data, new.metadata
                    )
                )

    def find(self, stream: StreamId, event_ids: Sequence[UUID]) -> list[RecordedEvent]:
        return [stored for stored in self.events if stored.stream == stream and stored.event_id in event_ids]


@pytest.mark.parametrize(
    "writes, rule",
    [
        ([], "at least one write"),
        ([StreamWrite(A, 0, [])], "at least one event"),
        ([write(A, -1, 1)], "0 or more"),
        ([write(A, True, 1)], "0 or more"),
        ([write(A, 1.0, 1)], "0 or more"),  # type: ignore[arg-type]  # the wrong type is what is tested
        ([write(A, 0, 1), write(A, 1, 2)], "at most one write for a stream"),
        ([write(A, 0, 1, 1)], "stands twice"),
        ([write(A, 0, 1), write(B, 0, 1)], "stands twice"),
        (["a"], "sequence of StreamWrite"),
        ([StreamWrite("s-a", 0, [event(1)])], "to a StreamId"),  # type: ignore[arg-type]  # likewise
        ([StreamWrite(A, 0, ["e"])], "type NewEvent"),  # type: ignore[list-item]  # likewise
    ],
)
def test_misuse_is_refused(writes: Sequence[StreamWrite], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        check_append(writes, LIMITS, store="x")


def test_what_fits_is_accepted_and_no_more() -> None:
    writes = [StreamWrite(A, 0, [event(1, b'{"n":"45678901"}')]), write(B, 7, 2, 3)]
    check_append(writes, LIMITS, store="x")
    tighter = (
        attrs.evolve(LIMITS, max_append_events=2),
        attrs.evolve(LIMITS, max_event_bytes=17),
        attrs.evolve(LIMITS, max_append_bytes=25),
    )
    for limits in tighter:
        with pytest.raises(AppendTooLargeError):
            check_append(writes, limits, store="x")


@pytest.mark.parametrize(
    "writes, limit_name, limit, actual",
    [
        ([write(A, 0, 1, 2), write(B, 0, 3, 4)], "events", 3, 4),
        ([StreamWrite(A, 0, [event(1, b'{"n":"3456789012345"}')])], "event bytes", 20, 23),
        ([StreamWrite(A, 0, [event(1, b'{"n":"4567890"}'), event(2, b'{"n":"4567890"}')])], "bytes", 30, 34),
    ],
)
def test_too_much_is_refused(writes: Sequence[StreamWrite], limit_name: str, limit: int, actual: int) -> None:
    with pytest.raises(AppendTooLargeError) as refusal:
        check_append(writes, LIMITS, store="x")
    assert refusal.value == AppendTooLargeError(limit_name=limit_name, limit=limit, actual=actual)


def test_several_streams_need_the_capability() -> None:
    with pytest.raises(UnsupportedCapabilityError, match="x has no multi_stream"):
        check_append([write(A, 0, 1), write(B, 0, 2)], attrs.evolve(LIMITS, multi_stream=False), store="x")


def test_a_new_append_was_not_stored_before() -> None:
    assert find_earlier_append([write(A, 0, 1), write(B, 0, 2)], Stored({A: [9], B: []}).find) is None


def test_a_stored_append_gives_its_result_whatever_it_expects_now() -> None:
    stored = Stored({A: [1, 2, 3], B: [7, 8, 9]})
    result = find_earlier_append([write(A, 99, 2, 3), write(B, 0, 7, 8)], stored.find)
    assert result is not None
    assert (result.replayed, result.position, result.versions) == (True, 5, {A: 3, B: 8 - 6})


def test_time_and_metadata_are_no_identity() -> None:
    again = attrs.evolve(event(1), recorded_at=datetime(2027, 1, 1, tzinfo=UTC), metadata=b'{"try":2}')
    result = find_earlier_append([StreamWrite(A, 0, [again])], Stored({A: [1]}).find)
    assert result is not None


@pytest.mark.parametrize(
    "writes, collides, problem",
    [
        ([write(A, 0, 1, 99)], 1, "not all others"),
        ([write(A, 0, 1, 2), write(B, 0, 99)], 1, "not all others"),
        ([write(B, 0, 99), write(A, 0, 1)], 1, "not all others"),
        ([write(A, 0, 2, 1)], 1, "right after"),
        ([write(A, 0, 1, 3)], 3, "right after"),
        ([StreamWrite(A, 0, [event(1, b'{"n":2}')])], 1, "another type, schema version or data"),
        ([StreamWrite(A, 0, [attrs.evolve(event(1), event_type="Other")])], 1, "another type"),
        ([StreamWrite(A, 0, [attrs.evolve(event(1), schema_version=2)])], 1, "another type"),
    ],
)
def test_anything_in_between_collides(writes: Sequence[StreamWrite], collides: int, problem: str) -> None:
    with pytest.raises(EventIdCollisionError, match=problem) as refusal:
        find_earlier_append(writes, Stored({A: [1, 2, 3]}).find)
    assert (refusal.value.stream, refusal.value.event_id) == (A, UUID(int=collides))


def test_versions_are_checked_in_order() -> None:
    versions = {A: 2, B: 5}
    check_versions([write(A, 2, 1), write(B, 5, 2)], versions.__getitem__)
    with pytest.raises(ConcurrencyError) as conflict:
        check_versions([write(A, 2, 1), write(B, 4, 2)], versions.__getitem__)
    assert conflict.value == ConcurrencyError(stream=B, expected=4, actual=5)


@pytest.mark.parametrize("page", [{"limit": 0}, {"limit": True}, {"limit": 1, "after": -1}, {"limit": 1, "before": 0}, {"limit": 1.5}])
def test_a_page_that_nobody_can_mean_is_refused(page: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be an int"):
        check_page(**page)


def test_a_page_and_a_stream_that_make_sense_are_accepted() -> None:
    check_page(limit=1, after=0, before=1)
    check_stream(A)
    with pytest.raises(ValueError, match="StreamId"):
        check_stream("s-a")
