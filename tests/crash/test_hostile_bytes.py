"""Any bytes in a file store's files: opening and using the store ends with all events, fewer of them, or a documented error."""

import struct
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID
from zlib import crc32

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inventory_es.adapters.file.journal.stored_form import JournalTail, encode_state, seal
from inventory_es.adapters.file.store.file_store import FileStore
from inventory_es.adapters.file.upkeep.verify import verify
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.errors import ConcurrencyError, CorruptStoreError, IncompatibleStoreError
from inventory_es.ports.records import NewEvent, StreamWrite
from inventory_es.testing.crash.simfs import Failure, FaultPlan, SimFS
from inventory_es.testing.crash.subject import Log, disagreement, read_log

DOCUMENTED = (CorruptStoreError, IncompatibleStoreError)
MOST_OPERATIONS = 2_000
FIRST = "/stock/journal/00000000000000000001.jsonl"
FORMAT, LOCK = "/stock/format.json", "/stock/.lock"
SEED = crc32(b"1")

Files = Mapping[str, bytes]


@attrs.define
class Bound(FaultPlan):
    """A plan without failures that fails the test after too many operations."""

    left: int = MOST_OPERATIONS

    def next(self, kind: str, path: str) -> Failure | None:
        self.left -= 1
        assert self.left > 0, f"more than {MOST_OPERATIONS} file operations, the last one: {kind} {path}"
        return None


def event(number: int) -> NewEvent:
    return NewEvent(UUID(int=number), "Happened", 1, datetime(2026, 1, 5, tzinfo=UTC), b'{"n":%d}' % number)


def open_store(file_system: SimFS) -> FileStore:
    return FileStore.open("/stock", creation_id="1", file_system=file_system, segment_bytes=600)


def made() -> tuple[Files, Log]:
    """Return a store of three segments and two streams, cleanly closed."""
    file_system = SimFS()
    store = open_store(file_system)
    for version in range(4):
        writes = [StreamWrite(StreamId("s", name), version, [event(10 * version + at)]) for at, name in enumerate("xy")]
        store.commit([writes])
    log = read_log(store)
    store.close()
    return {path: content for path, content in file_system.disk.paths() if content is not None}, log


FILES, TRUTH = made()
FIRST_EVENTS = TRUTH[: FILES[FIRST].count(b'"event_id":')]


def machine_with(files: Files) -> SimFS:
    file_system = SimFS(faults=None)
    for path in ("/stock", "/stock/journal", "/stock/events"):
        file_system.make_directory(path)
    for path, content in files.items():
        file_system.open(path, "create").write(content, 0)
    file_system.faults = Bound()
    return file_system


def use(files: Files) -> Log | None:
    """Make every call on a store. Return what was read, or ``None`` after a documented error."""
    file_system = machine_with(files)
    log: Log | None = None
    try:
        list(verify("/stock", file_system=file_system))
        store = open_store(file_system)
        log = read_log(store)
        disagreement(store, log)
        store.find_events(StreamId("s", "x"), [event(number).event_id for number in range(40)])
        outcomes = store.commit([[StreamWrite(StreamId("s", "x"), 0, [event(99)])], [StreamWrite(StreamId("s", "new"), 0, [event(98)])]])
        store.tidy()
        store.close()
        list(verify("/stock", file_system=file_system))
    except DOCUMENTED:
        return log
    assert all(not isinstance(outcome, Exception) or isinstance(outcome, (ConcurrencyError, *DOCUMENTED)) for outcome in outcomes)
    return log


changes = st.lists(
    st.tuples(st.floats(0, 1), st.sampled_from(["put", "insert", "cut", "copy"]), st.binary(min_size=1, max_size=40)),
    min_size=1,
    max_size=4,
)


def damaged(content: bytes, how: list[tuple[float, str, bytes]]) -> bytes:
    for place, kind, data in how:
        at = int(place * len(content))
        match kind:
            case "put":
                content = content[:at] + data + content[at + len(data) :]
            case "insert":
                content = content[:at] + data + content[at:]
            case "cut":
                content = content[:at]
            case _:
                content = content[:at] + content[at // 2 :]
    return content


@settings(max_examples=300)
@given(path=st.sampled_from(sorted(FILES)), how=changes)
def test_damaged_bytes(path: str, how: list[tuple[float, str, bytes]]) -> None:
    log = use({**FILES, path: damaged(FILES[path], how)})
    assert log is None or log == TRUTH[: len(log)]
    if path.endswith((".idx", ".lock")) or path.startswith("/stock/events"):
        assert log == TRUTH


@settings(max_examples=100)
@given(path=st.sampled_from(sorted(FILES)), content=st.binary(max_size=300))
def test_foreign_bytes(path: str, content: bytes) -> None:
    log = use({**FILES, path: content})
    assert log is None or log == TRUTH[: len(log)]


@settings(max_examples=100)
@given(missing=st.sets(st.sampled_from(sorted(FILES)), min_size=1))
def test_missing_files(missing: set[str]) -> None:
    log = use({path: content for path, content in FILES.items() if path not in missing})
    assert log is None or log == TRUTH[: len(log)]


json_texts = st.recursive(
    st.sampled_from(
        [b"null", b"0", b"-1", b"1e400", b"9" * 400, b'""', b'"s-x"', b'"\\ud800"', b'"s-a-"', b"{}", b'"' + b"x" * 300 + b'"'],
    ),
    lambda inner: st.lists(inner, max_size=4).map(lambda items: b"[" + b",".join(items) + b"]"),
    max_leaves=8,
)
GOOD_FIELDS = {
    "event_id": b'"00000000-0000-0000-0000-000000000001"',
    "event_type": b'"Happened"',
    "schema_version": b"1",
    "stream": b'"s-x"',
    "version": b"1",
    "position": b"1",
    "recorded_at": b'"2026-01-05T09:00:00.000000Z"',
    "data": b"{}",
    "metadata": b"{}",
}


def line_of(fields: Mapping[str, bytes], count: int) -> bytes:
    stored = b"{" + b",".join(b'"%b":%b' % (name.encode(), value) for name, value in fields.items()) + b"}"
    return b'{"events":[' + b",".join([stored] * count) + b"]"


forged_bodies = st.one_of(
    st.binary(max_size=80).map(lambda data: data.replace(b"\n", b"")),
    json_texts.map(lambda text: b'{"events":' + text),
    st.builds(
        lambda changed, count: line_of({**GOOD_FIELDS, **changed}, count),
        st.dictionaries(st.sampled_from(sorted(GOOD_FIELDS)), json_texts, max_size=2),
        st.integers(0, 3),
    ),
)


@settings(max_examples=300)
@given(body=forged_bodies, is_known=st.booleans(), is_last=st.booleans())
def test_lines_with_a_good_checksum_and_hostile_content(body: bytes, is_known: bool, is_last: bool) -> None:
    good = FILES[FIRST] if is_last else b""
    previous = int(good[-11:-3], 16) if is_last else crc32(b"", SEED)
    line, checksum = seal(body, previous=previous, seed=SEED)
    files = {path: content for path, content in FILES.items() if not path.startswith("/stock/journal/") and path != LOCK}
    files[FIRST] = good + line
    if is_known:
        files[LOCK] = encode_state(JournalTail(1, len(good + line), checksum, 3), dirty=False)
    log = use(files)
    assert log is None or not is_last or log[: len(FIRST_EVENTS)] == FIRST_EVENTS


@settings(max_examples=200)
@given(
    segment=st.sampled_from([0, 1, 2, 3, 5, 7, 10**20 - 1]),
    offset=st.sampled_from([0, 1, 300, 10**6, 10**20 - 1]),
    checksum=st.sampled_from([0, 1, crc32(b"", SEED)]),
    position=st.sampled_from([0, 1, 8, 9, 10**20 - 1]),
    dirty=st.booleans(),
)
def test_a_lock_file_that_lies(segment: int, offset: int, checksum: int, position: int, dirty: bool) -> None:
    assert use({**FILES, LOCK: encode_state(JournalTail(segment, offset, checksum, position), dirty=dirty)}) in {None, TRUTH}


@settings(max_examples=300)
@given(field=st.integers(2, 9), value=st.sampled_from([0, 1, 2, 7, 1 << 16, (1 << 32) - 1, 1 << 62, (1 << 64) - 1]))
def test_index_files_with_good_checksums_and_a_hostile_header(field: int, value: int) -> None:
    header = struct.Struct("=8sIIQQQQQIIII")
    for path in sorted(FILES):
        if path.endswith(".idx"):
            fields = list(header.unpack(FILES[path][: header.size]))
            fields[field] = value if 3 <= field <= 7 else value & 0xFFFFFFFF
            packed = header.pack(*fields[:11], 0)[:-4]
            assert use({**FILES, path: packed + struct.pack("=I", crc32(packed)) + FILES[path][header.size :]}) in {None, TRUTH}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b"{" * 10_000,
        b'{"format":"inventory_es.file_store","version":2,"creation_id":"1"}',
        b'{"format":"other"}',
    ],
    ids=["empty", "no fields", "a list", "no text", "nested", "newer", "another"],
)
def test_format_files_of_others(content: bytes) -> None:
    with pytest.raises(IncompatibleStoreError):
        open_store(machine_with({**FILES, FORMAT: content}))


def test_the_checks_themselves_see_an_undocumented_error() -> None:
    def broken(_: SimFS) -> FileStore:
        raise RuntimeError

    original: Callable[[SimFS], Any] = open_store
    globals()["open_store"] = broken
    try:
        with pytest.raises(RuntimeError):
            use(FILES)
    finally:
        globals()["open_store"] = original
    assert use(FILES) == TRUTH
