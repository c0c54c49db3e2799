"""The store without threads, on a simulated disk that fails when told to."""

import errno
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import attrs
import pytest

from inventory_es.adapters.file.store import event_reader as event_reading
from inventory_es.adapters.file.store.file_store import FileStore
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.errors import (
    AppendOutcomeUnknownError,
    ConcurrencyError,
    CorruptStoreError,
    StoreClosedError,
    StoreUnavailableError,
)
from inventory_es.ports.records import AppendResult, NewEvent, StreamWrite
from inventory_es.testing.crash.disk import Disk
from inventory_es.testing.crash.simfs import Failure, FaultPlan, Primitive, SimFS

A, B = StreamId("inventory", "a", "x"), StreamId("inventory", "b", "x")


def event(number: int, data: bytes = b"{}") -> NewEvent:
    return NewEvent(UUID(int=number), "Happened", 1, datetime(2026, 1, 5, tzinfo=UTC), data)


def write(stream: StreamId, expected: int, *numbers: int) -> list[StreamWrite]:
    return [StreamWrite(stream, expected, [event(number) for number in numbers])]


@attrs.define
class Broken(FaultPlan):
    """Operations for which ``breaks`` says so fail, while it is switched on."""

    breaks: Callable[[str, str], bool]
    failure: Failure
    is_on: bool = False

    def next(self, kind: str, path: str) -> Failure | None:
        return self.failure if self.is_on and self.breaks(kind, path) else None


class Bench:
    """A disk, and the plan by which it fails."""

    def __init__(self, breaks: Callable[[str, str], bool] = lambda _kind, _path: False, failure: Failure = "EIO") -> None:
        self.disk = Disk()
        self.plan = Broken(breaks, failure)

    def open(self, segment_bytes: int = 1 << 20) -> FileStore:
        file_system = SimFS(self.disk, faults=self.plan)
        return FileStore.open("/stock", creation_id="1", file_system=file_system, segment_bytes=segment_bytes)


def is_journal(path: str) -> bool:
    return "/journal/" in path and path.endswith(".jsonl")


def versions(engine: FileStore, stream: StreamId) -> list[int]:
    return [event.event_id.int for event in engine.read_stream(stream, limit=100).events]


def test_appends_of_one_commit_run_in_order_each_with_its_outcome() -> None:
    engine = Bench().open()
    same = write(A, 0, 1, 2)
    outcomes = engine.commit([same, write(A, 0, 3), write(A, 2, 3), same, write(B, 0, 4) + write(A, 3, 5), [], write(A, 3, 6)])
    assert outcomes[0] == AppendResult(2, {A: 2})
    assert outcomes[1] == ConcurrencyError(stream=A, expected=0, actual=2)
    assert outcomes[2] == AppendResult(3, {A: 3})
    assert outcomes[3] == AppendResult(2, {A: 2}, replayed=True)
    assert outcomes[4] == AppendResult(5, {B: 1, A: 4})
    assert isinstance(outcomes[5], ValueError)
    assert outcomes[6] == ConcurrencyError(stream=A, expected=3, actual=4)
    assert versions(engine, A) == [1, 2, 3, 5]
    assert [event.event_id.int for event in engine.read_all(after=0, limit=100).events] == [1, 2, 3, 4, 5]


def test_a_commit_is_one_line_and_one_sync() -> None:
    bench = Bench()
    kinds: list[str] = []
    engine = FileStore.open(
        "/stock", creation_id="1", file_system=SimFS(bench.disk, observer=lambda done: kinds.append(f"{done.kind} {done.path}"))
    )
    engine.commit([write(A, 0, 1)])
    kinds.clear()
    engine.commit([write(A, 1, 2), write(B, 0, 3), write(A, 2, 4) + write(B, 1, 5)])
    segment = "/stock/journal/00000000000000000001.jsonl"
    assert kinds == [
        "write /stock/.lock",
        f"write {segment}",
        f"sync {segment}",
        "write /stock/.lock",
        "release /stock/.lock",
    ]


def test_refusals_alone_write_nothing() -> None:
    bench = Bench()
    engine = bench.open()
    engine.commit([write(A, 0, 1)])
    kinds: list[str] = []
    other = FileStore.open("/stock", creation_id="1", file_system=SimFS(bench.disk, observer=lambda done: kinds.append(done.kind)))
    kinds.clear()
    other.commit([write(A, 0, 1), write(A, 5, 9)])
    assert kinds == ["release"]


@pytest.mark.parametrize(
    "failure, told",
    [("EIO", AppendOutcomeUnknownError), ("ENOSPC", StoreUnavailableError), ("short write", StoreUnavailableError)],
)
def test_after_a_failed_write_what_is_known_is_told_and_service_goes_on(failure: Failure, told: type[Exception]) -> None:
    bench = Bench(lambda kind, path: kind == "write" and is_journal(path), failure)
    engine = bench.open()
    engine.commit([write(A, 0, 1)])
    bench.plan.is_on = True
    with pytest.raises(told):
        engine.commit([write(A, 1, 2), write(B, 0, 3)])
    assert versions(engine, A) == [1]
    bench.plan.is_on = False
    assert engine.commit([write(A, 1, 2)]) == [AppendResult(2, {A: 2})]
    assert versions(engine, A) == [1, 2]
    assert versions(bench.open(), A) == [1, 2]


@pytest.mark.parametrize("failure", ["EIO", "dropped", "half dropped"])
def test_a_failed_sync_is_not_tried_again(failure: Failure) -> None:
    bench = Bench(lambda kind, path: kind == "sync" and is_journal(path), failure)
    engine = bench.open()
    engine.commit([write(A, 0, 1)])
    bench.plan.is_on = True
    with pytest.raises(AppendOutcomeUnknownError):
        engine.commit([write(A, 1, 2)])
    assert versions(engine, A) == [1], "nobody sees what is not durable"
    with pytest.raises(StoreUnavailableError):
        engine.commit([write(A, 1, 2)])
    assert versions(engine, A) == [1], "reads go on"
    bench.plan.is_on = False
    (outcome,) = engine.commit([write(A, 1, 2)])
    assert isinstance(outcome, AppendResult)
    assert outcome.versions == {A: 2}
    assert versions(engine, A) == [1, 2]


def test_when_nothing_can_be_written_the_store_is_unavailable_and_reads_go_on() -> None:
    bench = Bench(lambda kind, _path: kind == "write", "ENOSPC")
    engine = bench.open()
    engine.commit([write(A, 0, 1)])
    bench.plan.is_on = True
    for _ in range(3):
        with pytest.raises(StoreUnavailableError, match="No space left"):
            engine.commit([write(A, 1, 2)])
        assert versions(engine, A) == [1]
    bench.plan.is_on = False
    assert engine.commit([write(A, 1, 2)]) == [AppendResult(2, {A: 2})]


def test_a_segment_that_could_not_be_begun_is_begun_later() -> None:
    bench = Bench(lambda kind, path: kind == "sync_directory" and path.endswith("journal"), "EIO")
    engine = bench.open(segment_bytes=1)
    engine.commit([write(A, 0, 1)])
    bench.plan.is_on = True
    with pytest.raises(StoreUnavailableError):
        engine.commit([write(A, 1, 2)])
    bench.plan.is_on = False
    assert engine.commit([write(A, 1, 2)]) == [AppendResult(2, {A: 2})]
    assert versions(bench.open(), A) == [1, 2]


def test_derived_files_that_can_t_be_written_stop_nothing(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(lambda kind, path: kind == "create" and (".idx" in path or "/events/" in path), "ENOSPC")
    engine = bench.open(segment_bytes=1)
    bench.plan.is_on = True
    for number in range(1, 5):
        engine.commit([write(A, number - 1, number)])
        assert engine.tidy()
    said = {record.message: record.__dict__ for record in caplog.records}
    assert set(said) == {"index_not_written", "people_files_not_written"}
    assert all(facts["store"] == engine.name and "No space left" in facts["reason"] for facts in said.values())
    assert [record.__dict__["segment"] for record in caplog.records if record.message == "index_not_written"] == [1, 2, 3]
    assert versions(engine, A) == [1, 2, 3, 4]
    bench.plan.is_on = False
    engine.close()
    again = bench.open()
    assert versions(again, A) == [1, 2, 3, 4]
    assert again.commit([write(A, 0, 1)]) == [AppendResult(1, {A: 1}, replayed=True)]


def test_two_handles_see_each_other_s_commits_across_segments() -> None:
    bench = Bench()
    one, other = bench.open(segment_bytes=400), bench.open(segment_bytes=400)
    for number in range(1, 20, 2):
        one.commit([write(A, number - 1, number)])
        assert other.head() == number
        other.commit([write(A, number, number + 1)])
        assert versions(one, A) == versions(other, A) == list(range(1, number + 2))
        if number % 5 == 0:
            one.tidy()
    assert one.commit([write(A, 2, 3)]) == other.commit([write(A, 2, 3)]) == [AppendResult(3, {A: 3}, replayed=True)]


@pytest.mark.parametrize("is_tidy", [True, False])
@pytest.mark.parametrize("segment_bytes", [1, 700, 1 << 20])
def test_all_is_there_after_reopening(is_tidy: bool, segment_bytes: int) -> None:
    bench = Bench()
    engine = bench.open(segment_bytes)
    for number in range(1, 21):
        engine.commit([write(A, number - 1, number) + write(B, number - 1, 100 + number)])
    if is_tidy:
        engine.close()
    again = bench.open(segment_bytes)
    assert versions(again, A) == list(range(1, 21))
    assert versions(again, B) == list(range(101, 121))
    assert again.read_stream(B, after=18, limit=1).events[0].version == 19
    assert [event.version for event in again.read_stream_backwards(A, before=4, limit=2).events] == [3, 2]
    assert [event.position for event in again.read_all(after=38, limit=9).events] == [39, 40]
    assert [(head.stream, head.version) for head in again.streams("inventory-a", limit=9).heads] == [(A, 20)]
    assert [(head.stream, head.version) for head in again.streams("inventory-b", limit=9).heads] == [(B, 20)]
    assert again.streams("", after=A, limit=9).heads[0].stream == B
    assert again.streams("inventory-b", after=A, limit=9).heads[0].stream == B
    assert not again.streams("", limit=1).is_end
    assert [found.version for found in again.find_events(B, [UUID(int=120), UUID(int=101), UUID(int=1)])] == [1, 20]
    assert again.commit([write(A, 4, 5)]) == [AppendResult(9, {A: 5}, replayed=True)]


def test_a_page_holds_what_fits_and_says_that_it_goes_on() -> None:
    engine = Bench().open()
    big = b'{"x":"%b"}' % (b"x" * 1_000_000)
    for number in range(1, 8):
        engine.commit([[StreamWrite(A, number - 1, [event(number, big)])]])
    page = engine.read_stream(A, limit=100)
    assert 1 <= len(page.events) < 7
    assert not page.is_end
    backwards = engine.read_stream_backwards(A, limit=100)
    assert [event.version for event in backwards.events] == list(range(7, 7 - len(backwards.events), -1))
    assert not backwards.is_end
    feed = engine.read_all(after=0, limit=100)
    assert (len(feed.events), feed.is_end) == (feed.next_after, False)


def test_an_event_larger_than_a_page_is_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_reading, "MAX_PAGE_BYTES", 10)
    engine = Bench().open()
    engine.commit([write(A, 0, 1, 2)])
    engine.commit([write(A, 2, 3)])
    for after in range(3):
        assert [event.version for event in engine.read_stream(A, after=after, limit=9).events] == [after + 1]
        assert [event.version for event in engine.read_stream_backwards(A, before=after + 2, limit=9).events] == [after + 1]
        assert [event.position for event in engine.read_all(after=after, limit=9).events] == [after + 1]


@pytest.mark.parametrize("read", ["read_stream", "read_stream_backwards", "find_events"])
def test_a_stream_is_named_by_a_stream_id(read: str) -> None:
    engine = Bench().open()
    more: Any = {"event_ids": []} if read == "find_events" else {"limit": 1}
    with pytest.raises(ValueError, match="named by a StreamId"):
        getattr(engine, read)("inventory-a-x", **more)


@pytest.mark.parametrize("place", ["/stock/journal/00000000000000000001.jsonl", "/stock/journal/00000000000000000003.jsonl"])
def test_damage_that_a_read_meets_is_reported(place: str) -> None:
    bench = Bench()
    engine = bench.open(segment_bytes=300)
    for number in range(1, 4):
        engine.commit([write(A, number - 1, number)])
    file = SimFS(bench.disk).open(place, "write")
    file.write(file.read(1_000, 0).replace(b"Happened", b"Happenes"), 0)
    with pytest.raises(CorruptStoreError, match=f"{place}, byte 11: the event is damaged"):
        engine.read_stream(A, limit=100)


def test_a_closed_handle_says_so() -> None:
    engine = Bench().open()
    engine.close()
    engine.close()
    for use in (lambda: engine.commit([write(A, 0, 1)]), lambda: engine.read_stream(A, limit=1), engine.head, engine.tidy):
        with pytest.raises(StoreClosedError):
            use()


def test_an_error_keeps_what_the_system_said() -> None:
    bench = Bench(lambda kind, path: kind == "open" and path.endswith("format.json"))
    bench.open().close()
    bench.plan.is_on = True
    with pytest.raises(StoreUnavailableError, match="Input/output error") as problem:
        bench.open()
    assert isinstance(problem.value.__cause__, OSError)
    assert problem.value.__cause__.errno == errno.EIO


def test_a_reader_may_see_a_line_before_its_writer_has_indexed_it() -> None:
    bench = Bench()
    seen: list[int] = []

    def look(done: Primitive) -> None:
        if done.write is not None and done.path == "/stock/.lock" and b'"dirty":0' in done.write.data and engines:
            seen.append(len(engines[0].read_all(after=0, limit=9).events))

    engines: list[FileStore] = []
    engines.append(FileStore.open("/stock", creation_id="1", file_system=SimFS(bench.disk, observer=look)))
    for number in (1, 2, 3):
        engines[0].commit([write(A, number - 1, number)])
    assert seen == [1, 2, 3]
    assert versions(engines[0], A) == [1, 2, 3]


def test_a_handle_that_a_fork_inherited_says_so_and_leaves_the_files_alone() -> None:
    bench = Bench()
    engine = bench.open()
    engine.commit([write(A, 0, 1)])
    engine._process -= 1
    with pytest.raises(StoreClosedError, match="inherited by fork"):
        engine.head()
    engine.close()
    assert SimFS(bench.disk).list_directory("/stock/events") == [".lock"]


def test_events_at_different_times_keep_theirs() -> None:
    engine = Bench().open()
    times = [datetime(2026, 1, 5, 9, n, tzinfo=UTC) for n in (0, 0, 1, 0)]
    events = [NewEvent(UUID(int=n + 1), "Happened", 1, time, b"{}") for n, time in enumerate(times)]
    shared = [attrs.evolve(event, recorded_at=times[0]) for event in events[:2]] + events[2:]
    engine.commit([[StreamWrite(A, 0, shared)]])
    assert [event.recorded_at for event in engine.read_stream(A, limit=9).events] == times
