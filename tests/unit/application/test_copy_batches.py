"""How a run of the feed is cut into commits and appends: the order stays, and no bound is passed."""

from datetime import UTC, datetime
from uuid import UUID

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inventory_es.application import store_copy as batches
from inventory_es.application.store_copy import copy_batches
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import RecordedEvent, StoreCapabilities
from inventory_es.ports.errors import AppendTooLargeError, CorruptStoreError

T0 = datetime(2026, 1, 5, 9, tzinfo=UTC)
WIDE = StoreCapabilities(multi_stream=True)


def feed(streams: str, *, size: int = 10) -> list[RecordedEvent]:
    """One event for each letter, in the stream of that name."""
    data = b"{%s}" % (b" " * (size - 4))
    return [
        RecordedEvent(StreamId("s", name), streams[:at].count(name) + 1, at + 1, UUID(int=at + 1), "Moved", 1, T0, data, b"{}")
        for at, name in enumerate(streams)
    ]


def shape(events: list[RecordedEvent], capabilities: StoreCapabilities = WIDE) -> list[list[str]]:
    """The appends of each commit, as letters."""
    return [
        ["".join(write.stream.parts[0] * len(write.events) for write in append) for append in commit]
        for commit in copy_batches(events, capabilities)
    ]


@pytest.mark.parametrize(
    "streams, appends",
    [("", []), ("a", [["a"]]), ("aabbc", [["aabbc"]]), ("aba", [["ab", "a"]]), ("abcabc", [["abc", "abc"]]), ("aabaa", [["aab", "aa"]])],
)
def test_a_stream_that_comes_back_begins_another_append(streams: str, appends: list[list[str]]) -> None:
    assert shape(feed(streams)) == appends


def test_one_stream_in_an_append_where_the_store_takes_no_more() -> None:
    assert shape(feed("aabbc"), StoreCapabilities()) == [["aa", "bb", "c"]]


def test_an_append_has_no_more_events_and_bytes_than_the_store_takes() -> None:
    assert shape(feed("aaabb"), attrs.evolve(WIDE, max_append_events=2)) == [["aa", "ab", "b"]]
    assert shape(feed("aaabb", size=100), attrs.evolve(WIDE, max_append_bytes=250)) == [["aa"], ["ab"], ["b"]]


def test_a_commit_is_bounded_and_an_append_within_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "MOST_BYTES", 250)
    assert shape(feed("aba" * 2, size=100)) == [["ab"], ["aa"], ["ba"]]
    monkeypatch.setattr(batches, "MOST_BYTES", 10)
    assert shape(feed("ab", size=100)) == [["a"], ["b"]]


def test_an_event_that_the_store_can_not_take_is_named() -> None:
    with pytest.raises(AppendTooLargeError, match="bytes in event 2 of stream s-a: 100, the store takes 99"):
        list(copy_batches(feed("a") + feed("aa", size=100)[1:], attrs.evolve(WIDE, max_event_bytes=99)))


@given(
    st.text("abcd", max_size=40),
    st.integers(1, 6),
    st.integers(100, 700),
    st.booleans(),
)
def test_whatever_the_bounds_the_order_is_that_of_the_feed(streams: str, most_events: int, most_bytes: int, several: bool) -> None:
    capabilities = StoreCapabilities(max_append_events=most_events, max_append_bytes=most_bytes, multi_stream=several)
    events = feed(streams, size=100)
    written = []
    for commit in copy_batches(events, capabilities):
        assert commit
        for append in commit:
            assert len({write.stream for write in append}) == len(append) <= (40 if several else 1)
            assert sum(len(write.events) for write in append) <= most_events
            assert sum(event.size for write in append for event in write.events) <= most_bytes
            for write in append:
                written += [(write.stream, write.expected_version + nth, event) for nth, event in enumerate(write.events, start=1)]
    assert [(stream, version, event.event_id) for stream, version, event in written] == [
        (event.stream, event.version, event.event_id) for event in events
    ]


def test_an_event_that_no_store_takes_is_told_by_its_place() -> None:
    events = [attrs.evolve(event, data=b"[]") if event.version == 2 else event for event in feed("aa")]
    with pytest.raises(CorruptStoreError, match="stream s-a, version 2: data of a new event must be"):
        list(copy_batches(events, WIDE))
