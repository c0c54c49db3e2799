"""Stores that are one edit away from surviving every crash, each with the promise that it breaks and the crash that shows it.

The tests of this folder use the data, and so does the table of all mutants of the kit.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import attrs

from inventory_es.adapters.file.store.file_store import FileStore
from inventory_es.ports.errors import StoreUnavailableError
from inventory_es.ports.file_system import File, FileSystem
from inventory_es.testing.crash.simfs import SimFS
from inventory_es.testing.crash.subject import SteppedStore
from tests.crash.mini_store import FOLDER, LINES, MiniStore, State


@attrs.frozen
class RecoveryMutant:
    """A broken store.

    Attributes:
        name: the name in the table.
        broken: the mistake, in a few words.
        promise: the part of the oracle that the store breaks.
        caught_by: the crash model (``kill``, ``kill+power``, ``prefix``, ``blocks``, ``failed sync``) or the failure of the error sweep
            (``EIO``, ``ENOSPC``, ``short write``) that must find the store.
        program: operations that lead to the mistake.
        open: opens the store.
    """

    name: str
    broken: str
    promise: str
    caught_by: str
    program: tuple[str, ...]
    open: Callable[[FileSystem], SteppedStore]


ACKNOWLEDGED = "every acknowledged append is there, in order"
WHOLE = "an unacknowledged append is wholly there or wholly absent"
NOTHING_ELSE = "nothing else is ever visible"
SHOWN = "what a reader was shown survives"
AFTERWARDS = "one more append after recovery, and a crash, keeps everything"
OPENS = "the store opens after every crash"
HONEST = "a failed operation is told, and told truly"


class NoSync(MiniStore):
    def sync_lines(self, file: File) -> None: ...


class SyncAfterAnswer(MiniStore):
    def sync_lines(self, file: File) -> None:
        self.owed: File = file

    def events(self) -> Any:
        if hasattr(self, "owed"):
            self.owed.sync()
        return super().events()


class NoFolderSync(MiniStore):
    def sync_folder(self) -> None: ...


class NoParentSync(MiniStore):
    def sync_parent(self) -> None: ...


class ParentSyncedByItsMakerOnly(MiniStore):
    def __init__(self, file_system: FileSystem) -> None:
        self.is_maker = not file_system.exists(FOLDER)
        super().__init__(file_system)

    def sync_parent(self) -> None:
        if self.is_maker:
            super().sync_parent()


class RetriesSync(MiniStore):
    def sync_lines(self, file: File) -> None:
        try:
            file.sync()
        except OSError:
            file.sync()


class TrustsTheCacheAfterAFailedSync(MiniStore):
    def write_again(self, file: File, line: bytes, offset: int) -> None: ...


class ShowsWhatIsNotDurable(MiniStore):
    def visible(self) -> bytes:
        self.read_state()
        return self.read_file()


class ShowsBeforeRecoveryIsDurable(MiniStore):
    def write_again(self, file: File, line: bytes, offset: int) -> None: ...

    def sync_recovered(self, file: File) -> None: ...


class SkipsBadLines(MiniStore):
    def good_lines(self, content: bytes) -> Iterator[bytes]:
        previous = 0
        for line in content.splitlines(keepends=True):
            checksum = self.check(line, previous)
            if checksum is not None:
                previous = checksum
                yield line

    def recover(self) -> None:
        if self.needs_recovery():
            self.write_state(State(len(self.read_file()), dirty=False))


class TakesALineWithoutItsEnd(MiniStore):
    def check(self, line: bytes, previous: int) -> int | None:
        return super().check(line if line.endswith(b"\n") else line + b"\n", previous)


class NoChecksum(MiniStore):
    def check(self, line: bytes, previous: int) -> int | None:
        try:
            json.loads(line[8:].decode("latin-1"), strict=False)
            return int(line[:8], 16) if line.endswith(b"\n") else None
        except ValueError:
            return None


class ChecksumOfTheLineAlone(MiniStore):
    """A store whose lines are not chained, so that an old block of the same file passes for a new line."""

    def seal(self, events: list[dict[str, Any]], previous: int) -> bytes:
        return super().seal(events, 0)

    def check(self, line: bytes, previous: int) -> int | None:
        return super().check(line, 0)


class LeavesTheTornTail(MiniStore):
    def cut(self, file: File, end: int) -> None: ...

    def append(self, lines: Sequence[bytes], offset: int) -> None:
        super().append(lines, max(offset, len(self.read_file())))


class NoMark(MiniStore):
    """A store that relies on the file's length alone, and reads it only on opening."""

    def mark(self) -> None: ...

    def needs_recovery(self) -> bool:
        state = self.read_state()
        return state is None or state.dirty


class OneLineForEachEvent(MiniStore):
    def make_lines(self, appends: Sequence[Sequence[dict[str, Any]]], previous: int) -> list[bytes]:
        lines: list[bytes] = []
        for append in appends:
            for event in append:
                lines.append(self.seal([event], previous))
                previous = int(lines[-1][:8], 16)
        return lines


class WritesTheFileAnew(MiniStore):
    def write_lines(self, file: File, lines: Sequence[bytes], offset: int) -> None:
        content = file.read(offset, 0)
        file.truncate(0)
        file.write(content + b"".join(lines), 0)


class RenamesBeforeItSyncs(MiniStore):
    def append(self, lines: Sequence[bytes], offset: int) -> None:
        draft = f"{LINES}.new"
        file = self.fs.open(draft, "create")
        file.write(self.read_file()[:offset] + b"".join(lines), 0)
        self.fs.rename(draft, LINES)
        self.fs.sync_directory(FOLDER)
        file.sync()
        self.write_state(State(offset + sum(map(len, lines)), dirty=False))


class ForgetsAFailedWrite(MiniStore):
    def after_failed_write(self, problem: OSError) -> None: ...


class CallsAnUnknownOutcomeAFailure(MiniStore):
    def after_failed_write(self, problem: OSError) -> None:
        raise StoreUnavailableError(store="mini", reason="a write failed") from problem


class LeaksDriverErrors(MiniStore):
    def after_failed_write(self, problem: OSError) -> None:
        raise RuntimeError from problem


class KeepsTheLockAfterAFailure(MiniStore):
    def after_failed_write(self, problem: OSError) -> None:
        self.lock = self.fs.open_lock(self.lock._path)  # type: ignore[attr-defined]  # a handle that nobody closes keeps its lock
        super().after_failed_write(problem)


class LyingDisk(SimFS):
    """A file system where one kind of operation does nothing."""

    def __init__(self, honest: FileSystem) -> None:
        assert isinstance(honest, SimFS)
        super().__init__(honest.disk, faults=honest.faults, observer=honest.observer)


class NoDirectorySyncs(LyingDisk):
    def sync_directory(self, path: str) -> None: ...


def file_store(file_system: FileSystem, *, segment_bytes: int = 600) -> SteppedStore:
    """Open the shipped file event store."""
    return FileStore.open("/stock", creation_id="1", file_system=file_system, segment_bytes=segment_bytes)


MUTANTS = [
    RecoveryMutant("no sync", "an append is answered without a sync", ACKNOWLEDGED, "prefix", ("append",), NoSync),
    RecoveryMutant("late sync", "an append is answered before its sync", ACKNOWLEDGED, "prefix", ("append",), SyncAfterAnswer),
    RecoveryMutant("no folder sync", "the entry of a new file is not synced", ACKNOWLEDGED, "prefix", ("append",), NoFolderSync),
    RecoveryMutant("no parent sync", "the entry of the store's folder is not synced", ACKNOWLEDGED, "prefix", ("append",), NoParentSync),
    RecoveryMutant(
        "parent synced by its maker only",
        "a folder whose maker was killed is taken as durable",
        AFTERWARDS,
        "kill+power",
        (),
        ParentSyncedByItsMakerOnly,
    ),
    RecoveryMutant("retried sync", "a failed sync is tried again", ACKNOWLEDGED, "failed sync", ("append",), RetriesSync),
    RecoveryMutant(
        "trusted cache",
        "recovery syncs the last line without writing it again",
        ACKNOWLEDGED,
        "failed sync",
        ("append",),
        TrustsTheCacheAfterAFailedSync,
    ),
    RecoveryMutant("eager reader", "readers pass the synced place", SHOWN, "prefix", ("append",), ShowsWhatIsNotDurable),
    RecoveryMutant("hasty recovery", "recovery shows what it did not sync", SHOWN, "kill+power", ("append",), ShowsBeforeRecoveryIsDurable),
    RecoveryMutant("skipped bad lines", "bad lines are skipped", AFTERWARDS, "prefix", ("append",), SkipsBadLines),
    RecoveryMutant("no line break", "a last line without its end is taken", AFTERWARDS, "prefix", ("append",), TakesALineWithoutItsEnd),
    RecoveryMutant("no checksum", "a line is good if it parses", NOTHING_ELSE, "blocks", ("rotate",), NoChecksum),
    RecoveryMutant(
        "no chain", "a checksum covers its own line alone", NOTHING_ELSE, "blocks", ("append", "append"), ChecksumOfTheLineAlone
    ),
    RecoveryMutant("torn tail left", "recovery does not cut the torn tail off", AFTERWARDS, "kill", ("append",), LeavesTheTornTail),
    RecoveryMutant("no dirty mark", "a process that died while writing is not noticed", AFTERWARDS, "kill", ("append",), NoMark),
    RecoveryMutant("line per event", "an append of several events is several lines", WHOLE, "prefix", ("streams",), OneLineForEachEvent),
    RecoveryMutant(
        "file written anew", "an append rewrites the file in place", ACKNOWLEDGED, "prefix", ("append", "append"), WritesTheFileAnew
    ),
    RecoveryMutant(
        "rename before sync",
        "a new file takes the old one's name before it is synced",
        ACKNOWLEDGED,
        "prefix",
        ("append", "append"),
        RenamesBeforeItSyncs,
    ),
    RecoveryMutant("forgotten failure", "a failed write is answered as a success", HONEST, "short write", ("append",), ForgetsAFailedWrite),
    RecoveryMutant(
        "unknown as failed", "a failed sync is answered as nothing written", HONEST, "EIO", ("append",), CallsAnUnknownOutcomeAFailure
    ),
    RecoveryMutant("leaked error", "another error than the port's escapes", HONEST, "EIO", ("append",), LeaksDriverErrors),
    RecoveryMutant("kept lock", "the lock is not freed after a failure", HONEST, "EIO", ("append",), KeepsTheLockAfterAFailure),
    RecoveryMutant(
        "file store without directory syncs",
        "no directory is ever synced",
        ACKNOWLEDGED,
        "prefix",
        ("append",),
        lambda fs: file_store(NoDirectorySyncs(fs)),
    ),
]
