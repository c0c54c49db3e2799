"""W3: one product that all callers want at once."""

from pathlib import Path

from benchmarks.engine.callers import in_tasks
from benchmarks.engine.commands import TTL
from benchmarks.engine.history import reservations, write
from benchmarks.engine.store_url import url_of
from benchmarks.measure import Measure, Measures
from benchmarks.sizes import Sizes
from inventory_es import InsufficientStockError, InventoryId, InventoryService, open_inventory


async def hot(store: str, folder: Path, sizes: Sizes) -> Measures:
    """Measure reservations of one unit by more and more callers, the same followed by a commit, and a sale that sells out."""
    measures: Measures = {}
    async with open_inventory(url_of(store, folder)) as inventory:
        for callers in sizes["callers"]:
            product = f"hot-{callers}"
            await _reserved_before(inventory, product, sizes)

            async def reserve(_: int, product: str = product) -> None:
                await inventory.reserve(product, "main", 1, ttl=TTL)

            measures[f"W3 {callers}"] = await in_tasks(callers, sizes["hot"], reserve, patience=sizes["patience"])
        measures["W3 pairs"] = await _pairs(inventory, sizes)
        measures["W3 sold out"] = await _sold_out(inventory, sizes)
    return measures


async def _reserved_before(inventory: InventoryService, product: str, sizes: Sizes) -> None:
    """Write the history past the service, so that the first command of the case loads it."""
    inventory_id = InventoryId(product, "main")
    await write(inventory.store, inventory_id, reservations(inventory_id), number=1 + sizes["history"])


async def _pairs(inventory: InventoryService, sizes: Sizes) -> Measure:
    await _reserved_before(inventory, "pairs", sizes)

    async def buy(_: int) -> None:
        await inventory.commit(await inventory.reserve("pairs", "main", 1, ttl=TTL))

    return await in_tasks(64, sizes["hot"] // 2, buy, patience=sizes["patience"])


async def _sold_out(inventory: InventoryService, sizes: Sizes) -> Measure:
    """Sell out with as many callers as units, and ten commands per unit: 90 % are refused, and exactly the stock is sold."""
    units = sizes["sale"]
    await inventory.add_stock("sale", "main", units)
    sold: list[int] = []

    async def buy(number: int) -> None:
        try:
            await inventory.reserve("sale", "main", 1, ttl=TTL)
        except InsufficientStockError:
            return
        sold.append(number)

    measure = await in_tasks(units, units * 10, buy, patience=60)
    if len(sold) != units or (await inventory.stock("sale", "main")).available:
        msg = f"{len(sold)} of {units} were sold"
        raise RuntimeError(msg)
    return measure
