"""The folder of a file store: what stands where, and how an empty folder becomes a store.

``format.json`` is written last, so a folder without it is either no store or one whose creation was cut short, which has no event.
"""

from contextlib import suppress
from typing import Literal, NoReturn
from zlib import crc32

import attrs
import msgspec

from inventory_es.adapters.file.locks import LOCK_TIMEOUT, LockWait
from inventory_es.ports.errors import CorruptStoreError, IncompatibleStoreError, StoreClosedError
from inventory_es.ports.file_system import File, FileSystem
from inventory_es.ports.toolkit.remedy import no_folder

FORMAT = "inventory_es.file_store"
FORMAT_VERSION = 1
_DRAFT = "format.json.draft"
_UNFINISHED = {".lock", _DRAFT, "journal", "events"}
_MAX_FORMAT_BYTES = 4_096


class _FormatVersion(msgspec.Struct):
    format: Literal["inventory_es.file_store"]
    version: int


class _Format(_FormatVersion):
    creation_id: str


@attrs.frozen
class StoreFolder:
    """The paths in a store's folder, and the id that it was given when it was created.

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
        """Segments and index files."""
        return f"{self.path}/journal"

    @property
    def events(self) -> str:
        """The people's files."""
        return f"{self.path}/events"

    @property
    def lock(self) -> str:
        """The journal's lock file, by the path that was given: a link that leads elsewhere later is noticed."""
        return f"{self.given}/.lock"

    @property
    def seed(self) -> int:
        """Of the journal's checksums, so that lines of two stores never mix."""
        return crc32(self.creation_id.encode())

    @property
    def name(self) -> str:
        """For errors."""
        return f"file store {self.given}"


def open_folder(file_system: FileSystem, path: str, *, creation_id: str, lock_timeout: float = LOCK_TIMEOUT) -> StoreFolder:
    """Open a store's folder, or make one of an empty or missing folder.

    Args:
        file_system: where it is.
        path: absolute, perhaps a symbolic link; its parent exists.
        creation_id: for a new store, unlike any other's.
        lock_timeout: the longest wait while another process makes it, in seconds.

    Raises:
        IncompatibleStoreError: the folder holds something else, or a newer format. Nothing was changed.
        CorruptStoreError: the journal's folder is missing.
        OSError: as the file system raises it.
    """
    given, path = path, file_system.resolve(path)
    if not file_system.exists(path):
        make_folder(file_system, path)
    names = set(file_system.list_directory(path))
    if "format.json" in names:
        _read_creation_id(file_system, path)
        if "journal" not in names:
            raise CorruptStoreError(store=f"file store {path}", place=f"{path}/journal", problem="the journal's folder is missing")
    elif not names <= _UNFINISHED:
        _refuse(path, "the folder has other files and no format.json: name an empty or a new folder")
    if "format.json" not in names or not file_system.list_directory(f"{path}/journal"):
        _create(file_system, path, creation_id, lock_timeout)
    elif "events" not in names:
        with suppress(OSError):  # derived: made when it is written
            file_system.make_directory(f"{path}/events")
    return StoreFolder(given, path, _read_creation_id(file_system, path))


def make_folder(file_system: FileSystem, path: str) -> None:
    """Make a folder in one that is there. The ones above are left alone, lest a store stand where a disk is not mounted.

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


def find_folder(file_system: FileSystem, path: str) -> StoreFolder:
    """The folder of a store that is there. Nothing is changed.

    Raises:
        IncompatibleStoreError: there is none, or one of a newer format.
        OSError: as the file system raises it.
    """
    given, path = path, file_system.resolve(path)
    if not file_system.exists(f"{path}/format.json"):
        _refuse(path, "there is no format.json")
    return StoreFolder(given, path, _read_creation_id(file_system, path))


class FormatFile:
    """The open ``format.json`` of a store, without which nobody could read what is written.

    Raises:
        IncompatibleStoreError, OSError: as :func:`find_folder`.
    """

    def __init__(self, file_system: FileSystem, folder: StoreFolder) -> None:
        self._fs = file_system
        self._folder = folder
        self._path = f"{folder.given}/format.json"
        self._file = file_system.open(self._path, "read")

    def check_place(self) -> None:
        """Raise ``StoreClosedError`` if the file is no longer there, or is that of another store.

        A copy of it is good: while a store has no event, whoever opens it writes the file again.
        """
        if self._file.is_at(self._path):
            return
        try:
            found = self._fs.open(self._path, "read")
        except FileNotFoundError:
            self._refuse("was moved or removed")
        try:
            if _creation_id(found, self._folder.given) != self._folder.creation_id:
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


def _create(file_system: FileSystem, path: str, creation_id: str, lock_timeout: float) -> None:
    """Make the folder a store. Done anew while there is no event: whoever did it may have died or failed before it was durable."""
    file_system.sync_directory(path.rpartition("/")[0] or "/")
    lock = file_system.open_lock(f"{path}/.lock")
    try:
        LockWait(f"{path}/.lock", lock_timeout).take(lock)
        names = file_system.list_directory(path)
        is_new = "format.json" not in names
        for directory in ("journal", "events"):
            if directory not in names:
                file_system.make_directory(f"{path}/{directory}")
            elif is_new and file_system.list_directory(f"{path}/{directory}"):
                _refuse(path, f"format.json is missing and {directory} is not empty: restore format.json from a backup")
        if not is_new:
            if file_system.list_directory(f"{path}/journal"):
                return
            creation_id = _read_creation_id(file_system, path)
        if _DRAFT in names:
            file_system.remove(f"{path}/{_DRAFT}")
        write_format(file_system, path, creation_id)
    finally:
        lock.close()


def write_format(file_system: FileSystem, path: str, creation_id: str) -> None:
    """Write ``format.json``, which makes the folder a store, durably."""
    content = {"format": FORMAT, "version": FORMAT_VERSION, "creation_id": creation_id}
    file = file_system.open(f"{path}/{_DRAFT}", "create")
    try:
        file.write(msgspec.json.format(msgspec.json.encode(content)) + b"\n", 0)
        file.sync()
    finally:
        file.close()
    file_system.sync_directory(path)
    file_system.rename(f"{path}/{_DRAFT}", f"{path}/format.json")
    file_system.sync_directory(path)


def _read_creation_id(file_system: FileSystem, path: str) -> str:
    file = file_system.open(f"{path}/format.json", "read")
    try:
        return _creation_id(file, path)
    finally:
        file.close()


def _creation_id(file: File, path: str) -> str:
    content = file.read(_MAX_FORMAT_BYTES, 0)
    try:
        version = msgspec.json.decode(content, type=_FormatVersion).version
        creation_id = msgspec.json.decode(content, type=_Format).creation_id if version == FORMAT_VERSION else ""
    except (msgspec.DecodeError, UnicodeDecodeError):
        _refuse(path, f"format.json is not that of an {FORMAT}")
    if version != FORMAT_VERSION:
        _refuse(path, f"it has format version {version}, not {FORMAT_VERSION}: use a release of inventory_es that knows it")
    return creation_id


def _refuse(path: str, problem: str) -> NoReturn:
    raise IncompatibleStoreError(store="file store", place=path, problem=problem)
