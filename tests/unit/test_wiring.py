"""How ``open_inventory`` finds its store, and what it says to look-alikes."""

from pathlib import Path

import anyio
import pytest

from inventory_es import open_inventory
from inventory_es.adapters.memory import MemoryEventStore
from inventory_es.errors import StoreClosedError


@pytest.mark.parametrize(
    "wrong,right",
    [
        ("stock", "'file:stock'"),
        ("", "'file:stock'"),
        ("file:", "'file:stock'"),
        ("file://stock", "'file:stock'"),
        ("file:///var/stock", "'file:/var/stock'"),
        ("File:stock", "'file:stock'"),
        ("MEMORY:", "'memory:'"),
        ("memory:stock", "'memory:'"),
        ("memory://", "'memory:'"),
        ("file:stock?sync=off", "takes no options"),
        ("mongodb:stock", "known are .*file:.*memory:"),
    ],
)
def test_a_wrong_url_is_told_the_right_spelling(wrong: str, right: str) -> None:
    with pytest.raises(ValueError, match=right):
        open_inventory(wrong)


def test_what_is_no_store_is_refused() -> None:
    with pytest.raises(TypeError, match="a dict is no event store"):
        open_inventory({})  # type: ignore[arg-type]  # the point of the test


def test_a_path_is_a_folder(tmp_path: Path, backend: str) -> None:
    async def main() -> None:
        async with open_inventory(tmp_path / "stock") as inventory:
            await inventory.add_stock("tea", "berlin", 3)
        async with open_inventory(f"file:{tmp_path / 'stock'}") as inventory:
            assert (await inventory.stock("tea", "berlin")).on_hand == 3

    anyio.run(main, backend=backend)


def test_a_store_object_stays_the_callers_to_close(backend: str) -> None:
    async def main() -> None:
        store = MemoryEventStore()
        async with open_inventory(store) as inventory:
            await inventory.add_stock("tea", "berlin", 3)
        assert await store.head() == 1
        await store.aclose()

    anyio.run(main, backend=backend)


def test_use_before_opening_and_after_closing(backend: str) -> None:
    async def main() -> None:
        inventory = open_inventory("memory:")
        with pytest.raises(StoreClosedError, match="async with"):
            await inventory.stock("tea", "berlin")
        async with inventory:
            assert (await inventory.stock("tea", "berlin")).version == 0
        with pytest.raises(StoreClosedError, match="async with"):
            await inventory.stock("tea", "berlin")

    anyio.run(main, backend=backend)


def test_another_event_loop_is_told_so(backend: str) -> None:
    inventory = open_inventory("memory:")
    anyio.run(inventory.__aenter__, backend=backend)

    async def elsewhere() -> None:
        with pytest.raises(RuntimeError, match="another event loop"):
            await inventory.stock("tea", "berlin")

    anyio.run(elsewhere, backend=backend)
