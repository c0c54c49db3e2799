"""The store that the kit's own command line crashes by default."""

from typing import Any

from inventory_es.ports.file_system import FileSystem
from inventory_es.testing.crash.subject import SteppedStore, Subject
from inventory_es.testing.crash.world import SEGMENT_BYTES
from inventory_es.testing.loading import load

_FOLDER = "/stock"


def file_store() -> Subject:
    """Return the file event store, with segments so small that a few appends fill one.

    The store is looked up by name, because the kit depends on no adapter but memory. After a clean stop, verification must find nothing.
    After a power cut, it may find readable copies that lost what was never synced, and repair must restore them.
    """
    engine: Any = load("inventory_es.adapters.file.store.file_store:FileStore")
    verify: Any = load("inventory_es.adapters.file.upkeep.verify:verify")
    repair: Any = load("inventory_es.adapters.file.upkeep.verify:repair")

    def open_store(file_system: FileSystem) -> SteppedStore:
        store: SteppedStore = engine.open(_FOLDER, creation_id="1", file_system=file_system, segment_bytes=SEGMENT_BYTES)
        return store

    def inspect(file_system: FileSystem, lost_power: bool) -> list[str]:  # noqa: FBT001  # the shape of Subject.inspect
        findings = list(verify(_FOLDER, file_system=file_system))
        if lost_power and findings and all(finding.concern == "people" for finding in findings):
            findings = repair(_FOLDER, file_system=file_system)
        return [str(finding) for finding in findings]

    return Subject(open_store, inspect=inspect, set_aside=".torn-")
