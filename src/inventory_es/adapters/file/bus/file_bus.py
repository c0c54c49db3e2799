"""The file bus without threads and without an event loop.

How it is laid out
    ``journal/``                published events, in the journal that the file store has too (see :mod:`.journal.journal`)
    ``groups/<hash>/``          one group: ``cursor.a`` and ``cursor.b`` (see :mod:`.cursor`), ``dead/`` (its dead letters), ``owner``

A group is consumed by one process at a time: the one that holds the lock on ``owner``. Everything else any process may do at any time.
"""

import os
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from hashlib import blake2b
from threading import Lock
from typing import ParamSpec, Self, TypeVar
from uuid import UUID
from zlib import crc32

import attrs

from inventory_es.adapters.file.bus.cursor import BusCursor
from inventory_es.adapters.file.bus.dead_letters import BusDeadLetters
from inventory_es.adapters.file.bus.group import BusConsumer, FileBusGroup, GroupLimits
from inventory_es.adapters.file.bus.line import encode_lines, encode_published, last_number
from inventory_es.adapters.file.folder import FolderFormat
from inventory_es.adapters.file.journal.journal import Journal, UncertainWriteError
from inventory_es.adapters.file.locks import LOCK_TIMEOUT, LockWait
from inventory_es.ports.errors import EventBusUnavailableError, StoreClosedError
from inventory_es.ports.event_bus import DeadLetter
from inventory_es.ports.file_system import File, FileSystem, LockFile
from inventory_es.ports.records import RecordedEvent
from inventory_es.ports.toolkit.delivery_rules import GroupFilter
from inventory_es.ports.toolkit.paths import AnyPath, absolute_path
from inventory_es.ports.toolkit.remedy import reason_of, remedy_of

P = ParamSpec("P")
T = TypeVar("T")
FORMAT = FolderFormat("inventory_es.file_event_bus", 1, "file event bus", ("journal", "groups"))


@attrs.frozen(eq=False)
class _Owned:
    group: FileBusGroup
    owner: LockFile


class FileBus:
    """One open handle on a bus folder. Any number of threads may call at once, but for :meth:`close`.

    Every method but :meth:`close` may raise ``EventBusUnavailableError``, ``StoreClosedError`` and ``CorruptStoreError``.
    """

    def __init__(
        self,
        path: str,
        file_system: FileSystem,
        limits: GroupLimits,
        *,
        creation_id: str,
        segment_bytes: int,
        lock_timeout: float = LOCK_TIMEOUT,
    ) -> None:
        folder = file_system.resolve(path)
        self.name: str = f"file event bus {path}"
        self._fs = file_system
        self._groups = f"{folder}/groups"
        self._creation_id = creation_id
        self._limits = limits
        self._lock_timeout = lock_timeout
        self._process = os.getpid()
        self._mutexes: dict[str, Lock] = {}
        self._owned: dict[str, _Owned] = {}
        self._journal = Journal(
            file_system,
            f"{folder}/journal",
            f"{path}/.lock",
            seed=crc32(creation_id.encode()),
            segment_bytes=segment_bytes,
            last_position=last_number,
            name=self.name,
            lock_timeout=lock_timeout,
        )

    @classmethod
    def open(
        cls,
        folder: AnyPath,
        *,
        file_system: FileSystem,
        creation_id: str,
        limits: GroupLimits,
        segment_bytes: int,
        lock_timeout: float = LOCK_TIMEOUT,
    ) -> Self:
        """Open a bus, or make one in an empty or missing folder. Recovers first where it is due.

        Raises:
            IncompatibleStoreError: the folder holds something else. Nothing was changed.
            EventBusUnavailableError: the file system refused something, or another process kept a lock.
            CorruptStoreError: what is stored contradicts itself.
        """
        path = absolute_path(folder)
        with _unavailable(f"file event bus {path}"):
            found_id = FORMAT.open(file_system, file_system.resolve(path), creation_id=creation_id, lock_timeout=lock_timeout)
            engine = cls(path, file_system, limits, creation_id=found_id, segment_bytes=segment_bytes, lock_timeout=lock_timeout)
            with engine._journal.exclusive(check_all=True):
                return engine

    def publish(self, events: Sequence[RecordedEvent]) -> None:
        """Write events to the journal, durably."""
        stored = [encode_published(event) for event in events]
        with self._serving(), self._journal.exclusive() as tail:
            for body, last in encode_lines(stored, first=tail.position + 1):
                tail = self._journal.append(tail, body, position=last)  # noqa: PLW2901 - each line begins where the one before ended

    def join(self, name: str, wanted: GroupFilter) -> tuple[FileBusGroup, BusConsumer]:
        """One consumer more in a group, which this process takes over if it has none in it yet.

        Raises:
            ValueError: the group has consumers with another filter.
        """
        with self._serving(), self._wait(name).in_turn(self._mutex(name)):
            owned = self._owned.get(name)
            if owned is None:
                owned = self._owned[name] = self._take_over(name, wanted)
            elif owned.group.filter != wanted:
                msg = f"group {name!r} has consumers with another filter: a group has one filter, name another group"
                raise ValueError(msg)
            return owned.group, owned.group.join()

    def leave(self, name: str, consumer: BusConsumer, now: datetime) -> None:
        """One consumer less. With the last one, another process may have the group."""
        with self._serving(), self._mutex(name):
            owned = self._owned.get(name)
            if owned is not None:
                try:
                    owned.group.leave(consumer, now)
                finally:
                    if not owned.group.has_consumers:
                        self._release(name)

    def dead_letters(self, name: str, *, limit: int) -> list[DeadLetter]:
        """The oldest dead letters of a group."""
        with self._serving(), self._wait(name).in_turn(self._mutex(name)):
            owned = self._owned.get(name)
            if owned is not None:
                return owned.group.dead_letters()[:limit]
            with self._letters(name) as letters:
                return [] if letters is None else list(letters.letters.values())[:limit]

    def redeliver(self, name: str, event_ids: Collection[UUID]) -> int:
        """Have dead letters delivered again, by whatever process has the group's consumers; how many there were."""
        with self._serving(), self._wait(name).in_turn(self._mutex(name)):
            owned = self._owned.get(name)
            if owned is not None:
                return owned.group.redeliver(event_ids)
            with self._letters(name) as letters:
                return 0 if letters is None else letters.redeliver(event_ids)

    def close(self) -> None:
        """Release every group and every handle. After a fork they are the parent's: nothing is done."""
        if os.getpid() != self._process:
            return
        with _unavailable(self.name):
            try:
                for name in tuple(self._owned):
                    self._release(name)
            finally:
                self._journal.close()

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a method of a group, with the errors of the port."""
        with self._serving():
            return function(*args, **kwargs)

    def _mutex(self, name: str) -> Lock:
        """Who holds it uses the group, and may wait for its lock: no other group waits with it."""
        return self._mutexes.setdefault(name, Lock())

    def _wait(self, name: str) -> LockWait:
        return LockWait(f"{self._directory(name)}/dead/.lock", self._lock_timeout)

    def _directory(self, name: str) -> str:
        return f"{self._groups}/{blake2b(name.encode(), digest_size=16).hexdigest()}"

    def _take_over(self, name: str, wanted: GroupFilter) -> _Owned:
        directory = self._directory(name)
        self._make(self._groups, directory)
        self._make(directory, f"{directory}/dead")
        owner = self._fs.open_lock(f"{directory}/owner")
        with _closing_on_error(owner):
            self._own(owner, name)
            letters = self._open_letters(name)
            with _closing_on_error(letters):
                group = FileBusGroup(self._journal, BusCursor(self._fs, directory), letters, wanted, self._limits, self._wait(name))
        return _Owned(group, owner)

    def _own(self, owner: LockFile, name: str) -> None:
        if not owner.acquire(timeout=0):
            reason = f"another process has the consumers of group {name!r}, or another handle of this one"
            raise EventBusUnavailableError(bus=self.name, reason=reason)

    def _make(self, parent: str, directory: str) -> None:
        if not self._fs.exists(directory):
            with suppress(FileExistsError):  # another process is making it too
                self._fs.make_directory(directory)
        self._fs.sync_directory(parent)

    def _release(self, name: str) -> None:
        owned = self._owned.pop(name)
        try:
            owned.group.close()
        finally:
            owned.owner.close()

    def _open_letters(self, name: str) -> BusDeadLetters:
        seed = crc32(f"{self._creation_id} {name}".encode())
        letters = f"{self.name}, dead letters of group {name!r}"
        return BusDeadLetters(self._fs, f"{self._directory(name)}/dead", seed=seed, name=letters, lock_timeout=self._lock_timeout)

    @contextmanager
    def _letters(self, name: str) -> Generator[BusDeadLetters | None, None, None]:
        """The dead letters of a group that this process has not; ``None`` where there is no such group."""
        if not self._fs.exists(f"{self._directory(name)}/dead"):
            yield None
            return
        letters = self._open_letters(name)
        try:
            yield letters
        finally:
            letters.close()

    @contextmanager
    def _serving(self) -> Generator[None, None, None]:
        if os.getpid() != self._process:
            raise StoreClosedError(store=self.name, reason="it was inherited by fork")
        with _unavailable(self.name):
            self._journal.check_place()
            yield


@contextmanager
def _closing_on_error(resource: File | BusDeadLetters) -> Generator[None, None, None]:
    try:
        yield
    except BaseException:
        resource.close()
        raise


@contextmanager
def _unavailable(bus: str) -> Generator[None, None, None]:
    try:
        yield
    except OSError as problem:
        raise EventBusUnavailableError(bus=bus, reason=reason_of(problem), remedy=remedy_of(problem)) from problem
    except UncertainWriteError as problem:
        reason = "the file system refused, perhaps after it had written"
        raise EventBusUnavailableError(bus=bus, reason=reason, remedy=remedy_of(problem.__cause__)) from problem
