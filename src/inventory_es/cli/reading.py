"""Opening a store that exists, to read it, and running what reads it."""

from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import anyio
import click

from inventory_es.adapters.file.folder import find_folder
from inventory_es.adapters.file.operating_system import OperatingSystem
from inventory_es.adapters.system import SystemClock
from inventory_es.application.service import InventoryService
from inventory_es.domain.identifiers import InventoryId
from inventory_es.ports import EventBus
from inventory_es.ports.errors import IncompatibleStoreError
from inventory_es.ports.toolkit.paths import absolute_path
from inventory_es.ports.toolkit.waiting import run_to_end
from inventory_es.wiring import bus_opener, is_built_in, open_inventory

T = TypeVar("T")
SERVERS = frozenset({"postgres", "postgresql"})
"""The schemes of stores on a server."""


class UnknownProductError(click.ClickException):
    """Nothing ever happened to a product in a store; the exit code is 1.

    Args:
        product_id: the product.
        store_id: the store.
    """

    def __init__(self, product_id: str, store_id: str) -> None:
        super().__init__(f"nothing is known of {product_id} in {store_id}: 'inventory-es streams' lists what there is")


async def is_known(inventory: InventoryService, product_id: str, store_id: str) -> bool:
    """Return True if anything ever happened to a product in a store."""
    page = await inventory.store.read_stream_backwards(InventoryId(product_id, store_id).stream, limit=1)
    return page.version > 0


def open_to_read(url: str) -> InventoryService:
    """Return the service over a store that exists.

    Raises:
        IncompatibleStoreError: there is no such store. Opening it would create one, and reading must not.
    """
    scheme, _, place = url.partition(":")
    if scheme == "file":
        find_folder(OperatingSystem(), absolute_path(place))
    elif scheme == "sqlite" and not Path(absolute_path(place)).exists():
        raise IncompatibleStoreError(store="sqlite store", place=place, problem="there is no such file")
    elif scheme in SERVERS:
        from inventory_es.adapters.postgresql import require_store  # noqa: PLC0415  # its driver comes with an extra

        require_store(url)
    return open_inventory(url)


@asynccontextmanager
async def open_bus(url: str) -> AsyncGenerator[EventBus, None]:
    """Open the event bus of a URL; it closes with the block."""
    bus = await bus_opener(url, SystemClock())()
    try:
        yield bus
    finally:
        with anyio.CancelScope(shield=True):
            await bus.aclose()


def run(main: Callable[[], Coroutine[Any, Any, T]], *urls: str) -> T:
    """Run a command to its end in this thread. The store of another package gets an event loop, because it may need one."""
    return run_to_end(main()) if all(map(is_built_in, urls)) else anyio.run(main)
