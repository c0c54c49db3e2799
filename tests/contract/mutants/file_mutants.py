"""File stores without one step of their crash safety: the production store runs with that step broken."""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import attrs

from inventory_es.adapters.file.journal import journal, stored_form
from inventory_es.adapters.file.journal.journal import Journal, UncertainWriteError
from inventory_es.adapters.file.journal.recovery import JournalRecovery
from inventory_es.adapters.file.journal.segments import JournalSegments
from inventory_es.adapters.file.journal.stored_form import JournalState, JournalTail, encode_state, write_state
from inventory_es.adapters.file.store.file_store import FileStore
from inventory_es.ports.errors import CorruptStoreError
from inventory_es.ports.file_system import FileSystem
from inventory_es.testing.crash.explorer import CrashModel
from inventory_es.testing.crash.subject import Subject
from inventory_es.testing.crash.world import SEGMENT_BYTES, Program

Patches = Callable[[], AbstractContextManager[Any]]


class Altered:
    """A file system, or a file of it, with some calls replaced."""

    def __init__(self, inner: Any, changes: dict[str, Callable[..., Any]], *, only: str = "") -> None:
        self._inner = inner
        self._changes = changes
        self._only = only

    def __getattr__(self, name: str) -> Any:
        inner = getattr(self._inner, name)
        change = self._changes.get(name)
        return inner if change is None else lambda *args: change(inner, *args)

    def open(self, path: str, mode: Any) -> Any:
        file = self._inner.open(path, mode)
        return Altered(file, self._changes) if self._only in path else file


def nothing(*_: object) -> None:
    """Skip a call."""


def twice(call: Callable[..., Any], *args: object) -> None:
    """Repeat a call when it fails."""
    try:
        call(*args)
    except OSError:
        call(*args)


def unheard(call: Callable[..., Any], *args: object) -> None:
    """Make a call, and hide its failure."""
    try:
        call(*args)
    except OSError:
        return


CRASHES: Mapping[str, Collection[CrashModel]] = {
    "power cut": ("prefix", "blocks"),
    "kill+power": ("kill", "kill+power"),
    "failed sync": ("failed sync", "prefix"),
}
"""The kinds of crash, and the models of the explorer that try them."""


@attrs.frozen
class FileMutant:
    """One broken file store.

    Attributes:
        name: the name of the mutant.
        promise_id: the kind of crash that must reject it: ``power cut``, ``kill+power`` or ``failed sync``.
        fault: the mistake, in one sentence.
        program: the operations under which it shows.
        patches: breaks the production code while open.
        changes: breaks calls to the file system, by name.
        only: a part of the paths of the files that are concerned.
    """

    name: str
    promise_id: str
    fault: str
    program: Program
    patches: Patches = attrs.field(default=ExitStack, kw_only=True)
    changes: dict[str, Callable[..., Any]] = attrs.field(factory=dict, kw_only=True)
    only: str = attrs.field(default="", kw_only=True)
    port: str = "File recovery"

    def subject(self) -> Subject:
        """Return the broken store, to be crashed."""
        return Subject(self._open)

    def _open(self, file_system: FileSystem) -> FileStore:
        altered: Any = Altered(file_system, self.changes, only=self.only) if self.changes else file_system
        return FileStore.open("/stock", creation_id="1", file_system=altered, segment_bytes=SEGMENT_BYTES)


@contextmanager
def recovery_with(changes: dict[str, Callable[..., Any]]) -> Iterator[None]:
    """Make these calls differently during recovery alone."""
    run = JournalRecovery.run

    def run_altered(self: JournalRecovery, state: JournalState | None) -> Any:
        inner: Any = self.file_system
        self.file_system = Altered(inner, changes)
        self.segments = JournalSegments(self.file_system, self.segments.directory, name=self.name)
        return run(self, state)

    with patch.object(JournalRecovery, "run", run_altered):
        yield


def publishes_early() -> AbstractContextManager[Any]:
    """Move the synced place before the sync."""

    def append(self: Any, tail: JournalTail, body: bytes, *, position: int) -> JournalTail:
        line, checksum = stored_form.seal(body, previous=tail.checksum, seed=self._seed)
        segment, offset = tail.segment, tail.offset
        if offset >= self._segment_bytes:
            segment, offset = tail.position + 1, 0
        write_state(self._lock, tail, dirty=True)
        file = self._begin(segment) if offset == 0 else self._opened(segment)
        written = JournalTail(segment, offset + len(line), checksum, position)
        try:
            file.write(line, offset)
            self._lock.write(encode_state(written, dirty=False), 0)
            file.sync()
        except OSError as problem:
            self._forget_writer()
            raise UncertainWriteError from problem
        return written

    return patch.object(Journal, "append", append)


def believes_every_line() -> AbstractContextManager[Any]:
    """Compare no checksums of lines."""

    def check(line: bytes, *, seed: int) -> tuple[int, int] | None:
        return stored_form.read_trailer(line[-stored_form.TRAILER_SIZE :])

    return patch.object(stored_form, "check", check)


def never_dirty() -> AbstractContextManager[Any]:
    """Leave the lock file unmarked before writing, and compare no lengths."""

    def settled(self: Any, state: JournalState, *, check_all: bool) -> bool:
        return not state.dirty

    stack = ExitStack()
    stack.enter_context(patch.object(journal, "encode_state", lambda tail, *, dirty: encode_state(tail, dirty=False)))
    stack.enter_context(patch.object(Journal, "_is_settled", settled))
    return stack


def reads_to_the_end() -> AbstractContextManager[Any]:
    """Let readers take every whole line of the file."""
    tail = Journal.tail

    def tail_of_file(self: Any) -> JournalTail:
        known = tail(self)
        try:
            file = self.segments.open(known.segment)
        except CorruptStoreError:
            return known
        for line in stored_form.read_lines(file, start=known.offset, end=file.size(), seed=self._seed):
            if line.chain is not None:
                known = JournalTail(known.segment, line.end, line.chain[1], self._last_position(line.data))
        return known

    return patch.object(Journal, "tail", tail_of_file)


FILE_MUTANTS = (
    FileMutant(
        "SyncsNoLines", "power cut", "Does not sync the line that it acknowledges.", ("append",), changes={"sync": nothing}, only="journal"
    ),
    FileMutant(
        "SyncsNoEntries", "power cut", "Does not sync the directory of a new segment.", ("rotate",), changes={"sync_directory": nothing}
    ),
    FileMutant(
        "SyncsAgain",
        "failed sync",
        "Tries a failed sync again and believes the second answer.",
        ("append",),
        changes={"sync": twice},
        only="journal",
    ),
    FileMutant(
        "HearsNoSyncErrors", "failed sync", "Swallows the error of a failed sync.", ("append",), changes={"sync": unheard}, only="journal"
    ),
    FileMutant("PublishesEarly", "power cut", "Shows a line to readers before it is synced.", ("append",), patches=publishes_early),
    FileMutant("ReadsToTheEnd", "power cut", "Readers go past the synced place.", ("append",), patches=reads_to_the_end),
    FileMutant("BelievesEveryLine", "power cut", "Recovery does not compare checksums.", ("append",), patches=believes_every_line),
    FileMutant(
        "RecoversWithoutSync",
        "kill+power",
        "Recovery does not sync what it shows from then on.",
        ("append",),
        patches=lambda: recovery_with({"sync": nothing}),
    ),
    FileMutant(
        "RecoversWithoutRewrite",
        "failed sync",
        "Recovery does not write the last line again before it syncs.",
        ("append",),
        patches=lambda: recovery_with({"write": nothing}),
    ),
    FileMutant(
        "NeverDirty", "power cut", "Leaves no mark before it writes, so nobody recovers after it.", ("append",), patches=never_dirty
    ),
)
