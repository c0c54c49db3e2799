"""Opening a store, or a read model, to look at it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import click

from inventory_es.adapters.file.folder import find_folder
from inventory_es.adapters.file.operating_system import OperatingSystem
from inventory_es.adapters.sqlite import open_sqlite_read_model
from inventory_es.application.queries.projection_reader import ProjectionReader, open_reader
from inventory_es.application.service import InventoryService
from inventory_es.cli.shipped_projections import active_projection
from inventory_es.domain.identifiers import InventoryId
from inventory_es.ports.errors import IncompatibleStoreError
from inventory_es.ports.toolkit.paths import absolute_path
from inventory_es.wiring import open_inventory


async def is_known(inventory: InventoryService, product_id: str, store_id: str) -> bool:
    """Return whether anything ever happened to a product in a store."""
    page = await inventory.store.read_stream_backwards(InventoryId(product_id, store_id).stream, limit=1)
    return page.version > 0


class UnknownProductError(click.ClickException):
    """Nothing ever happened to a product in a store; the exit code is 1.

    Args:
        product_id: what was asked for.
        store_id: where.
    """

    def __init__(self, product_id: str, store_id: str) -> None:
        super().__init__(f"nothing is known of {product_id} in {store_id}: 'inventory-es streams' lists what there is")


def open_to_read(url: str) -> InventoryService:
    """The service over a store that is there.

    Raises:
        IncompatibleStoreError: a folder without a store, or a file that is not there. Opening it would make one, and a look must not.
    """
    scheme, _, place = url.partition(":")
    if scheme == "file":
        find_folder(OperatingSystem(), absolute_path(place))
    elif scheme == "sqlite" and not Path(absolute_path(place)).exists():
        raise IncompatibleStoreError(store="sqlite store", place=place, problem="there is no such file")
    return open_inventory(url)


def check_read_model(path: str) -> None:
    """Refuse a file that is not there: opening it would make one.

    Raises:
        IncompatibleStoreError: there is none.
    """
    if not Path(absolute_path(path)).exists():
        problem = "there is no such file; 'inventory-es project' makes it"
        raise IncompatibleStoreError(store="read model", place=path, problem=problem)


@asynccontextmanager
async def open_rows_to_read(path: str, name: str) -> AsyncGenerator[ProjectionReader, None]:
    """The rows of one projection in a read model that is there, while the block runs.

    Raises:
        IncompatibleStoreError: there is no such file, the projection is not in it, or its rows have another shape.
    """
    check_read_model(path)
    async with open_sqlite_read_model(path) as model:
        active = await active_projection(model, name)
        if active is None:
            problem = f"it has no {name}: 'inventory-es project' fills it"
            raise IncompatibleStoreError(store="read model", place=path, problem=problem)
        yield await open_reader(model, active, patience=0, interval=1)
