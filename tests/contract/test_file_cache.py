"""The file cache under the contract of its port."""

import errno
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

from inventory_es.adapters.file import FileCache, open_file_cache
from inventory_es.adapters.file.cache import entry_name
from inventory_es.adapters.file.operating_system import OperatingSystem
from inventory_es.testing import CacheContract, ManualClock, Site


class BreakableDisk(OperatingSystem):
    """The operating system's file system, until it is taken away."""

    is_away = False

    def __getattribute__(self, name: str) -> Any:
        found: Callable[..., Any] = super().__getattribute__(name)
        if name in {"open", "list_directory", "rename", "remove", "exists"} and self.is_away:
            raise OSError(errno.EIO, "the disk is away")
        return found


class TestFileCache(CacheContract):
    capacity: int | None = 4
    is_durable = True
    multi_process = True
    survives_fork = True
    disks: ClassVar[dict[Path, BreakableDisk]] = {}

    @asynccontextmanager
    async def open_cache(self, site: Site, *, clock: ManualClock) -> AsyncIterator[FileCache]:
        disk = self.disks[site.path] = BreakableDisk()
        async with open_file_cache(site.path / "cache", clock=clock, max_entries=4, file_system=disk) as cache:
            yield cache

    async def raw(self, site: Site, key: str, junk: bytes) -> bool:
        (site.path / "cache" / "entries" / entry_name(key)).write_bytes(junk)
        return True

    async def kill(self, site: Site) -> bool:
        self.disks[site.path].is_away = True
        return True
