"""The dead letters of one group of a file bus: a journal of what became of them, durable line by line.

    {"entry":1,"kind":"dead","number":17,"reason":"…","deliveries":5,"since":"…Z","event":{…}…
    {"entry":2,"kind":"redelivered","numbers":[17]…
    {"entry":3,"kind":"done","number":17…

Any process may read it and ask for a redelivery; the one that has the group's consumers follows it and delivers.
"""

from collections.abc import Collection
from datetime import datetime
from typing import assert_never
from uuid import UUID

import msgspec

from inventory_es.adapters.file.bus.line import encode_published
from inventory_es.adapters.file.journal.journal import Journal
from inventory_es.adapters.file.journal.stored_form import JournalTail
from inventory_es.adapters.file.locks import LOCK_TIMEOUT
from inventory_es.adapters.file.stored_event import StoredEvent, check_events
from inventory_es.ports.event_bus import DeadLetter
from inventory_es.ports.file_system import FileSystem
from inventory_es.ports.records import RecordedEvent

_SEGMENT_BYTES = 8 << 20


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


_decoder: msgspec.json.Decoder[_Dead | _Redelivered | _Done] = msgspec.json.Decoder(_Dead | _Redelivered | _Done)


class BusDeadLetters:
    """The journal of one group's dead letters, and what it says so far. One thread at a time.

    Attributes:
        letters: by number, the oldest first.
        revived: events that are to be delivered again, by number, until they are done or dead again.
    """

    def __init__(self, file_system: FileSystem, directory: str, *, seed: int, name: str, lock_timeout: float = LOCK_TIMEOUT) -> None:
        self._journal = Journal(
            file_system,
            directory,
            f"{directory}/.lock",
            seed=seed,
            segment_bytes=_SEGMENT_BYTES,
            last_position=_entry_of,
            name=name,
            lock_timeout=lock_timeout,
        )
        self.letters: dict[int, DeadLetter] = {}
        self.revived: dict[int, RecordedEvent] = {}
        with self._journal.exclusive(check_all=True) as tail:
            self._tail = self._journal.start
            self._follow(tail)

    def knows(self, number: int) -> bool:
        """Whether this event is a dead letter, or is to be delivered again after it was one."""
        return number in self.letters or number in self.revived

    def follow(self) -> None:
        """Read what other processes wrote."""
        tail = self._journal.tail()
        if tail.position > self._tail.position:
            self._follow(tail)

    def bury(self, number: int, letter: DeadLetter) -> None:
        """An event became a dead letter."""
        event = msgspec.Raw(encode_published(letter.event))
        with self._journal.exclusive() as tail:
            self._append(tail, _Dead(self._next(tail), number, letter.reason, letter.deliveries, letter.since, event))

    def redeliver(self, event_ids: Collection[UUID]) -> int:
        """Dead letters with these event ids are to be delivered again; how many there were."""
        with self._journal.exclusive() as tail:
            entry = self._next(tail)
            numbers = [number for number, letter in self.letters.items() if letter.event.event_id in event_ids]
            if numbers:
                self._append(tail, _Redelivered(entry, numbers))
        return len(numbers)

    def done(self, number: int) -> None:
        """An event that was delivered again was acknowledged."""
        with self._journal.exclusive() as tail:
            self._append(tail, _Done(self._next(tail), number))

    def close(self) -> None:
        """Release every handle."""
        self._journal.close()

    def _next(self, tail: JournalTail) -> int:
        """The next entry, after all that others wrote was read."""
        self._follow(tail)
        return tail.position + 1

    def _append(self, tail: JournalTail, content: _Dead | _Redelivered | _Done) -> None:
        self._tail = self._journal.append(tail, msgspec.json.encode(content)[:-1], position=content.entry)
        self._note(content)

    def _follow(self, end: JournalTail) -> None:
        for segment, line in self._journal.lines(self._tail, end):
            try:
                self._note(_decoder.decode(line.data))
            except ValueError:
                self._journal.refuse(segment, line.offset, "a line has a good checksum and tells of no dead letter")
        self._tail = end

    def _note(self, content: _Dead | _Redelivered | _Done) -> None:
        match content:
            case _Dead():
                (fields,) = check_events([bytes(content.event)])
                self.revived.pop(content.number, None)
                self.letters[content.number] = DeadLetter(StoredEvent(fields), content.reason, content.deliveries, content.since)
            case _Redelivered():
                self.revived.update((number, self.letters.pop(number).event) for number in content.numbers if number in self.letters)
            case _Done():
                self.revived.pop(content.number, None)
                self.letters.pop(content.number, None)
            case _:
                assert_never(content)


def _entry_of(line: bytes) -> int:
    return _decoder.decode(line).entry
