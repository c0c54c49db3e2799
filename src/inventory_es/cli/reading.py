"""Opening a store to look at it."""

from pathlib import Path

from inventory_es.adapters.file.operating_system import OperatingSystem
from inventory_es.adapters.file.store_folder import find_folder
from inventory_es.application.service import InventoryService
from inventory_es.ports.errors import IncompatibleStoreError
from inventory_es.wiring import open_inventory


def open_to_read(url: str) -> InventoryService:
    """The service over a store that is there.

    Raises:
        IncompatibleStoreError: a folder without a store, or a file that is not there. Opening it would make one, and a look must not.
    """
    scheme, _, place = url.partition(":")
    if scheme == "file":
        find_folder(OperatingSystem(), str(Path(place).absolute()))
    elif scheme == "sqlite" and not Path(place).exists():
        raise IncompatibleStoreError(store="sqlite store", place=place, problem="there is no such file")
    return open_inventory(url)
