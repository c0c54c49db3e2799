"""The file bus while its disk refuses: the caller hears it, nothing is lost or changes places, and it goes on once the disk does."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import attrs
import pytest

from inventory_es.adapters.file.bus.file_bus import FileBus
from inventory_es.ports.errors import EventBusUnavailableError
from inventory_es.testing.crash.simfs import Failure, FaultPlan, SimFS
from tests.unit.adapters.file.test_file_bus import ALL, T0, drain, event, name_of, open_engine, take
from tests.unit.adapters.file.watched_disk import WatchedDisk

BUS = Path("/bus")


@attrs.define
class Broken(FaultPlan):
    """Everything of one kind fails in one place, until it is mended."""

    kind: str = ""
    place: str = ""

    def next(self, kind: str, path: str) -> Failure | None:
        return "EIO" if kind == self.kind and self.place in path else None

    def mend(self) -> None:
        self.kind = ""


@pytest.fixture
def broken() -> Broken:
    return Broken()


@pytest.fixture
def engine(broken: Broken) -> Iterator[FileBus]:
    with closing(open_engine(BUS, disk=SimFS(faults=broken), max_deliveries=1)) as opened:
        yield opened


def test_an_event_that_could_not_be_taken_is_not_counted_as_delivered(engine: FileBus, broken: Broken) -> None:
    engine.publish([event("x", 1), event("x", 2)])
    group, consumer = engine.join("g", ALL)
    broken.kind, broken.place = "write", "cursor"
    for _ in range(3):
        with pytest.raises(EventBusUnavailableError, match="Input/output error"):
            group.take(consumer, T0)
    broken.mend()
    taken = take(group, consumer)
    assert taken is not None
    assert (name_of(taken[1]), taken[1].deliveries) == ("x1", 1)


def test_a_group_that_could_not_be_taken_over_leaves_no_file_open(broken: Broken) -> None:
    disk = WatchedDisk(broken)
    engine = open_engine(BUS, disk=disk)
    for place in ("dead", "cursor"):
        broken.kind, broken.place = "create", place
        with pytest.raises(EventBusUnavailableError):
            engine.join("g", ALL)
    broken.mend()
    engine.close()
    disk.assert_all_closed()


def test_a_publish_that_was_perhaps_written_says_so_and_is_safe_to_repeat(engine: FileBus, broken: Broken) -> None:
    broken.kind, broken.place = "sync", "journal"
    with pytest.raises(EventBusUnavailableError, match="perhaps after it had written"):
        engine.publish([event("x", 1)])
    broken.mend()
    engine.publish([event("x", 1)])
    assert set(drain(*engine.join("g", ALL))) == {"x1"}


def test_an_answer_that_was_refused_is_given_again(engine: FileBus, broken: Broken) -> None:
    engine.publish([event("x", 1), event("x", 2)])
    group, consumer = engine.join("g", ALL)
    first = take(group, consumer)
    assert first is not None
    broken.kind, broken.place = "write", "dead"
    with pytest.raises(EventBusUnavailableError):
        group.fail(consumer, first[0], "no", T0)
    assert engine.dead_letters("g", limit=9) == []
    broken.mend()
    group.fail(consumer, first[0], "no", T0)
    assert [letter.reason for letter in engine.dead_letters("g", limit=9)] == ["no"]
    assert drain(group, consumer) == ["x2"]


def test_what_a_leaving_consumer_can_not_give_up_goes_to_the_others(engine: FileBus, broken: Broken) -> None:
    engine.publish([event("x", 1), event("y", 1), event("z", 1)])
    group, leaving = engine.join("g", ALL)
    _, staying = engine.join("g", ALL)
    assert [name_of(taken[1]) for _ in "xy" if (taken := take(group, leaving)) is not None] == ["x1", "y1"]
    broken.kind, broken.place = "write", "dead"
    with pytest.raises(EventBusUnavailableError):
        engine.leave("g", leaving, T0)
    broken.mend()
    assert drain(group, staying) == ["x1", "y1", "z1"]
    assert engine.dead_letters("g", limit=9) == []


def test_whoever_leaves_after_the_bus_was_closed_leaves_nothing_behind(broken: Broken) -> None:
    disk = SimFS(faults=broken)
    engine = open_engine(BUS, disk=disk)
    engine.publish([event("x", 1)])
    group, consumer = engine.join("g", ALL)
    assert take(group, consumer) is not None
    engine.close()
    engine.leave("g", consumer, T0)
    with closing(open_engine(BUS, disk=disk)) as later:
        assert drain(*later.join("g", ALL)) == ["x1"]
