"""The folders of the file adapters: what stands where, and how an empty folder becomes a store, a bus or a cache.

``format.json`` is written last, so that no foreign file is ever touched. A folder without it is foreign, or its creation was cut
short before it held any event.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import NoReturn, Protocol, TypeVar
from zlib import crc32

import attrs
import msgspec

from inventory_es.adapters.file.locks import LOCK_TIMEOUT, LockWait
from inventory_es.ports.errors import CorruptStoreError, IncompatibleStoreError, StoreClosedError
from inventory_es.ports.file_system import File, FileSystem
from inventory_es.ports.toolkit.blocking_calls import run_in_thread
from inventory_es.ports.toolkit.remedy import no_folder

_FORMAT = "format.json"
_DRAFT = "format.json.draft"
_LOCK = ".lock"
_MAX_BYTES = 4_096


class _Closable(Protocol):
    async def aclose(self) -> None: ...


C = TypeVar("C")
A = TypeVar("A", bound=_Closable)


class _Format(msgspec.Struct):
    format: str
    version: int
    creation_id: str | None = None


@attrs.frozen
class FolderFormat:
    """One kind of folder.

    Attributes:
        name: stands in ``format.json``.
        version: of the layout, likewise.
        noun: for messages, such as ``file cache``.
        directories: the directories in it. As long as ``journal``, the first one, is empty, the folder holds nothing.
        foreign: the problem of a ``format.json`` of another kind, if it has one sentence.
        lost: the advice for a folder that lost its ``format.json``.
    """

    name: str
    version: int
    noun: str
    directories: tuple[str, ...]
    foreign: str = ""
    lost: str = f"bring {_FORMAT} back, or name another folder"

    def open(self, file_system: FileSystem, path: str, *, creation_id: str, lock_timeout: float = LOCK_TIMEOUT) -> str:
        """Open a folder of this kind, or make one of an empty or missing folder. Durable on return.

        Args:
            file_system: the file system that it is on.
            path: absolute, without a link; its parent exists.
            creation_id: for a new folder, unlike any other's.
            lock_timeout: the longest wait while another process makes it, in seconds.

        Returns:
            The creation id that is stored in it.

        Raises:
            IncompatibleStoreError: it holds something else, or another version. Nothing was changed.
            CorruptStoreError: the journal's folder is missing.
            OSError: as the file system raises it.
        """
        if not file_system.exists(path):
            _make_folder(file_system, path)
        names = set(file_system.list_directory(path))
        if _FORMAT not in names:
            if not names <= {_LOCK, _DRAFT, *self.directories}:
                self.refuse(path, f"the folder has other files and no {_FORMAT}: name an empty or a new folder")
            return self._create(file_system, path, creation_id, lock_timeout)
        found = self.read(file_system, path)
        if "journal" in self.directories and "journal" not in names:
            raise CorruptStoreError(store=f"{self.noun} {path}", place=f"{path}/journal", problem="the journal's folder is missing")
        for directory in self.directories:
            if directory not in names:
                with suppress(OSError):  # derived: made when it is written
                    file_system.make_directory(f"{path}/{directory}")
        if self.directories[0] == "journal":
            is_used = file_system.list_directory(f"{path}/journal")
            return found if is_used else self._create(file_system, path, found, lock_timeout)
        file_system.sync_directory(path)  # a cache takes no lock to open: its holder keeps no reader out
        file_system.sync_directory(path.rpartition("/")[0] or "/")
        return found

    def read(self, file_system: FileSystem, path: str) -> str:
        """Return the creation id in the folder's ``format.json``.

        Raises:
            IncompatibleStoreError: it is of another kind or version.
            OSError: as the file system raises it.
        """
        file = file_system.open(f"{path}/{_FORMAT}", "read")
        try:
            return self.read_file(file, path)
        finally:
            file.close()

    def read_file(self, file: File, path: str) -> str:
        """Return the creation id in an open ``format.json``; raises as :meth:`read`."""
        try:
            content = msgspec.json.decode(file.read(_MAX_BYTES, 0), type=_Format)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self.refuse(path, self.foreign or f"its {_FORMAT} is that of something else")
        if content.format != self.name:
            self.refuse(path, self.foreign or f"its {_FORMAT} says {content.format[:64]!r}, not {self.name!r}")
        if content.version != self.version:
            self.refuse(path, f"it has format version {content.version}, not {self.version}: use a release of inventory_es that knows it")
        if content.creation_id is None:
            self.refuse(path, self.foreign or f"its {_FORMAT} is that of something else")
        return content.creation_id

    def write(self, file_system: FileSystem, path: str, creation_id: str) -> None:
        """Write ``format.json``, which makes the folder one of this kind, durably."""
        content = msgspec.json.encode(_Format(self.name, self.version, creation_id))
        file = file_system.open(f"{path}/{_DRAFT}", "create")
        try:
            file.write(msgspec.json.format(content) + b"\n", 0)
            file.sync()
        finally:
            file.close()
        file_system.sync_directory(path)
        file_system.rename(f"{path}/{_DRAFT}", f"{path}/{_FORMAT}")
        file_system.sync_directory(path)

    def refuse(self, path: str, problem: str) -> NoReturn:
        """Raise ``IncompatibleStoreError`` for a folder."""
        raise IncompatibleStoreError(store=self.noun, place=path, problem=problem)

    def _create(self, file_system: FileSystem, path: str, creation_id: str, lock_timeout: float) -> str:
        """Write ``format.json``, again as long as the journal is empty: an earlier creation may have died before it was durable."""
        file_system.sync_directory(path.rpartition("/")[0] or "/")
        lock = file_system.open_lock(f"{path}/{_LOCK}")
        try:
            LockWait(f"{path}/{_LOCK}", lock_timeout).take(lock)
            names = file_system.list_directory(path)
            is_new = _FORMAT not in names
            for directory in self.directories:
                if directory not in names:
                    file_system.make_directory(f"{path}/{directory}")
                elif is_new and file_system.list_directory(f"{path}/{directory}"):
                    self.refuse(path, f"{_FORMAT} is missing and {directory} is not empty: {self.lost}")
            if not is_new:
                creation_id = self.read(file_system, path)
                if file_system.list_directory(f"{path}/{self.directories[0]}"):
                    return creation_id
            if _DRAFT in names:
                file_system.remove(f"{path}/{_DRAFT}")
            self.write(file_system, path, creation_id)
        finally:
            lock.close()
        return creation_id


STORE = FolderFormat(
    "inventory_es.file_store",
    1,
    "file store",
    ("journal", "events"),
    foreign=f"{_FORMAT} is not that of an inventory_es.file_store",
    lost=f"restore {_FORMAT} from a backup",
)


@attrs.frozen
class StoreFolder:
    """The paths in a store's folder, and its creation id.

    Attributes:
        given: the path by which the store was opened. A symbolic link may lead from there to the folder.
        path: of the folder itself, without a link in it.
        creation_id: of the store.
    """

    given: str
    path: str
    creation_id: str

    @property
    def journal(self) -> str:
        """The directory of segments and index files."""
        return f"{self.path}/journal"

    @property
    def events(self) -> str:
        """The directory of the readable copies."""
        return f"{self.path}/events"

    @property
    def lock(self) -> str:
        """The journal's lock file, by the path that was given: a link that leads elsewhere later is noticed."""
        return f"{self.given}/{_LOCK}"

    @property
    def seed(self) -> int:
        """The seed of the journal's checksums, so that lines of two stores never mix."""
        return crc32(self.creation_id.encode())

    @property
    def name(self) -> str:
        """The name of the store, for errors."""
        return f"file store {self.given}"


def open_folder(file_system: FileSystem, path: str, *, creation_id: str, lock_timeout: float = LOCK_TIMEOUT) -> StoreFolder:
    """Open a store's folder, or make one of an empty or missing folder, as :meth:`FolderFormat.open`; ``path`` may be a symbolic link."""
    folder = file_system.resolve(path)
    return StoreFolder(path, folder, STORE.open(file_system, folder, creation_id=creation_id, lock_timeout=lock_timeout))


def find_folder(file_system: FileSystem, path: str) -> StoreFolder:
    """Return the folder of an existing store. Nothing is changed.

    Raises:
        IncompatibleStoreError: there is none, or one of a newer format.
        OSError: as the file system raises it.
    """
    folder = file_system.resolve(path)
    if not file_system.exists(f"{folder}/{_FORMAT}"):
        STORE.refuse(folder, f"there is no {_FORMAT}")
    return StoreFolder(path, folder, STORE.read(file_system, folder))


class FormatFile:
    """The open ``format.json`` of a store, without which a new event could not be read.

    Raises:
        IncompatibleStoreError, OSError: as :func:`find_folder`.
    """

    def __init__(self, file_system: FileSystem, folder: StoreFolder) -> None:
        self._fs = file_system
        self._folder = folder
        self._path = f"{folder.given}/{_FORMAT}"
        self._file = file_system.open(self._path, "read")

    def check_place(self) -> None:
        """Raise ``StoreClosedError`` if the file is no longer there, or is that of another store.

        A copy of it is good: while a store has no event, each opening writes the file again.
        """
        if self._file.is_at(self._path):
            return
        try:
            found = self._fs.open(self._path, "read")
        except FileNotFoundError:
            self._refuse("was moved or removed")
        try:
            if STORE.read_file(found, self._folder.given) != self._folder.creation_id:
                self._refuse("was replaced by that of another store")
        except BaseException:
            found.close()
            raise
        self._file.close()
        self._file = found

    def close(self) -> None:
        """Release the handle."""
        self._file.close()

    def _refuse(self, problem: str) -> NoReturn:
        raise StoreClosedError(store=self._folder.name, reason=f"{self._path} {problem} while it was open")


@asynccontextmanager
async def opened(open_core: Callable[[], C], make: Callable[[C], A]) -> AsyncGenerator[A, None]:
    """Open a synchronous core in a worker thread, and give the adapter over it; it closes with the block."""
    adapter = make(await run_in_thread(open_core))
    try:
        yield adapter
    finally:
        await adapter.aclose()


def _make_folder(file_system: FileSystem, path: str) -> None:
    """Make a folder in an existing one. The ones above are left alone, lest a store stand where a disk is not mounted.

    Raises:
        FileNotFoundError: it names the first folder that is missing.
        OSError: as the file system raises it.
    """
    try:
        file_system.make_directory(path)
    except FileExistsError:  # another process is making it too
        pass
    except FileNotFoundError:
        above = path.split("/")[:-1]
        parents = ("/".join(above[: end + 1]) for end in range(1, len(above)))
        missing = next((parent for parent in parents if not file_system.exists(parent)), None)
        if missing is None:
            raise
        raise no_folder(missing) from None
