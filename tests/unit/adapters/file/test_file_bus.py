"""The file bus on disk: consumers that die, cursors that are torn, groups that change hands, what is loaded and what is kept."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inventory_es.adapters.file.bus.file_bus import BusConsumer, FileBus, FileBusGroup, GroupLimits
from inventory_es.adapters.file.operating_system import OperatingSystem
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import RecordedEvent
from inventory_es.ports.errors import CorruptStoreError, EventBusUnavailableError, IncompatibleStoreError, StoreClosedError
from inventory_es.ports.file_system import FileSystem
from inventory_es.ports.toolkit.delivery_rules import GroupFilter, QueuedEvent
from inventory_es.testing.crash.simfs import SimFS

T0 = datetime(2026, 1, 5, 9, tzinfo=UTC)
ALL = GroupFilter.of(None, None)

HELPER = """
import os, sys
from datetime import UTC, datetime
from uuid import UUID
from inventory_es.adapters.file.bus.file_bus import FileBus
from inventory_es.adapters.file.bus.file_bus import GroupLimits
from inventory_es.adapters.file.operating_system import OperatingSystem
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import RecordedEvent
from inventory_es.ports.toolkit.delivery_rules import GroupFilter
now = datetime(2026, 1, 5, 9, tzinfo=UTC)
engine = FileBus(
    sys.argv[1], file_system=OperatingSystem(), creation_id="2", limits=GroupLimits(2, 10, 100), segment_bytes=4_000
)
"""
DIES_WITH_AN_EVENT = f"""{HELPER}
group, consumer = engine.join("g", GroupFilter.of(None, None))
group.take(consumer, now)
print(consumer.ready[0][1].deliveries, flush=True)
os._exit(9)
"""
PUBLISHES = f"""{HELPER}
name = sys.argv[2]
for version in range(1, 101):
    engine.publish([RecordedEvent(StreamId("t", name), version, version, UUID(int=version), "TestedEvent", 1, now, b"{{}}", b"{{}}")])
engine.close()
"""


def event(stream: str, version: int, *, data: bytes = b"{}", at: datetime = T0, kind: str = "TestedEvent") -> RecordedEvent:
    return RecordedEvent(StreamId("t", stream), version, version, UUID(int=version * 1_000 + ord(stream[0])), kind, 1, at, data, b"{}")


def open_engine(
    folder: Path, *, disk: FileSystem | None = None, max_deliveries: int = 2, max_dead_letters: int = 10, window: int = 100
) -> FileBus:
    return FileBus(
        folder,
        file_system=OperatingSystem() if disk is None else disk,
        creation_id="1",
        limits=GroupLimits(max_deliveries, max_dead_letters, window),
        segment_bytes=4_000,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "bus"


@pytest.fixture
def engine(folder: Path) -> Iterator[FileBus]:
    with closing(open_engine(folder)) as opened:
        yield opened


def take(group: FileBusGroup, consumer: BusConsumer) -> tuple[int, QueuedEvent] | None:
    group.take(consumer, T0)
    return consumer.ready.popleft() if consumer.ready else None


def name_of(queued: QueuedEvent) -> str:
    return f"{queued.event.stream.parts[0]}{queued.event.version}"


def drain(group: FileBusGroup, consumer: BusConsumer) -> list[str]:
    names = []
    while (taken := take(group, consumer)) is not None:
        names.append(name_of(taken[1]))
        group.settle(consumer, taken[0])
    return names


def refuse(group: FileBusGroup, consumer: BusConsumer, reason: str = "no") -> str:
    taken = take(group, consumer)
    assert taken is not None
    group.fail(consumer, taken[0], reason, T0)
    return name_of(taken[1])


def crash(engine: FileBus) -> None:
    """What the operating system does for a process that dies: free the locks, keep the files as they are."""
    for group in engine._groups.values():
        group.owner.close()
    engine._journal._state_file.close()


def test_a_consumer_that_dies_with_an_event_is_given_it_until_it_is_given_up(folder: Path) -> None:
    with closing(open_engine(folder)) as engine:
        engine.publish([event("x", 1), event("x", 2)])
    for attempt in ("1", "2"):
        command = [sys.executable, "-c", DIES_WITH_AN_EVENT, str(folder)]
        dead = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True, timeout=60)
        assert (dead.returncode, dead.stdout.strip()) == (9, attempt)
    with closing(open_engine(folder)) as engine:
        group, consumer = engine.join("g", ALL)

        assert drain(group, consumer) == ["x2"]
        (letter,) = engine.dead_letters("g", limit=9)
        assert (letter.event, letter.deliveries, letter.since) == (event("x", 1), 2, T0)
        assert "without an answer" in letter.reason


def test_dead_letters_survive_the_loss_of_their_lock_file(folder: Path) -> None:
    for number in (1, 2):
        with closing(open_engine(folder, max_deliveries=1)) as engine:
            engine.publish([event("x", number)])
            assert refuse(*engine.join("g", ALL)) == f"x{number}"
            assert [letter.event.version for letter in engine.dead_letters("g", limit=9)] == list(range(1, number + 1))
        (lock,) = folder.glob("groups/*/dead/.lock")
        lock.write_bytes(b"")


def test_what_stands_ready_for_a_consumer_is_all_that_it_has(engine: FileBus) -> None:
    engine.publish([event("x", 1), event("y", 1)])
    group, slow = engine.join("g", ALL)
    _, other = engine.join("g", ALL)
    for _ in range(2):
        group.take(slow, T0)
    assert [name_of(queued) for _, queued in slow.ready] == ["x1"]
    assert drain(group, other) == ["y1"]


def test_answers_survive_a_crash_and_the_unanswered_comes_again(folder: Path) -> None:
    engine = open_engine(folder)
    engine.publish([event("x", 1), event("y", 1), event("x", 2), event("y", 2)])
    group, consumer = engine.join("g", ALL)
    first, second = take(group, consumer), take(group, consumer)
    assert first is not None
    assert second is not None
    group.settle(consumer, second[0])
    crash(engine)
    with closing(open_engine(folder)) as later:
        group, consumer = later.join("g", ALL)
        again = take(group, consumer)
        assert again is not None
        assert (name_of(again[1]), again[1].deliveries) == ("x1", 2)
        group.settle(consumer, again[0])

        assert drain(group, consumer) == ["x2", "y2"]


def test_what_is_open_is_remembered_while_it_is_not_loaded(folder: Path) -> None:
    engine = open_engine(folder, max_deliveries=9)
    for stream in "abcd":
        engine.publish([event(stream, 1)])
    group, consumer = engine.join("g", ALL)
    for _ in "abcd":
        group.take(consumer, T0)
        ticket, queued = consumer.ready.popleft()
        if name_of(queued) in {"b1", "d1"}:
            group.settle(consumer, ticket)
    crash(engine)
    for attempt in (2, 3):  # with room for one event
        engine = open_engine(folder, max_deliveries=9, window=1)
        taken = take(*engine.join("g", ALL))
        assert taken is not None
        assert (name_of(taken[1]), taken[1].deliveries) == ("a1", attempt)
        crash(engine)
    with closing(open_engine(folder, max_deliveries=9)) as engine:
        assert drain(*engine.join("g", ALL)) == ["a1", "c1"]


@pytest.mark.parametrize("torn", ["cursor.a", "cursor.b"])
@pytest.mark.parametrize("content", [b"", b"\x00" * 400, b"00000000 {}\n", b"garbage"])
def test_a_torn_cursor_costs_redeliveries_and_no_event(folder: Path, torn: str, content: bytes) -> None:
    published = [f"x{version}" for version in range(1, 7)]
    with closing(open_engine(folder)) as engine:
        engine.publish([event("x", version) for version in range(1, 7)])
        for _ in range(3):  # a consumer that leaves makes the cursor durable
            group, consumer = engine.join("g", ALL)
            taken = take(group, consumer)
            assert taken is not None
            group.settle(consumer, taken[0])
            engine.leave("g", consumer, T0)
    (path,) = folder.glob(f"groups/*/{torn}")
    path.write_bytes(content)
    with closing(open_engine(folder)) as engine:
        rest = drain(*engine.join("g", ALL))

    assert rest in (published[2:], published[3:])


def test_one_handle_has_the_consumers_of_a_group(folder: Path, engine: FileBus) -> None:
    with closing(open_engine(folder)) as other:
        _, consumer = engine.join("g", ALL)
        with pytest.raises(EventBusUnavailableError, match="'g'"):
            other.join("g", ALL)
        other.join("h", ALL)
        engine.leave("g", consumer, T0)
        group, consumer = other.join("g", ALL)
        engine.publish([event("x", 1)])

        assert drain(group, consumer) == ["x1"]


def test_consumers_of_a_group_share_one_filter(engine: FileBus) -> None:
    only_x = GroupFilter.of(None, [StreamId("t", "x")])
    _, consumer = engine.join("g", only_x)
    with pytest.raises(ValueError, match="another filter"):
        engine.join("g", ALL)
    engine.leave("g", consumer, T0)
    engine.publish([event("x", 1), event("y", 1)])

    assert drain(*engine.join("g", ALL)) == ["x1", "y1"]


def test_dead_letters_are_kept_and_come_back_from_any_handle(folder: Path, engine: FileBus) -> None:
    engine.publish([event("x", 1), event("x", 2), event("x", 3)])
    group, consumer = engine.join("g", ALL)
    assert [refuse(group, consumer, "first"), refuse(group, consumer, "last \ud800")] == ["x1", "x1"]
    assert drain(group, consumer) == ["x2", "x3"]
    with closing(open_engine(folder)) as other:
        (letter,) = other.dead_letters("g", limit=5)
        assert (letter.event, letter.deliveries, letter.since) == (event("x", 1), 2, T0)
        assert letter.reason == "last \\ud800"
        assert other.redeliver("g", [letter.event.event_id, UUID(int=9)]) == 1
        assert other.redeliver("g", [letter.event.event_id]) == 0
        assert other.dead_letters("nobody", limit=5) == []
        assert other.redeliver("nobody", [letter.event.event_id]) == 0
    again = take(group, consumer)
    assert again is not None
    assert (name_of(again[1]), again[1].deliveries) == ("x1", 1)
    crash(engine)
    with closing(open_engine(folder)) as later:
        assert drain(*later.join("g", ALL)) == ["x1"]
        assert later.dead_letters("g", limit=5) == []
    with closing(open_engine(folder)) as last:
        assert drain(*last.join("g", ALL)) == []


def test_a_dead_letter_that_fails_again_is_one_again(engine: FileBus) -> None:
    engine.publish([event("x", 1)])
    group, consumer = engine.join("g", ALL)
    for _ in range(2):
        refuse(group, consumer)
    engine.redeliver("g", [event("x", 1).event_id])
    for _ in range(2):
        refuse(group, consumer, "again")

    assert [letter.reason for letter in engine.dead_letters("g", limit=9)] == ["again"]
    assert take(group, consumer) is None


def test_while_the_dead_letters_are_full_nothing_more_is_given_up(folder: Path) -> None:
    with closing(open_engine(folder, max_deliveries=1, max_dead_letters=1)) as engine:
        engine.publish([event("x", 1), event("y", 1)])
        group, consumer = engine.join("g", ALL)
        assert [refuse(group, consumer) for _ in range(4)] == ["x1", "y1", "y1", "y1"]
        assert len(engine.dead_letters("g", limit=9)) == 1


def test_only_the_first_answer_counts(engine: FileBus) -> None:
    engine.publish([event("x", 1), event("x", 2)])
    group, consumer = engine.join("g", ALL)
    taken = take(group, consumer)
    assert taken is not None
    group.settle(consumer, taken[0])
    group.settle(consumer, taken[0])
    group.fail(consumer, taken[0], "late", T0)

    assert drain(group, consumer) == ["x2"]


def test_no_more_is_loaded_than_the_window_and_one_line(folder: Path) -> None:
    with closing(open_engine(folder, window=4)) as engine:
        for version in range(1, 40, 3):
            engine.publish([event("x", version), event("y", version + 1), event("z", version + 2)])
        group, consumer = engine.join("g", ALL)
        seen = []
        while (taken := take(group, consumer)) is not None:
            assert len(group._queue) <= 4 + 3
            seen.append(taken[1].event.version)
            group.settle(consumer, taken[0])

        assert seen == list(range(1, 40))


def test_what_a_filter_passes_over_is_not_read_again_for_ever(folder: Path) -> None:
    nobody = GroupFilter.of(["NeverEvent"], None)
    with closing(open_engine(folder)) as engine:
        for start in range(1, 2_001, 500):
            engine.publish([event("x", version) for version in range(start, start + 500)])
        group, consumer = engine.join("g", nobody)
        assert take(group, consumer) is None
    with closing(open_engine(folder)) as engine:
        group, _ = engine.join("g", nobody)

        assert group._scanned.position == 2_000


def test_a_large_publish_is_several_lines_in_order(engine: FileBus) -> None:
    engine.publish([event("x", version) for version in range(1, 2_502)])
    engine.publish([])

    assert drain(*engine.join("g", ALL)) == [f"x{version}" for version in range(1, 2_502)]


@pytest.mark.parametrize(
    "bad",
    [
        event("x", 1, data=b'{"a":\n1}'),
        event("x", 1, data=b"{"),
        event("x", 1, data=b'{}},{"'),
        event("x", 1, data=b'{},"version":9'),
        event("x", 1, data=b""),
        event("x", 1, at=T0.astimezone(timezone(timedelta(hours=1)))),
        event("x", 1, kind="\ud800"),
    ],
    ids=["line break", "cut", "two objects", "another field", "empty", "another zone", "lone surrogate"],
)
def test_what_would_not_come_back_the_same_is_refused(engine: FileBus, bad: RecordedEvent) -> None:
    with pytest.raises(ValueError, match=r"published|surrogates"):
        engine.publish([event("y", 1), bad])

    assert drain(*engine.join("g", ALL)) == []


def test_processes_publish_side_by_side(folder: Path, engine: FileBus) -> None:
    publishers = [subprocess.Popen([sys.executable, "-c", PUBLISHES, folder, name]) for name in "xyz"]
    group, consumer = engine.join("g", ALL)
    seen: list[str] = []
    while any(publisher.poll() is None for publisher in publishers):
        seen += drain(group, consumer)
    seen += drain(group, consumer)

    assert [publisher.returncode for publisher in publishers] == [0, 0, 0]
    for name in "xyz":
        assert [each for each in seen if each.startswith(name)] == [f"{name}{version}" for version in range(1, 101)]


def test_a_damaged_journal_is_refused(folder: Path, engine: FileBus) -> None:
    for version in range(1, 4):
        engine.publish([event("x", version)])
    (segment,) = folder.glob("journal/*.jsonl")
    data = bytearray(segment.read_bytes())
    data[40] ^= 1
    segment.write_bytes(data)
    group, consumer = engine.join("g", ALL)
    with pytest.raises(CorruptStoreError, match="damaged"):
        group.take(consumer, T0)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(IncompatibleStoreError, match="file event bus"):
        open_engine(tmp_path)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")  # of a test runner's own threads
def test_a_handle_that_a_fork_inherited_is_refused(engine: FileBus) -> None:
    group, consumer = engine.join("g", ALL)
    child = os.fork()
    if child == 0:
        try:
            engine.publish([event("x", 1)])
        except StoreClosedError:
            engine.close()
            os._exit(7)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    engine.publish([event("x", 2)])

    assert drain(group, consumer) == ["x2"]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.lists(st.sampled_from("xyz"), min_size=1, max_size=5)),
        st.tuples(st.sampled_from(["take", "ack", "fail", "rejoin", "crash", "reopen", "revive"]), st.just(["x"])),
    ),
    max_size=30,
)


@given(steps=STEPS, window=st.integers(1, 6))
def test_whatever_happens_nothing_is_lost_and_nothing_acknowledged_comes_again(steps: list[tuple[str, list[str]]], window: int) -> None:
    folder, disk = Path("/bus"), SimFS()
    engine = open_engine(folder, disk=disk, window=window)
    group, consumer = engine.join("g", ALL)
    published: dict[str, int] = {}
    acked: list[str] = []
    out: list[tuple[int, QueuedEvent]] = []
    for step, streams in [*steps, ("reopen", ["x"])]:
        if step == "publish":
            batch = []
            for stream in streams:
                published[stream] = published.get(stream, 0) + 1
                batch.append(event(stream, published[stream]))
            engine.publish(batch)
        elif step == "take" and (taken := take(group, consumer)) is not None:
            assert name_of(taken[1]) not in acked
            assert taken[1].event.stream not in {each.event.stream for _, each in out}
            out.append(taken)
        elif step == "ack" and out:
            ticket, queued = out.pop()
            group.settle(consumer, ticket)
            acked.append(name_of(queued))
        elif step == "fail" and out:
            group.fail(consumer, out.pop()[0], "no", T0)
        elif step == "revive":
            engine.redeliver("g", [letter.event.event_id for letter in engine.dead_letters("g", limit=99)])
        elif step in {"rejoin", "crash", "reopen"}:
            out.clear()
            if step == "rejoin":
                engine.leave("g", consumer, T0)
            elif step == "crash":
                disk = SimFS(disk.disk.killed())
                engine = open_engine(folder, disk=disk, window=window)
            else:
                engine.close()
                engine = open_engine(folder, disk=disk, window=window)
            group, consumer = engine.join("g", ALL)
    rest = drain(group, consumer)
    dead = [f"{letter.event.stream.parts[0]}{letter.event.version}" for letter in engine.dead_letters("g", limit=99)]
    engine.close()

    assert sorted([*acked, *rest, *dead]) == sorted(f"{stream}{n}" for stream, last in published.items() for n in range(1, last + 1))
    if "revive" not in {step for step, _ in steps}:  # what comes back from the dead letters comes late
        for stream in published:
            mine = [int(each[1:]) for each in rest if each.startswith(stream)]
            assert mine == sorted(mine)
