"""The delivery queue of a group, against the rules in its docstring, by example and by random walks."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import RecordedEvent
from inventory_es.ports.errors import AppendTooLargeError
from inventory_es.ports.toolkit.delivery_rules import DeliveryQueue, GroupFilter, QueuedEvent, check_events, check_group

T0 = datetime(2026, 1, 5, 9, tzinfo=UTC)


def event(stream: str, version: int, *, kind: str = "TestedEvent", data: bytes = b"{}") -> RecordedEvent:
    number = version * 1000 + ord(stream)
    return RecordedEvent(StreamId("t", stream), version, number, UUID(int=number), kind, 1, T0, data, b"{}")


def queue_of(*names: str) -> DeliveryQueue:
    queue = DeliveryQueue()
    for name in names:
        queue.offer(QueuedEvent(event(name[0], int(name[1:]))))
    return queue


def take(queue: DeliveryQueue) -> QueuedEvent:
    taken = queue.take()
    assert taken is not None
    return taken


def name_of(queued: QueuedEvent) -> str:
    return f"{queued.event.stream.parts[0]}{queued.event.version}"


def drain(queue: DeliveryQueue) -> list[str]:
    names = []
    while (queued := queue.take()) is not None:
        names.append(name_of(queued))
        queue.settle(queued)
    assert len(queue) == 0
    return names


def test_one_consumer_gets_everything_in_the_order_of_publication() -> None:
    assert drain(queue_of("x1", "y1", "z1", "y2", "x2")) == ["x1", "y1", "z1", "y2", "x2"]


def test_a_stream_waits_while_one_of_its_events_is_out() -> None:
    queue = queue_of("x1", "x2", "y1")
    first, second = take(queue), take(queue)

    assert (name_of(first), name_of(second)) == ("x1", "y1")
    assert queue.take() is None
    queue.settle(first)
    assert name_of(take(queue)) == "x2"
    assert queue.take() is None


def test_what_nobody_answered_goes_out_next_and_what_failed_goes_behind_the_others() -> None:
    queue = queue_of("x1", "y1", "x2")
    queue.put_back(take(queue))
    again = take(queue)
    assert (name_of(again), again.deliveries) == ("x1", 2)
    queue.put_behind(again)

    assert drain(queue) == ["y1", "x1", "x2"]


def test_an_event_that_comes_back_is_the_first_of_its_stream() -> None:
    queue = queue_of("x2", "x3", "y1")
    queue.offer_again(QueuedEvent(event("x", 1)))
    assert drain(queue) == ["x1", "x2", "x3", "y1"]


def test_an_event_that_comes_back_waits_for_the_one_that_is_out() -> None:
    queue = queue_of("x2", "x3")
    out = take(queue)
    queue.offer_again(QueuedEvent(event("x", 1)))
    assert queue.take() is None
    queue.settle(out)

    assert drain(queue) == ["x1", "x3"]


def test_an_event_that_comes_back_to_an_empty_queue_goes_out() -> None:
    queue = queue_of()
    queue.offer_again(QueuedEvent(event("x", 1)))

    assert drain(queue) == ["x1"]


def test_dropping_keeps_the_order_of_the_rest() -> None:
    queue = queue_of("x1", "y1", "x2", "z1", "y2")
    queue.drop(lambda each: each.stream == StreamId("t", "y"))

    assert len(queue) == 3
    assert drain(queue) == ["x1", "x2", "z1"]


@given(st.data())
def test_whatever_consumers_do_each_stream_stays_in_order_and_nothing_is_lost(data: st.DataObject) -> None:
    queue = DeliveryQueue()
    out: list[QueuedEvent] = []
    offered: dict[str, int] = {}
    settled: dict[str, list[int]] = {}
    for _ in range(data.draw(st.integers(0, 60))):
        step = data.draw(st.sampled_from(["offer", "take", "settle", "put_back", "put_behind"]))
        if step == "offer":
            stream = data.draw(st.sampled_from("xyz"))
            offered[stream] = offered.get(stream, 0) + 1
            queue.offer(QueuedEvent(event(stream, offered[stream])))
        elif step == "take":
            taken = queue.take()
            busy = {each.event.stream for each in out}
            waiting = {each.event.stream for each in queue}
            assert (taken is None) == (waiting <= busy)
            if taken is not None:
                assert taken.event.stream not in busy
                out.append(taken)
        elif out:
            answered = out.pop(data.draw(st.integers(0, len(out) - 1)))
            if step == "settle":
                settled.setdefault(answered.event.stream.parts[0], []).append(answered.event.version)
            getattr(queue, step)(answered)
        assert len(queue) == sum(offered.values()) - sum(map(len, settled.values()))
    for each in out:
        queue.put_back(each)
    while (rest := queue.take()) is not None:
        settled.setdefault(rest.event.stream.parts[0], []).append(rest.event.version)
        queue.settle(rest)
    assert settled == {stream: list(range(1, count + 1)) for stream, count in offered.items()}


def test_a_filter_holds_types_and_streams_together() -> None:
    both = GroupFilter.of(["TestedEvent"], [StreamId("t", "x")])

    assert both.takes(event("x", 1))
    assert not both.takes(event("y", 1))
    assert not both.takes(event("x", 1, kind="OtherEvent"))
    assert GroupFilter.of(None, None).takes(event("y", 1))
    assert not GroupFilter.of([], None).takes(event("y", 1))


@pytest.mark.parametrize("types, streams", [("TestedEvent", None), (None, StreamId("t", "x")), (None, "t-x")])
def test_one_text_is_no_collection(types: str | None, streams: object) -> None:
    with pytest.raises(ValueError, match="collections"):
        GroupFilter.of(types, streams)  # type: ignore[arg-type]  # the mistake under test


@pytest.mark.parametrize("group", ["", "g" * 129, "\ud800", 7])
def test_a_group_has_a_name(group: str) -> None:
    with pytest.raises(ValueError, match="group"):
        check_group(group)
    check_group("g" * 128)


def test_an_event_over_the_maximum_is_refused() -> None:
    fits, over = event("x", 1, data=b'{"a":1}'), event("x", 2, data=b'{"a":12}')

    check_events([fits, fits], max_event_bytes=9)
    check_events([], max_event_bytes=9)
    with pytest.raises(AppendTooLargeError, match="event bytes 10"):
        check_events([fits, over], max_event_bytes=9)
