"""Copying a database while it is in use."""

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from inventory_es.adapters.sqlite.database import connect, translated
from inventory_es.adapters.sqlite.verify import open_to_check, verify
from inventory_es.ports.errors import CorruptStoreError, IncompatibleStoreError


def back_up(path: str | os.PathLike[str], target: str | os.PathLike[str]) -> int:
    """Copy a store, as it is at one instant, into a new file, durably, and verify the copy. Others may go on writing.

    Everything in the file is copied, snapshots and rows of projections too. The copy has its final name only when it is whole. It is a
    store with the same events as the original: don't write to both.

    Args:
        path: of the file.
        target: of the copy; its folder exists.

    Returns:
        The position of the last event in the copy.

    Raises:
        IncompatibleStoreError: there is no store, one of another schema version, or the target is there already.
        CorruptStoreError: the store is damaged: there is no copy.
        StoreUnavailableError: the file can't be read now.
        OSError: something can't be written.
    """
    source, copy = os.fspath(path), Path(target).absolute()
    if copy.exists() or copy.is_symlink():
        raise IncompatibleStoreError(store="target of a backup", place=str(copy), problem="there is something already")
    part = copy.with_name(f".{copy.name}.part")
    with translated(source), closing(open_to_check(source)) as original:
        _remove(part)
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        try:
            position = _copy(original, part)
            _check(part, source)
            _sync(part)
            os.link(part, copy)
        finally:
            _remove(part)
    _sync(copy.parent)
    return position


def _copy(original: sqlite3.Connection, part: Path) -> int:
    with closing(connect(str(part), synchronous="FULL")) as copy:
        original.backup(copy)
        (position,) = copy.execute("SELECT coalesce(max(position), 0) FROM events").fetchone()
        copy.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return int(position)


def _check(part: Path, source: str) -> None:
    for finding in verify(part):
        if not finding.is_derived:
            place = f"{source}, {finding.place}" if finding.place else source
            raise CorruptStoreError(store="sqlite store", place=place, problem=finding.problem)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(part: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        with suppress(FileNotFoundError):
            part.with_name(f"{part.name}{suffix}").unlink()
