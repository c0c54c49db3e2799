"""A simulated disk that knows every file that was opened on it."""

import pytest

from inventory_es.ports.file_system import File, LockFile, OpenMode
from inventory_es.testing.crash.simfs import FaultPlan, SimFS


class WatchedDisk(SimFS):
    """Keeps what was opened, so that nothing is closed by being dropped."""

    def __init__(self, faults: FaultPlan | None = None) -> None:
        super().__init__(faults=faults)
        self.opened: list[File] = []

    def open(self, path: str, mode: OpenMode) -> File:
        self.opened.append(super().open(path, mode))
        return self.opened[-1]

    def open_lock(self, path: str) -> LockFile:
        lock = super().open_lock(path)
        self.opened.append(lock)
        return lock

    def sync_directory(self, path: str) -> None:
        assert path.startswith("/"), "paths are absolute, also that of the root"
        super().sync_directory(path)

    def assert_all_closed(self) -> None:
        assert self.opened
        for file in self.opened:
            with pytest.raises(OSError, match="Bad file descriptor"):
                file.size()
