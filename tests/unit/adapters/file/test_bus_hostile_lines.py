"""Lines of a file bus whose checksums are right and whose content makes no sense: damage, told with its place, never a stranger's error."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from inventory_es.adapters.file.bus.file_bus import FileBus
from inventory_es.adapters.file.journal.journal import Journal
from inventory_es.ports.errors import CorruptStoreError
from inventory_es.testing.crash.simfs import SimFS
from tests.unit.adapters.file.test_file_bus import ALL, T0, crash, drain, event, open_engine

BUS = Path("/bus")


def forge(journal: Journal, body: bytes) -> None:
    with journal.exclusive() as tail:
        journal.append(tail, body, position=tail.position + 1)


@pytest.mark.parametrize(
    "body, problem",
    [
        (b'{"first":2,"events":[]', "no published events"),
        (b'{"first":2,"events":[1]', "no published events"),
        (b'{"first":2,"events":[{}]', "no published events"),
        (b'{"first":"2","events":[{}]', "no published events"),
        (b'{"no":1', "no published events"),
        (b"\xff", "no published events"),
        (b'{"first":%d,"events":[%b]', "event 9 stands where 2 belongs"),
    ],
)
def test_a_forged_line_of_published_events_is_damage(body: bytes, problem: str) -> None:
    disk = SimFS()
    engine = open_engine(BUS, disk=disk)
    engine.publish([event("x", 1)])
    if b"%" in body:
        (line,) = [data for path, data in disk.disk.paths() if path.endswith(".jsonl") and data]
        body = body % (9, line[line.index(b"[") + 1 : line.rindex(b"]")])
    forge(engine._journal, body)
    group, consumer = engine.join("g", ALL)
    for _ in range(2):
        with pytest.raises(CorruptStoreError, match=problem) as refusal:
            group.take(consumer, T0)
        assert refusal.value.place.startswith("/bus/journal/00000000000000000001.jsonl, byte ")
    crash(engine)


def dead(engine: FileBus) -> object:
    return engine.dead_letters("g", limit=9)


def redelivered(engine: FileBus) -> object:
    return engine.redeliver("g", [])


@pytest.mark.parametrize("ask", [dead, redelivered])
@pytest.mark.parametrize(
    "body",
    [
        b'{"entry":1,"kind":"dead"',
        b'{"entry":1,"kind":"buried","number":1',
        b'{"entry":1',
        b"\xff",
        b'{"entry":1,"kind":"dead","number":1,"reason":"x","deliveries":1,"since":"2026-01-05T09:00:00Z","event":{}',
    ],
)
def test_a_forged_line_of_dead_letters_is_damage(body: bytes, ask: Callable[[FileBus], object]) -> None:
    with closing(open_engine(BUS, disk=SimFS())) as engine:
        engine.publish([event("x", 1)])
        group, _ = engine.join("g", ALL)
        forge(group.letters._journal, body)
        for _ in range(2):
            with pytest.raises(CorruptStoreError, match="tells of no dead letter"):
                ask(engine)
        engine.publish([event("x", 2)])
        assert drain(*engine.join("other", ALL)) == ["x1", "x2"]
