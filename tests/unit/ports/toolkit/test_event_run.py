from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID

import pytest

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.records import RecordedEvent
from inventory_es.ports.toolkit.event_run import EventRun, run_of

STREAM = StreamId("s", "a")


def make(number: int) -> RecordedEvent:
    return RecordedEvent(STREAM, number, number, UUID(int=number), "Happened", 1, datetime(2026, 1, 5, tzinfo=UTC), b"{}", b"{}")


def test_it_is_a_sequence_of_its_events() -> None:
    run, events = EventRun(make, range(1, 6)), [make(number) for number in range(1, 6)]
    assert len(run) == 5
    assert list(run) == events
    assert (run[0], run[-1], run[2]) == (events[0], events[-1], events[2])
    assert list(run[::-1]) == events[::-1]
    assert list(run[1:3]) == events[1:3]
    assert run
    assert not EventRun(make, ())


def test_it_equals_any_sequence_of_the_same_events() -> None:
    run = EventRun(make, [1, 2])
    assert run == EventRun(make, (1, 2))
    assert run == [make(1), make(2)]
    assert run != [make(1)]
    assert run != {1, 2}
    assert hash(run) == hash(EventRun(make, (1, 2)))


def test_an_event_is_made_when_it_is_asked_for() -> None:
    made: list[int] = []

    def watched(number: int) -> RecordedEvent:
        made.append(number)
        return make(number)

    run = EventRun(watched, range(1_000))
    next(iter(run))
    assert run[7].version == 7
    assert made == [0, 7]


@pytest.mark.parametrize("given", [list, partial(EventRun, lambda event: event)], ids=["list", "run"])
@pytest.mark.parametrize("numbers", [(), (1,), (1, 2, 3)], ids=len)
def test_field_by_field_it_says_what_its_events_say(numbers: tuple[int, ...], given: Callable[[list[RecordedEvent]], Any]) -> None:
    events = [make(number) for number in numbers]
    run = run_of(given(events))
    assert list(run) == events
    assert run.kinds() == [(event.event_type, event.schema_version) for event in events]
    assert run.streams() == [event.stream for event in events]
    assert run.versions() == [event.version for event in events]
    assert run.instants() == [event.recorded_at for event in events]
    assert run.payloads() == [event.data for event in events]
