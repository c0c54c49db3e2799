"""A minimal store over the FileSystem port that survives every crash model: one file of lines, which every call reads whole.

Each important step is a method of its own, so that a mutant changes or omits just one.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID
from zlib import crc32

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.errors import AppendOutcomeUnknownError, ConcurrencyError, StoreUnavailableError
from inventory_es.ports.file_system import File, FileSystem, LockFile
from inventory_es.ports.records import AppendResult, FeedPage, RecordedEvent, StreamHead, StreamPage, StreamsPage, StreamWrite
from inventory_es.ports.toolkit.append_rules import check_versions, find_earlier_append

FOLDER = "/mini"
LINES = f"{FOLDER}/lines"
DRAFT = f"{FOLDER}/draft"
STATE = f"{FOLDER}/state"


class State(NamedTuple):
    """The state file: how many bytes are durable, and whether a writer is beyond them."""

    durable: int
    dirty: bool


class MiniStore:
    """A store over one file of lines. Each line is a CRC-32, seeded with that of the line before, and a list of events."""

    def __init__(self, file_system: FileSystem) -> None:
        self.fs = file_system
        with self.failing_as_unavailable():
            if not self.fs.exists(FOLDER):
                self.fs.make_directory(FOLDER)
            self.sync_parent()
            self.lock: LockFile = self.fs.open_lock(STATE)
            with self.locked():
                if not self.fs.exists(LINES) or not self.read_file():
                    self.create()
                self.recover()

    # ── the steps ──

    def create(self) -> None:
        """Create the file, and make its entry durable. Repeated while the file is empty, because an earlier try may have failed."""
        if self.fs.exists(DRAFT):
            self.fs.remove(DRAFT)
        self.fs.open(DRAFT, "create").close()
        self.fs.rename(DRAFT, LINES)
        self.sync_folder()

    def sync_parent(self) -> None:
        self.fs.sync_directory("/")

    def sync_folder(self) -> None:
        self.fs.sync_directory(FOLDER)

    def mark(self) -> None:
        self.write_state(State(self.read_state_or_nothing().durable, dirty=True))

    def write_lines(self, file: File, lines: Sequence[bytes], offset: int) -> None:
        file.write(b"".join(lines), offset)

    def sync_lines(self, file: File) -> None:
        file.sync()

    def needs_recovery(self) -> bool:
        state = self.read_state()
        return state is None or state.dirty or len(self.read_file()) != state.durable

    def recover(self) -> None:
        """Keep whole lines, cut the rest off, write the last line again so that it can be synced, and only then show it."""
        if not self.needs_recovery():
            return
        content = self.read_file()
        lines = list(self.good_lines(content))
        end = sum(map(len, lines))
        file = self.fs.open(LINES, "write")
        if lines:
            self.write_again(file, lines[-1], end - len(lines[-1]))
        self.cut(file, end)
        self.sync_recovered(file)
        self.write_state(State(end, dirty=False))

    def write_again(self, file: File, line: bytes, offset: int) -> None:
        file.write(line, offset)

    def cut(self, file: File, end: int) -> None:
        file.truncate(end)

    def sync_recovered(self, file: File) -> None:
        file.sync()

    def visible(self) -> bytes:
        """Return the lines that readers may see: only durable ones."""
        state = self.read_state()
        if state is None:
            with self.locked():
                self.recover()
            state = self.read_state_or_nothing()
        return self.read_file()[: state.durable]

    def make_lines(self, appends: Sequence[Sequence[dict[str, Any]]], previous: int) -> list[bytes]:
        """Return one line for everything that is committed together."""
        return [self.seal([event for append in appends for event in append], previous)]

    def seal(self, events: list[dict[str, Any]], previous: int) -> bytes:
        body = json.dumps(events).encode()
        return b"%08x%b\n" % (crc32(body, previous), body)

    def good_lines(self, content: bytes) -> Iterator[bytes]:
        """Yield whole lines, up to the first line that is not whole."""
        previous = 0
        for line in content.splitlines(keepends=True):
            checksum = self.check(line, previous)
            if checksum is None:
                return
            previous = checksum
            yield line

    def check(self, line: bytes, previous: int) -> int | None:
        """Return the line's checksum if the line is whole."""
        if not line.endswith(b"\n") or line[:8] != b"%08x" % crc32(line[8:-1], previous):
            return None
        return int(line[:8], 16)

    def after_failed_write(self, problem: OSError) -> None:
        raise AppendOutcomeUnknownError(store="mini", reason="a write failed") from problem

    # ── the rest ──

    def commit(self, groups: Sequence[Sequence[StreamWrite]], /) -> Sequence[AppendResult | Exception]:
        with self.failing_as_unavailable(), self.locked():
            self.recover()
            events = self.events()
            appends: list[list[dict[str, Any]]] = []
            outcomes: list[AppendResult | Exception] = []
            for writes in groups:
                new = [_to_json(event) for append in appends for event in append]
                outcomes.append(self.decide(writes, [*events, *map(_from_json, new)], appends))
            if appends:
                content = self.visible()
                lines = list(self.good_lines(content))
                previous = int(lines[-1][:8], 16) if lines else 0
                self.mark()
                self.append(self.make_lines(appends, previous), len(content))
            return outcomes

    def append(self, lines: Sequence[bytes], offset: int) -> None:
        file = self.fs.open(LINES, "write")
        try:
            self.write_lines(file, lines, offset)
            self.sync_lines(file)
            self.write_state(State(offset + sum(map(len, lines)), dirty=False))
        except OSError as problem:
            self.after_failed_write(problem)

    def decide(
        self, writes: Sequence[StreamWrite], events: Sequence[RecordedEvent], appends: list[list[dict[str, Any]]]
    ) -> AppendResult | Exception:
        def find(stream: StreamId, ids: Sequence[UUID]) -> list[RecordedEvent]:
            return [event for event in events if event.stream == stream and event.event_id in set(ids)]

        def version(stream: StreamId) -> int:
            return sum(event.stream == stream for event in events)

        try:
            earlier = find_earlier_append(writes, find)
            if earlier is not None:
                return earlier
            check_versions(writes, version)
        except ConcurrencyError as conflict:
            return conflict
        position, added = len(events), list[dict[str, Any]]()
        for write in writes:
            for number, event in enumerate(write.events, write.expected_version + 1):
                position += 1
                added.append({
                    "stream": write.stream.text, "version": number, "position": position, "id": str(event.event_id),
                    "type": event.event_type, "at": event.recorded_at.isoformat(), "data": event.data.decode(),
                })  # fmt: skip
        appends.append(added)
        return AppendResult(position, {write.stream: write.expected_version + len(write.events) for write in writes})

    def events(self) -> list[RecordedEvent]:
        return [_from_json(event) for line in self.good_lines(self.visible()) for event in json.loads(line[8:], strict=False)]

    def read_all(self, *, after: int, limit: int) -> FeedPage:
        with self.failing_as_unavailable():
            events = [event for event in self.events() if event.position > after]
            return FeedPage(events[:limit], events[-1].position if events else after, is_end=len(events) <= limit)

    def read_stream(self, stream: StreamId, /, *, after: int = 0, limit: int) -> StreamPage:
        with self.failing_as_unavailable():
            events = [event for event in self.events() if event.stream == stream]
            return StreamPage(events[after : after + limit], len(events), is_end=len(events) <= after + limit)

    def find_events(self, stream: StreamId, event_ids: Sequence[UUID], /) -> Sequence[RecordedEvent]:
        with self.failing_as_unavailable():
            return [event for event in self.events() if event.stream == stream and event.event_id in set(event_ids)]

    def streams(self, prefix: str, /, *, after: StreamId | None = None, limit: int) -> StreamsPage:
        with self.failing_as_unavailable():
            versions = {event.stream: event.version for event in self.events()}
            heads = [StreamHead(stream, versions[stream]) for stream in sorted(versions) if stream.text.startswith(prefix)]
            return StreamsPage([head for head in heads if after is None or head.stream > after][:limit], is_end=len(heads) <= limit)

    def tidy(self) -> None:
        """No-op."""

    def close(self) -> None:
        self.lock.close()

    def read_file(self) -> bytes:
        file = self.fs.open(LINES, "read")
        return file.read(file.size(), 0)

    def read_state(self) -> State | None:
        content = self.lock.read(40, 0)
        fields = content[:-8].split()
        if len(fields) != 2 or content[-8:] != b"%08x" % crc32(content[:-8]):
            return None
        return State(int(fields[0]), dirty=fields[1] == b"1")

    def read_state_or_nothing(self) -> State:
        return self.read_state() or State(0, dirty=True)

    def write_state(self, state: State) -> None:
        content = b"%020d %d " % state
        self.lock.write(b"%b%08x" % (content, crc32(content)), 0)

    @contextmanager
    def locked(self) -> Iterator[None]:
        self.lock.acquire(timeout=1)
        try:
            yield
        finally:
            self.lock.release()

    @contextmanager
    def failing_as_unavailable(self) -> Iterator[None]:
        try:
            yield
        except OSError as problem:
            raise StoreUnavailableError(store="mini", reason=problem.strerror or "") from problem


def _to_json(event: dict[str, Any]) -> dict[str, Any]:
    return event


def _from_json(event: dict[str, Any]) -> RecordedEvent:
    return RecordedEvent(
        StreamId.parse(event["stream"]), event["version"], event["position"], UUID(event["id"]), event["type"], 1,
        datetime.fromisoformat(event["at"]), event["data"].encode(), b"{}",
    )  # fmt: skip
