"""A folder that says what it is: ``format.json``, written last and once, so that nothing foreign is ever touched."""

from typing import NoReturn

import attrs
import msgspec

from inventory_es.adapters.file.folder import make_folder
from inventory_es.adapters.file.locks import LOCK_TIMEOUT, LockWait
from inventory_es.ports.errors import IncompatibleStoreError
from inventory_es.ports.file_system import FileSystem

_FORMAT = "format.json"
_DRAFT = "format.json.draft"
_LOCK = ".lock"
_MAX_BYTES = 4_096


class _Content(msgspec.Struct):
    format: str
    version: int
    creation_id: str


@attrs.frozen
class FolderFormat:
    """One kind of folder.

    Attributes:
        name: stands in ``format.json``.
        version: of the layout, likewise.
        noun: for messages, such as ``file cache``.
        directories: that are in it.
    """

    name: str
    version: int
    noun: str
    directories: tuple[str, ...]

    def open(self, file_system: FileSystem, path: str, *, creation_id: str, lock_timeout: float = LOCK_TIMEOUT) -> str:
        """Open a folder of this kind, or make one of an empty or missing folder. Durable when this returns.

        Args:
            file_system: where it is.
            path: absolute; its parent exists.
            creation_id: for a new folder, unlike any other's.
            lock_timeout: the longest wait while another process makes it, in seconds.

        Returns:
            The id that it was given when it was made.

        Raises:
            IncompatibleStoreError: it holds something else, or another version. Nothing was changed.
            OSError: as the file system raises it.
        """
        if not file_system.exists(path):
            make_folder(file_system, path)
        names = set(file_system.list_directory(path))
        if _FORMAT not in names and not names <= {_LOCK, _DRAFT, *self.directories}:
            self._refuse(path, f"the folder has other files and no {_FORMAT}: name an empty or a new folder")
        found = self._read(file_system, path) if _FORMAT in names else self._make(file_system, path, creation_id, lock_timeout)
        file_system.sync_directory(path)
        file_system.sync_directory(path.rpartition("/")[0] or "/")
        return found

    def _make(self, file_system: FileSystem, path: str, creation_id: str, lock_timeout: float) -> str:
        lock = file_system.open_lock(f"{path}/{_LOCK}")
        try:
            LockWait(f"{path}/{_LOCK}", lock_timeout).take(lock)
            names = file_system.list_directory(path)
            if _FORMAT in names:
                return self._read(file_system, path)
            for directory in self.directories:
                if directory not in names:
                    file_system.make_directory(f"{path}/{directory}")
                elif file_system.list_directory(f"{path}/{directory}"):
                    self._refuse(path, f"{_FORMAT} is missing and {directory} is not empty: bring {_FORMAT} back, or name another folder")
            if _DRAFT in names:
                file_system.remove(f"{path}/{_DRAFT}")
            self._write(file_system, f"{path}/{_DRAFT}", creation_id)
            file_system.sync_directory(path)
            file_system.rename(f"{path}/{_DRAFT}", f"{path}/{_FORMAT}")
        finally:
            lock.close()
        return creation_id

    def _write(self, file_system: FileSystem, path: str, creation_id: str) -> None:
        content = msgspec.json.encode(_Content(self.name, self.version, creation_id))
        file = file_system.open(path, "create")
        try:
            file.write(msgspec.json.format(content) + b"\n", 0)
            file.sync()
        finally:
            file.close()

    def _read(self, file_system: FileSystem, path: str) -> str:
        file = file_system.open(f"{path}/{_FORMAT}", "read")
        try:
            data = file.read(_MAX_BYTES, 0)
        finally:
            file.close()
        try:
            content = msgspec.json.decode(data, type=_Content)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self._refuse(path, f"its {_FORMAT} is that of something else")
        if content.format != self.name:
            self._refuse(path, f"its {_FORMAT} says {content.format[:64]!r}, not {self.name!r}")
        if content.version != self.version:
            self._refuse(path, f"it has format version {content.version}, not {self.version}: use a release of inventory_es that knows it")
        return content.creation_id

    def _refuse(self, path: str, problem: str) -> NoReturn:
        raise IncompatibleStoreError(store=self.noun, place=path, problem=problem)
