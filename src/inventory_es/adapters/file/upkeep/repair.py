"""Making anew what is derived from a store's journal. The journal itself is never touched."""

from collections.abc import Sequence
from contextlib import suppress

from inventory_es.adapters.file.folder import find_folder
from inventory_es.adapters.file.operating_system import OperatingSystem
from inventory_es.adapters.file.store.file_store import FileStore
from inventory_es.adapters.file.upkeep.findings import Finding
from inventory_es.adapters.file.upkeep.verify import verify
from inventory_es.ports.errors import CorruptStoreError
from inventory_es.ports.file_system import FileSystem
from inventory_es.ports.toolkit.paths import AnyPath, absolute_path


def repair(path: AnyPath, *, file_system: FileSystem | None = None) -> Sequence[Finding]:
    """Recover a store if that is due, and make its index and people's files anew where they are wrong. Stop its writers first.

    Files that belong to no stream are left alone: they are not the store's.

    Args:
        path: of the store's folder.
        file_system: the operating system's, unless given.

    Returns:
        What :func:`verify` still finds.

    Raises:
        CorruptStoreError: the journal is damaged. Nothing was changed.
        IncompatibleStoreError: there is no store, or one of a newer format.
        StoreUnavailableError, OSError: something can't be read or written.
    """
    fs = OperatingSystem() if file_system is None else file_system
    folder = find_folder(fs, absolute_path(path))
    findings = list(verify(folder.given, file_system=fs))
    for finding in findings:
        if finding.concern == "journal":
            raise CorruptStoreError(store=folder.name, place=str(finding).partition(": ")[0], problem=finding.problem)
    for finding in findings:
        if finding.concern in {"index", "people"} and fs.exists(finding.path):
            with suppress(OSError):  # a folder, perhaps, which is left for its owner to remove
                fs.remove(finding.path)
    engine = FileStore.open(folder.given, creation_id=folder.creation_id, file_system=fs)
    try:
        engine.rebuild()
    finally:
        engine.close()
    return list(verify(folder.given, file_system=fs))
