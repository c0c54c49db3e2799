"""Copy a store while it is in use."""

from inventory_es.adapters.file.folder import STORE, find_folder
from inventory_es.adapters.file.journal.recovery import JournalRecovery
from inventory_es.adapters.file.journal.segments import SUFFIX, JournalSegments
from inventory_es.adapters.file.journal.stored_form import JournalTail, read_state, write_state
from inventory_es.adapters.file.operating_system import OperatingSystem
from inventory_es.adapters.file.stored_event import last_position
from inventory_es.ports.errors import IncompatibleStoreError, StoreUnavailableError
from inventory_es.ports.file_system import FileSystem
from inventory_es.ports.toolkit.paths import AnyPath, absolute_path

_CHUNK = 4 << 20


def back_up(path: AnyPath, target: AnyPath, *, file_system: FileSystem | None = None) -> int:
    """Copy the journal up to its durable end into an empty or missing folder, durably. Other processes may go on writing.

    The copy opens as a store, which rebuilds the derived files. It has the same identity as the original: don't write to both.

    Args:
        path: of the store's folder.
        target: of the copy; its parent exists.
        file_system: the operating system's, unless given.

    Returns:
        The position of the last event in the copy.

    Raises:
        IncompatibleStoreError: there is no store, or the target is not empty.
        CorruptStoreError: a segment of the journal is missing, cut or foreign. Nothing was copied.
        StoreUnavailableError: a process died while writing: open the store first, which recovers it.
        OSError: something can't be read or written.
    """
    fs = OperatingSystem() if file_system is None else file_system
    source, copy = absolute_path(path), fs.resolve(absolute_path(target))
    folder = find_folder(fs, source)
    lock = fs.open(folder.lock, "read")
    try:
        state = read_state(lock)
    finally:
        lock.close()
    if state is None:
        raise StoreUnavailableError(store=folder.name, reason="its lock file can't be read: open the store once, which recovers it")
    segments = JournalSegments(fs, folder.journal, name=folder.name)
    JournalRecovery(fs, segments, folder.seed, last_position, folder.name).check_chain(state)
    if not fs.exists(copy):
        fs.make_directory(copy)
        fs.sync_directory(copy.rpartition("/")[0] or "/")
    if fs.list_directory(copy):
        raise IncompatibleStoreError(store="target of a backup", place=copy, problem="the folder is not empty")
    for directory in ("journal", "events"):
        fs.make_directory(f"{copy}/{directory}")
    _copy_journal(fs, folder.journal, f"{copy}/journal", state.tail)
    lock_copy = fs.open_lock(f"{copy}/.lock")
    try:
        write_state(lock_copy, state.tail, dirty=False)
    finally:
        lock_copy.close()
    STORE.write(fs, copy, folder.creation_id)
    return state.tail.position


def _copy_journal(fs: FileSystem, source: str, target: str, tail: JournalTail) -> None:
    names = [name for name in fs.list_directory(source) if name.endswith(SUFFIX) and name <= f"{tail.segment:020d}{SUFFIX}"]
    for name in names:
        is_current = name == f"{tail.segment:020d}{SUFFIX}"
        _copy_file(fs, f"{source}/{name}", f"{target}/{name}", tail.offset if is_current else None)
    fs.sync_directory(target)


def _copy_file(fs: FileSystem, source: str, target: str, size: int | None) -> None:
    original = fs.open(source, "read")
    try:
        copy = fs.open(target, "create")
        try:
            end = original.size() if size is None else size
            for at in range(0, end, _CHUNK):
                copy.write(original.read(min(_CHUNK, end - at), at), at)
            copy.sync()
        finally:
            copy.close()
    finally:
        original.close()
