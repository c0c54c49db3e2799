"""The store that the kit's own command line crashes, unless it is told another."""

from typing import Any

from inventory_es.ports.file_system import FileSystem
from inventory_es.testing.crash.program import SEGMENT_BYTES
from inventory_es.testing.crash.subject import SteppedStore, Subject
from inventory_es.testing.loading import load

_FOLDER = "/stock"


def file_store() -> Subject:
    """The file event store, with segments so small that a few appends fill one.

    It is looked up by name: the kit depends on no adapter but memory.
    """
    engine: Any = load("inventory_es.adapters.file.engine:FileStoreEngine")
    verify: Any = load("inventory_es.adapters.file.verify:verify")

    def open_store(file_system: FileSystem) -> SteppedStore:
        store: SteppedStore = engine.open(_FOLDER, creation_id="1", file_system=file_system, segment_bytes=SEGMENT_BYTES)
        return store

    def inspect(file_system: FileSystem) -> list[str]:
        return [str(finding) for finding in verify(_FOLDER, file_system=file_system)]

    return Subject(open_store, inspect=inspect, set_aside=".torn-")
