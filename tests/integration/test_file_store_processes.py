"""One folder, several processes: writers that race, that are killed, that fork, that may write no more."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from uuid import UUID

import anyio
import pytest

from inventory_es.adapters.file import FileStore, open_file_event_store, verify
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import AppendResult, NewEvent, StreamWrite
from inventory_es.ports.errors import StoreClosedError

KILLS = 12
WRITER = """
import resource, sys
from datetime import UTC, datetime
from uuid import UUID
from inventory_es.adapters.file import FileStore
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import AppendResult, NewEvent, StreamWrite
from inventory_es.ports.errors import AppendOutcomeUnknownError, ConcurrencyError, StoreUnavailableError

path, first, count, limit = sys.argv[1], *map(int, sys.argv[2:])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
engine = FileStore.open(path, creation_id="1", segment_bytes=20_000)
streams = [StreamId("inventory", "hot", "x"), StreamId("inventory", f"own-{first}", "x")]
for number in range(first, first + count):
    data = b'{"text":"%b"}' % (b"x" * 200)
    events = [NewEvent(UUID(int=n), "Happened", 1, datetime(2026, 1, 5, tzinfo=UTC), data) for n in (number, 1_000_000 + number)]
    while True:
        versions = [engine.read_stream(stream, limit=1).version for stream in streams]
        try:
            (outcome,) = engine.commit([list(map(StreamWrite, streams, versions, [[event] for event in events]))])
        except (AppendOutcomeUnknownError, StoreUnavailableError) as problem:
            print(type(problem).__name__, flush=True)
            if limit:
                sys.exit(0)
            continue
        if isinstance(outcome, AppendResult):
            break
        if not isinstance(outcome, ConcurrencyError):
            raise outcome
    print(number, flush=True)
    if number % 7 == 0:
        engine.tidy()
engine.close()
"""
HOT = StreamId("inventory", "hot", "x")


def start(path: Path, first: int, count: int, *, limit: int = 0) -> subprocess.Popen[str]:
    arguments = [str(path), str(first), str(count), str(limit)]
    return subprocess.Popen([sys.executable, "-c", WRITER, *arguments], stdout=subprocess.PIPE, text=True)


def lines(process: subprocess.Popen[str]) -> Iterator[str]:
    assert process.stdout is not None
    with process.stdout as stdout:
        for line in stdout:
            yield line.strip()


def everything(path: Path) -> list[tuple[str, int, int]]:
    """Stream, version and number of each event, in the order of the feed, each stream without a gap."""
    engine = FileStore.open(str(path), creation_id="1")
    events, after, is_end = [], 0, False
    while not is_end:
        page = engine.read_all(after=after, limit=500)
        events += [(event.stream.text, event.version, event.event_id.int) for event in page.events]
        assert [event.position for event in page.events] == list(range(after + 1, page.next_after + 1))
        after, is_end = page.next_after, page.is_end
    versions: dict[str, int] = {}
    for stream, version, _ in events:
        assert version == versions.get(stream, 0) + 1
        versions[stream] = version
    assert versions == {head.stream.text: head.version for head in engine.streams("", limit=100).heads}
    engine.close()
    assert list(verify(path)) == []
    return events


def test_processes_that_write_one_stream_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "stock"
    writers = [start(path, first, 60) for first in (1_000, 2_000, 3_000)]
    acknowledged = [int(line) for writer in writers for line in lines(writer)]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    assert len(acknowledged) == 180
    events = everything(path)
    assert sorted(number for stream, _, number in events if stream == HOT.text) == sorted(acknowledged)
    assert len(events) == 2 * len(acknowledged)


def test_what_a_killed_process_had_acknowledged_is_there(tmp_path: Path) -> None:
    path = tmp_path / "stock"
    chance = Random(7)
    acknowledged: set[int] = set()
    for round_ in range(KILLS):
        writers = [start(path, 10_000 * round_ + 1_000 * n, 900) for n in (1, 2)]
        for writer in writers:
            told = lines(writer)
            acknowledged |= {int(next(told)) for _ in range(chance.randrange(1, 25))}
            writer.kill()
            acknowledged |= {int(line) for line in told}
            writer.wait(60)
    events = everything(path)
    hot = [number for stream, _, number in events if stream == HOT.text]
    assert acknowledged <= set(hot)
    assert len(hot) - len(acknowledged) <= 2 * KILLS, "of each killed process one append may be there that it could not tell of"
    own = [number - 1_000_000 for stream, _, number in events if stream != HOT.text]
    assert sorted(own) == sorted(hot), "each append is there wholly or not at all"


def test_a_process_that_may_write_no_more_harms_nobody(tmp_path: Path) -> None:
    path = tmp_path / "stock"
    limited = start(path, 1, 900, limit=8_192)
    *numbers, problem = list(lines(limited))
    assert limited.wait(60) == 0
    assert problem in {"AppendOutcomeUnknownError", "StoreUnavailableError"}
    other = start(path, 5_000, 5)
    told = [int(line) for line in lines(other)]
    assert other.wait(60) == 0
    hot = [number for stream, _, number in everything(path) if stream == HOT.text]
    assert hot == [*map(int, numbers), *told]


def write(number: int, version: int) -> list[StreamWrite]:
    return [StreamWrite(HOT, version, [NewEvent(UUID(int=number), "Happened", 1, datetime(2026, 1, 5, tzinfo=UTC), b"{}")])]


def exit_code(child: int) -> int:
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def test_a_handle_that_a_fork_inherited_refuses(tmp_path: Path) -> None:
    engine = FileStore.open(str(tmp_path / "stock"), creation_id="1")
    engine.commit([write(1, 0)])
    child = os.fork()
    if child == 0:
        refusals = 0
        for use in (lambda: engine.commit([write(2, 1)]), engine.head, lambda: engine.read_stream(HOT, limit=1)):
            try:
                use()
            except StoreClosedError as refusal:
                refusals += "inherited by fork" in str(refusal)
        engine.close()
        fresh = FileStore.open(str(tmp_path / "stock"), creation_id="1")
        (outcome,) = fresh.commit([write(2, 1)])
        fresh.close()
        os._exit(0 if refusals == 3 and isinstance(outcome, AppendResult) else 1)
    assert exit_code(child) == 0
    assert engine.commit([write(3, 2)]) == [AppendResult(3, {HOT: 3})]
    engine.close()
    assert [number for _, _, number in everything(tmp_path / "stock")] == [1, 2, 3]


def test_a_reader_hears_of_another_process_s_commit(tmp_path: Path, backend: str) -> None:
    path = tmp_path / "stock"

    async def main() -> None:
        async with open_file_event_store(path) as store:
            assert not await store.wait_for_position(1, timeout=0)
            writer = start(path, 1, 3)
            assert await store.wait_for_position(6, timeout=60)
            page = await store.read_all(after=0, limit=10)
            assert [event.event_id.int for event in page.events] == [1, 1_000_001, 2, 1_000_002, 3, 1_000_003]
            assert [int(line) for line in lines(writer)] == [1, 2, 3]
            writer.wait(60)

    anyio.run(main, backend=backend)


@pytest.mark.parametrize("is_closed_first", [True, False])
def test_a_store_and_its_inherited_copy_close_apart(tmp_path: Path, backend: str, is_closed_first: bool) -> None:
    """A child of a running event loop can't use its parent's store, and harms it neither by closing nor by dying."""

    async def main() -> None:
        async with open_file_event_store(tmp_path / "stock") as store:
            await store.append(write(1, 0))
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    await store.append(write(2, 1))
                except StoreClosedError:
                    code = 0
                if is_closed_first:
                    store._store.close()
                os._exit(code)
            assert exit_code(child) == 0
            assert (await store.append(write(2, 1))).versions == {HOT: 2}

    anyio.run(main, backend=backend)
    assert len(everything(tmp_path / "stock")) == 2
