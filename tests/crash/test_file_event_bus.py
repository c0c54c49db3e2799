"""The file bus through a crash at every change of its disk: the process dies, or the power is cut."""

from datetime import UTC, datetime
from random import Random
from typing import get_args
from uuid import UUID

import attrs
import pytest

from inventory_es.adapters.file.bus.file_bus import BusConsumer, FileBus, FileBusGroup, GroupLimits
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import RecordedEvent
from inventory_es.ports.errors import EventBusUnavailableError
from inventory_es.ports.toolkit.delivery_rules import GroupFilter
from inventory_es.testing.crash.disk import Disk
from inventory_es.testing.crash.power import MODELS, power_cuts
from inventory_es.testing.crash.simfs import FailNth, Failure, Primitive, SimFS

T0 = datetime(2026, 1, 5, 9, tzinfo=UTC)
ALL = GroupFilter.of(None, None)
CUTS_AT_EACH_POINT = 40


@attrs.define
class Ledger:
    """The host's knowledge at one moment.

    Attributes:
        published: events that the bus took; ``acked``: those of them that were acknowledged.
        publishing: events that are being published; ``acking``: events that are being acknowledged.
    """

    published: list[str] = attrs.field(factory=list[str])
    acked: list[str] = attrs.field(factory=list[str])
    publishing: tuple[str, ...] = ()
    acking: tuple[str, ...] = ()


def open_engine(disk: SimFS) -> FileBus:
    return FileBus("/bus", file_system=disk, creation_id="1", limits=GroupLimits(2, 10, 3), segment_bytes=700)


def event(name: str) -> RecordedEvent:
    stream, version = name[0], int(name[1:])
    return RecordedEvent(
        StreamId("t", stream), version, version, UUID(int=version * 1_000 + ord(stream)), "TestedEvent", 1, T0, b"{}", b"{}"
    )


def name_of(event: RecordedEvent) -> str:
    return f"{event.stream.parts[0]}{event.version}"


def drain(group: FileBusGroup, consumer: BusConsumer) -> list[str]:
    names: list[str] = []
    while True:
        group.take(consumer, T0)
        if not consumer.ready:
            return names
        ticket, queued = consumer.ready.popleft()
        names.append(name_of(queued.event))
        group.settle(consumer, ticket)


class Host:
    """A host that publishes, consumes, refuses, leaves and comes back, and keeps a ledger of the answers."""

    def __init__(self, disk: SimFS, ledger: Ledger) -> None:
        self.disk = disk
        self.ledger = ledger

    def run(self) -> None:
        engine = open_engine(self.disk)
        self.publish(engine, "x1", "y1", "x2")
        group, consumer = engine.join("g", ALL)
        self.ack(engine, group, consumer)
        self.refuse(engine, group, consumer)
        self.publish(engine, "y2", "x3")
        self.ack(engine, group, consumer)
        self.refuse(engine, group, consumer)
        engine.leave("g", consumer, T0)
        engine.close()
        engine = open_engine(self.disk)
        engine.redeliver("g", [letter.event.event_id for letter in engine.dead_letters("g", limit=9)])
        group, consumer = engine.join("g", ALL)
        self.publish(engine, "z1", "z2", "z3", "z4")
        for _ in range(4):
            self.ack(engine, group, consumer)
        engine.close()

    def publish(self, engine: FileBus, *names: str) -> None:
        self.ledger.publishing = names
        engine.publish([event(name) for name in names])
        self.ledger.publishing = ()
        self.ledger.published += names

    def ack(self, engine: FileBus, group: FileBusGroup, consumer: BusConsumer) -> None:
        group.take(consumer, T0)
        ticket, queued = consumer.ready.popleft()
        self.ledger.acking = (name_of(queued.event),)
        group.settle(consumer, ticket)
        self.ledger.acked += self.ledger.acking
        self.ledger.acking = ()

    def refuse(self, engine: FileBus, group: FileBusGroup, consumer: BusConsumer) -> None:
        group.take(consumer, T0)
        ticket, _ = consumer.ready.popleft()
        group.fail(consumer, ticket, "no", T0)


def after(disk: Disk) -> tuple[list[str], list[str]]:
    """Return the deliveries and the dead letters of a group that comes back. A second time there are none."""
    with_log = SimFS(disk)
    engine = open_engine(with_log)
    rest = drain(*engine.join("g", ALL))
    dead = [name_of(letter.event) for letter in engine.dead_letters("g", limit=99)]
    engine.close()
    engine = open_engine(with_log)
    assert drain(*engine.join("g", ALL)) == []
    engine.close()
    return rest, dead


def judge(ledger: Ledger, disk: Disk, *, power: bool) -> None:
    rest, dead = after(disk)
    known = {*ledger.acked, *ledger.acking, *rest, *dead}
    assert set(ledger.published) <= known, "what was published is lost"
    assert known <= {*ledger.published, *ledger.publishing}, "something came that nobody published"
    assert not set(ledger.publishing) & known or set(ledger.publishing) <= known, "a half of one publish came"
    assert len(rest) == len(set(rest)), "one publication came twice to one consumer"
    for stream in "yz":
        mine = [name for name in rest if name.startswith(stream)]
        assert mine == sorted(mine), "a stream is out of order"
    if not power:
        assert not set(ledger.acked) & {*rest, *dead}, "what was acknowledged came again"


def test_the_program_reaches_what_it_is_about() -> None:
    ledger = Ledger()
    disk = SimFS()
    Host(disk, ledger).run()
    rest, dead = after(disk.disk.killed())

    assert len(ledger.published) == 9
    assert len(ledger.acked) == 6
    assert sorted([*ledger.acked, *rest, *dead]) == sorted(ledger.published)
    assert len([path for path, _ in disk.disk.paths() if path.endswith(".jsonl") and "/bus/journal/" in path]) > 1


@pytest.mark.parametrize("model", ["kill", *MODELS])
def test_at_every_crash_point(model: str) -> None:
    ledger = Ledger()
    chance = Random(1)
    states = 0

    def crash(_: Primitive) -> None:
        nonlocal states
        disk = host.disk.disk
        left = [disk.killed()] if model == "kill" else power_cuts(disk, model, chance, most=CUTS_AT_EACH_POINT)  # type: ignore[arg-type]  # a name of MODELS
        for state in left:
            states += 1
            judge(ledger, state, power=model != "kill")

    host = Host(SimFS(observer=crash), ledger)
    host.run()
    assert states > (1_000 if model in MODELS else 80)


@pytest.mark.parametrize("failure", get_args(Failure))
@pytest.mark.parametrize("is_persistent", [False, True], ids=["once", "from then on"])
def test_at_every_operation_that_fails(failure: Failure, is_persistent: bool) -> None:
    """Let each operation fail in turn. The host hears of the failure, and a group that comes back loses nothing."""
    number = 0
    while True:
        number += 1
        faults = FailNth(number, failure, is_persistent=is_persistent)
        host = Host(SimFS(faults=faults), Ledger())
        try:
            host.run()
        except EventBusUnavailableError:
            assert faults.hits, "the bus is away, and no operation failed"
        if not faults.hits:
            break
        judge(host.ledger, host.disk.disk.killed(), power=failure == "short write")  # half a cursor costs answers, as a power cut does
    assert number > 20
