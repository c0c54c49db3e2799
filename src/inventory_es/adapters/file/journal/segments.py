"""The segments of a journal: files named by the position of their first entry, and handles to read them."""

import re
import threading
from collections import OrderedDict

from inventory_es.ports.errors import CorruptStoreError
from inventory_es.ports.file_system import File, FileSystem, OpenMode, is_foreign

SUFFIX = ".jsonl"
MAX_OPEN = 64
_NUMBERED = re.compile(r"[0-9]{20}\..*")


class JournalSegments:
    """The files of one journal's directory.

    At most 64 are open for reading. The least recently used one is dropped, and closes when its last reader is done.
    """

    def __init__(self, file_system: FileSystem, directory: str, *, name: str) -> None:
        self._fs = file_system
        self._name = name
        self.directory = directory
        self._mutex = threading.Lock()
        self._open: OrderedDict[int, File] = OrderedDict()

    def path(self, segment: int, suffix: str = SUFFIX) -> str:
        """Return the path of a segment, or with another suffix that of a file beside it."""
        return f"{self.directory}/{segment:020d}{suffix}"

    def names(self, suffix: str = SUFFIX) -> list[int]:
        """Return every existing segment, in order.

        Raises:
            CorruptStoreError: the folder is missing, or something else is in its place.
        """
        try:
            names = self._fs.list_directory(self.directory)
        except OSError as problem:
            if not isinstance(problem, FileNotFoundError | NotADirectoryError) and not is_foreign(problem):
                raise
            raise CorruptStoreError(store=self._name, place=self.directory, problem="the journal's folder is missing") from problem
        return [int(name[:20]) for name in names if _NUMBERED.fullmatch(name) and name[20:] == suffix]

    def open(self, segment: int) -> File:
        """Return a handle to read the file at the segment's path; this object keeps and closes it.

        Raises:
            CorruptStoreError: the segment is missing.
        """
        with self._mutex:
            file = self._open.get(segment)
            if file is None or not file.is_at(self.path(segment)):
                file = self._open[segment] = self.open_file(segment, "read")
                if len(self._open) > MAX_OPEN:
                    self._open.popitem(last=False)
            else:
                self._open.move_to_end(segment)
            return file

    def open_file(self, segment: int, mode: OpenMode) -> File:
        """Open a segment; the caller closes the handle.

        Raises:
            CorruptStoreError: the segment is missing, or something else is in its place.
        """
        try:
            return self._fs.open(self.path(segment), mode)
        except OSError as problem:
            if isinstance(problem, FileNotFoundError):
                reason = "the segment is missing"
            elif is_foreign(problem):
                reason = "something that is no regular file is in the segment's place"
            else:
                raise
            raise CorruptStoreError(store=self._name, place=self.path(segment), problem=reason) from problem

    def forget(self, segment: int) -> None:
        """Drop the handle of a segment that is being removed."""
        with self._mutex:
            self._open.pop(segment, None)

    def close(self) -> None:
        """Close every handle; no reader is left."""
        with self._mutex:
            while self._open:
                self._open.popitem()[1].close()
