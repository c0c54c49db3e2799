"""The stored form of a file bus.

A line of the journal holds published events, numbered in the order of publication. Each event has the stored form that it has in a
file store. The number is the bus's own: one event published twice has two::

    {"first":17,"events":[{…},{…}]…

A group's cursor is two small files, of which one is always durable. It changes with every delivery and every answer, far too often to
sync each time. So it is written in place into the *working* file, which survives the process, and synced after some hundred writes.
Then the two files change roles: the durable one is left alone until the other one is durable too. A power cut takes back at most the
answers since; those events are delivered again.

A group's dead letters are a journal of their own, durable line by line. Any process may read it and ask for a redelivery; the one that
has the group's consumers follows it and delivers::

    {"kind":"dead","entry":1,"number":17,"reason":"…","deliveries":5,"since":"…Z","event":{…}…
    {"kind":"redelivered","entry":2,"numbers":[17]…
    {"kind":"done","entry":3,"number":17…
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, suppress
from datetime import datetime
from typing import Annotated
from uuid import UUID
from zlib import crc32

import attrs
import msgspec

from inventory_es.adapters.file.journal.journal import Journal
from inventory_es.adapters.file.journal.stored_form import JournalTail
from inventory_es.adapters.file.stored_event import StoredEvent, check_events, encode_event, encode_text
from inventory_es.ports.event_bus import DeadLetter
from inventory_es.ports.file_system import File, FileSystem
from inventory_es.ports.records import RecordedEvent

MAX_LINE_EVENTS = 1_000
MAX_LINE_BYTES = 8 << 20
_WRITES_BETWEEN_SYNCS = 256
_MAX_CURSOR_BYTES = 1 << 20
_LETTER_SEGMENT_BYTES = 8 << 20


class _Line(msgspec.Struct, gc=False):
    first: int
    events: Annotated[list[msgspec.Raw], msgspec.Meta(min_length=1)]


_decode_published = msgspec.json.Decoder(_Line).decode


def encode_published(event: RecordedEvent) -> bytes:
    """Return the stored form of an event.

    Raises:
        ValueError: it would come back as another one; above all, data or metadata is not one JSON object without line breaks.
    """
    stored = encode_event(event, encode_text(event.stream.text), event.version, event.position)
    if b"\n" not in stored:
        with suppress(msgspec.DecodeError, UnicodeDecodeError):
            (fields,) = check_events([stored])
            if StoredEvent(fields) == event:
                return stored
    rule = "data and metadata are one JSON object each, without line breaks, and the time is in UTC"
    msg = f"event {event.version} of {event.stream} can't be published: {rule}"
    raise ValueError(msg)


def encode_lines(stored: Sequence[bytes], *, first: int) -> Iterator[tuple[bytes, int]]:
    """Yield the lines of these stored forms, without their trailers, each with the number of its last event; ``first`` is the first's."""
    start = 0
    while start < len(stored):
        end, size = start, 0
        while end < len(stored) and end - start < MAX_LINE_EVENTS and (end == start or size + len(stored[end]) <= MAX_LINE_BYTES):
            size += len(stored[end])
            end += 1
        yield b'{"first":%d,"events":[%b]' % (first + start, b",".join(stored[start:end])), first + end - 1
        start = end


def decode_line(line: bytes) -> list[tuple[int, StoredEvent]]:
    """Return the events of a good line, with their numbers.

    Raises:
        ValueError: not a line of published events.
    """
    content = _decode_published(line)
    events = check_events([bytes(raw) for raw in content.events])
    return [(number, StoredEvent(fields)) for number, fields in enumerate(events, content.first)]


def last_number(line: bytes) -> int:
    """Return the number of a good line's last event; raises as :func:`decode_line`."""
    content = _decode_published(line)
    return content.first + len(content.events) - 1


@attrs.frozen
class CursorState:
    """The answers and the deliveries of a group.

    Attributes:
        place: in the journal of published events, after lines of which everything is answered.
        through: events up to this number are answered, except those in ``open``; events after it were never delivered.
        open: the number of each event up to ``through`` that is not answered, and how often it was delivered.
        revived: the number of each dead letter that is delivered again, and how often it was since.
    """

    place: JournalTail
    through: int
    open: dict[int, int]
    revived: dict[int, int] = attrs.field(factory=dict[int, int])


class _Content(msgspec.Struct):
    writes: int
    place: tuple[int, int, int, int]
    through: int
    open: dict[int, int]
    revived: dict[int, int] = {}


class BusCursor:
    """The two cursor files in a group's directory. One process at a time uses them."""

    def __init__(self, file_system: FileSystem, directory: str) -> None:
        paths = [f"{directory}/cursor.{name}" for name in "ab"]
        is_new = not all(map(file_system.exists, paths))
        self._files = [file_system.open(path, "write" if file_system.exists(path) else "create") for path in paths]
        if is_new:
            file_system.sync_directory(directory)
        contents = [_read_cursor(file) for file in self._files]
        self._writes = max((content.writes for content in contents if content is not None), default=0)
        newest = next((content for content in contents if content is not None and content.writes == self._writes), None)
        self._working = int(newest is not None and newest is contents[0])
        self._since_sync = 0
        self.state = None if newest is None else CursorState(JournalTail(*newest.place), newest.through, newest.open, newest.revived)
        if newest is not None:
            self._files[1 - self._working].sync()

    def save(self, state: CursorState) -> None:
        """Write a new state; durable after one of the next hundreds of writes."""
        self._writes += 1
        body = msgspec.json.encode(_Content(self._writes, attrs.astuple(state.place), state.through, state.open, state.revived))
        self._files[self._working].write(b"%08x %b\n" % (crc32(body), body), 0)
        self.state = state
        self._since_sync += 1
        if self._since_sync >= _WRITES_BETWEEN_SYNCS:
            self.settle()

    def settle(self) -> None:
        """Make the last state durable."""
        if self._since_sync:
            self._since_sync = 0  # after a failed sync the next write comes first: it writes everything again
            self._files[self._working].sync()
            self._working = 1 - self._working

    def close(self) -> None:
        """Release the files, synced or not."""
        for file in self._files:
            file.close()


def read_cursor(file_system: FileSystem, directory: str) -> CursorState | None:
    """Return the newest state in a group's directory, which any process may read; ``None`` for none."""
    found: list[_Content] = []
    for name in "ab":
        with suppress(FileNotFoundError), closing(file_system.open(f"{directory}/cursor.{name}", "read")) as file:
            found += filter(None, [_read_cursor(file)])
    newest = max(found, key=lambda content: content.writes, default=None)
    return None if newest is None else CursorState(JournalTail(*newest.place), newest.through, newest.open, newest.revived)


def _read_cursor(file: File) -> _Content | None:
    line, end, _ = file.read(_MAX_CURSOR_BYTES, 0).partition(b"\n")
    checksum, _, body = line.partition(b" ")
    if not end or checksum != b"%08x" % crc32(body):
        return None
    try:
        return msgspec.json.decode(body, type=_Content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


class _Dead(msgspec.Struct, tag_field="kind", tag="dead", gc=False):
    entry: int
    number: int
    reason: str
    deliveries: int
    since: datetime
    event: msgspec.Raw


class _Redelivered(msgspec.Struct, tag_field="kind", tag="redelivered", gc=False):
    entry: int
    numbers: list[int]


class _Done(msgspec.Struct, tag_field="kind", tag="done", gc=False):
    entry: int
    number: int


_Entry = _Dead | _Redelivered | _Done
_entries: msgspec.json.Decoder[_Entry] = msgspec.json.Decoder(_Entry)


class BusDeadLetters:
    """The journal of one group's dead letters, and its content so far. One thread at a time.

    Attributes:
        letters: by number, the oldest first.
        revived: events that are to be delivered again, by number, until they are done or dead again.
    """

    def __init__(self, file_system: FileSystem, directory: str, *, seed: int, name: str, lock_timeout: float) -> None:
        self._journal = Journal(
            file_system,
            directory,
            f"{directory}/.lock",
            seed=seed,
            segment_bytes=_LETTER_SEGMENT_BYTES,
            last_position=lambda line: _entries.decode(line).entry,
            name=name,
            lock_timeout=lock_timeout,
        )
        self.letters: dict[int, DeadLetter] = {}
        self.revived: dict[int, RecordedEvent] = {}
        self._tail = self._journal.start
        with self._journal.exclusive(check_all=True) as tail:
            self._follow(tail)

    def knows(self, number: int) -> bool:
        """Return True if this event is a dead letter, or is to be delivered again after it was one."""
        return number in self.letters or number in self.revived

    def follow(self) -> None:
        """Read the lines of other processes."""
        if (tail := self._journal.tail()).position > self._tail.position:
            self._follow(tail)

    def bury(self, number: int, letter: DeadLetter) -> None:
        """Make an event a dead letter."""
        event = msgspec.Raw(encode_published(letter.event))
        self._append(lambda entry: _Dead(entry, number, letter.reason, letter.deliveries, letter.since, event))

    def redeliver(self, event_ids: Collection[UUID]) -> int:
        """Have dead letters with these event ids delivered again; return how many there were."""
        numbers: list[int] = []

        def found(entry: int) -> _Redelivered | None:
            numbers.extend(number for number, letter in self.letters.items() if letter.event.event_id in event_ids)
            return _Redelivered(entry, numbers) if numbers else None

        self._append(found)
        return len(numbers)

    def done(self, number: int) -> None:
        """Forget an event that was delivered again and acknowledged."""
        self._append(lambda entry: _Done(entry, number))

    def close(self) -> None:
        """Release every handle."""
        self._journal.close()

    def _append(self, make: Callable[[int], _Entry | None]) -> None:
        """Write the entry that ``make`` returns for its number, after the lines of other processes were read."""
        try:
            with self._journal.exclusive() as tail:
                self._follow(tail)
                entry = make(tail.position + 1)
                if entry is not None:
                    end = self._journal.append(tail, msgspec.json.encode(entry)[:-1], position=entry.entry)
                    self._note(entry)
                    self._tail = end  # comes last: after a signal before it, the next call reads the line
        except BaseException:  # of a signal too
            self._journal.let_go()
            raise

    def _follow(self, end: JournalTail) -> None:
        for segment, line in self._journal.lines(self._tail, end):
            try:
                self._note(_entries.decode(line.data))
            except ValueError:
                self._journal.refuse(segment, line.offset, "a line has a good checksum and tells of no dead letter")
        self._tail = end

    def _note(self, entry: _Entry) -> None:
        """Apply an entry. After a signal it may be applied twice, which changes nothing."""
        if isinstance(entry, _Redelivered):
            for number in self.letters.keys() & entry.numbers:
                self.revived[number] = self.letters[number].event
                del self.letters[number]
        elif isinstance(entry, _Dead):
            (fields,) = check_events([bytes(entry.event)])
            self.revived.pop(entry.number, None)
            self.letters[entry.number] = DeadLetter(StoredEvent(fields), entry.reason, entry.deliveries, entry.since)
        else:
            self.revived.pop(entry.number, None)
            self.letters.pop(entry.number, None)
