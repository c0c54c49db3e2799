"""What the writing connection remembers is never older than the tables, and an id that is stored is found out however it is sent."""

import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from inventory_es.adapters.sqlite import append_batch, rows
from inventory_es.adapters.sqlite.event_store import SqliteStore
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.errors import AppendOutcomeUnknownError, ConcurrencyError, EventIdCollisionError
from inventory_es.ports.records import AppendResult, NewEvent, StreamWrite

A, B = StreamId("s", "a"), StreamId("s", "b")
Open = Callable[[], SqliteStore]


@pytest.fixture
def open_store(tmp_path: Path) -> Iterator[Open]:
    engines: list[SqliteStore] = []

    def open_store() -> SqliteStore:
        engines.append(SqliteStore(str(tmp_path / "stock.db"), synchronous="FULL"))
        return engines[-1]

    yield open_store
    for store in engines:
        store.close()


def event(number: int, data: bytes = b"{}") -> NewEvent:
    return NewEvent(UUID(int=number), "Happened", 1, datetime(2026, 1, 5, tzinfo=UTC), data)


def write(stream: StreamId, expected: int, *numbers: int) -> list[StreamWrite]:
    return [StreamWrite(stream, expected, [event(number) for number in numbers])]


def versions(store: SqliteStore, stream: StreamId) -> list[tuple[int, int]]:
    return [(one.version, one.event_id.int) for one in store.read_stream(stream, after=0, limit=100).events]


def test_handles_that_write_by_turns_know_what_the_other_wrote(open_store: Open) -> None:
    one, other = open_store(), open_store()
    assert one.commit([write(A, 0, 1)]) == [AppendResult(1, {A: 1})]
    assert other.commit([write(A, 1, 2), write(B, 0, 3)]) == [AppendResult(2, {A: 2}), AppendResult(3, {B: 1})]
    assert one.commit([write(A, 1, 4)]) == [ConcurrencyError(stream=A, expected=1, actual=2)]
    assert one.commit([write(B, 1, 4), write(A, 2, 5)]) == [AppendResult(4, {B: 2}), AppendResult(5, {A: 3})]
    assert other.commit([write(StreamId("s", "c"), 0, 6)]) == [AppendResult(6, {StreamId("s", "c"): 1})]
    assert versions(other, A) == [(1, 1), (2, 2), (3, 5)]


@pytest.mark.parametrize("expected", [0, 2])
def test_what_is_stored_is_replayed_whatever_version_it_expects(open_store: Open, expected: int) -> None:
    store = open_store()
    store.commit([write(A, 0, 1, 2)])
    assert store.commit([write(B, 0, 9), write(A, expected, 1, 2), write(A, 2, 3)]) == [
        AppendResult(3, {B: 1}),
        AppendResult(2, {A: 2}, replayed=True),
        AppendResult(4, {A: 3}),
    ]
    assert versions(store, A) == [(1, 1), (2, 2), (3, 3)]


def test_an_append_sent_twice_in_one_commit_is_replayed(open_store: Open) -> None:
    store = open_store()
    store.commit([write(A, 0, 1)])
    outcomes = store.commit([write(A, 1, 2), write(A, 1, 2), write(A, 2, 2), write(A, 2, 3)])
    assert outcomes == [
        AppendResult(2, {A: 2}),
        AppendResult(2, {A: 2}, replayed=True),
        AppendResult(2, {A: 2}, replayed=True),
        AppendResult(3, {A: 3}),
    ]


@pytest.mark.parametrize("other", [(2, 7), (7, 1)])
def test_an_id_that_is_stored_with_others_collides_and_leaves_no_trace(open_store: Open, other: tuple[int, int]) -> None:
    store = open_store()
    store.commit([write(A, 0, 1, 2)])
    (collision, fine) = store.commit([write(A, 2, *other), write(A, 2, 3)])
    assert isinstance(collision, EventIdCollisionError)
    assert fine == AppendResult(3, {A: 3})
    assert versions(store, A) == [(1, 1), (2, 2), (3, 3)]


def test_what_a_failed_commit_decided_is_forgotten(open_store: Open) -> None:
    store = open_store()
    store.commit([write(A, 0, 1)])
    idle = store._connections._writers
    (writer,) = idle

    class Failing:
        @property
        def in_transaction(self) -> bool:
            return writer.in_transaction

        def execute(self, statement: str, *arguments: tuple[Any, ...]) -> sqlite3.Cursor:
            if statement == "COMMIT":
                writer.execute("ROLLBACK")
                msg = "disk I/O error"
                raise sqlite3.OperationalError(msg)
            return writer.execute(statement, *arguments)

        def executemany(self, statement: str, rows: list[tuple[object, ...]]) -> sqlite3.Cursor:
            return writer.executemany(statement, rows)

    idle[0] = Failing()  # type: ignore[assignment]
    with pytest.raises(AppendOutcomeUnknownError):
        store.commit([write(A, 1, 2), write(B, 0, 3)])
    idle[0] = writer
    assert store.commit([write(B, 0, 3), write(A, 1, 2)]) == [AppendResult(2, {B: 1}), AppendResult(3, {A: 2})]


def test_more_streams_than_are_remembered(open_store: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(append_batch, "_MOST", 2)
    store = open_store()
    streams = [StreamId("s", str(number)) for number in range(5)]
    for round_ in range(3):
        groups = [write(stream, round_, 10 * round_ + number) for number, stream in enumerate(streams)]
        assert [outcome.versions for outcome in store.commit(groups) if isinstance(outcome, AppendResult)] == [
            {stream: round_ + 1} for stream in streams
        ]


def test_a_page_has_an_end_in_bytes(open_store: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "_PAGE_BYTES", 100)
    monkeypatch.setattr(rows, "_ROWS_AT_ONCE", 2)
    store = open_store()
    store.commit([[StreamWrite(A, 0, [event(number, b'{"text":"%b"}' % (b"x" * 40)) for number in range(1, 8)])]])
    forwards = store.read_stream(A, after=1, limit=100)
    assert [one.version for one in forwards.events] == [2, 3]
    assert not forwards.is_end
    backwards = store.read_stream_backwards(A, before=None, limit=100)
    assert [one.version for one in backwards.events] == [7, 6]
    assert not backwards.is_end
    feed = store.read_all(after=3, limit=100)
    assert [one.position for one in feed.events] == [4, 5]
    assert (feed.next_after, feed.is_end) == (5, False)
