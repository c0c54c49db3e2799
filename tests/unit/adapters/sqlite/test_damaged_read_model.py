"""A damaged file of read models is told apart from one that is away: nobody waits for it, and the events make it again."""

import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import anyio
import attrs
import pytest

from inventory_es import InventoryService, open_inventory
from inventory_es.adapters.memory import MemoryEventLog, MemoryEventStore
from inventory_es.adapters.sqlite import open_sqlite_read_model
from inventory_es.application.projections import stock_levels
from inventory_es.errors import CorruptStoreError, IncompatibleStoreError, InventoryError
from inventory_es.ports import ReadModel
from inventory_es.ports.read_model import Put

LEVELS = stock_levels()
PRODUCTS = 300
PAGE = 4096


class Shop:
    """A store in memory whose stock levels are kept in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._log = MemoryEventLog()

    def open(self) -> InventoryService:
        return open_inventory(MemoryEventStore(self._log), read_models=f"sqlite:{self.path}", projections=[LEVELS])

    async def project(self) -> None:
        async with self.open() as inventory:
            await inventory.followers.catch_up(on_failure="stop")


async def receive(inventory: InventoryService) -> None:
    """One unit of every product."""
    for number in range(PRODUCTS):
        await inventory.add_stock(f"espresso-{number}", "main", 1)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    made = Shop(tmp_path / "rows.db")

    async def fill() -> None:
        async with made.open() as inventory:
            await receive(inventory)
        await made.project()

    anyio.run(fill)
    return made


def damage_schema(path: Path) -> None:
    """All of the first page but SQLite's header."""
    content = bytearray(path.read_bytes())
    content[100:PAGE] = b"\xa5" * (PAGE - 100)
    path.write_bytes(content)


def damage_rows(path: Path) -> None:
    """Every page with a product in it. The schema, the checkpoint and the events that are parked are elsewhere."""
    content = path.read_bytes()
    pages = [content[at : at + PAGE] for at in range(0, len(content), PAGE)]
    assert sum(b"espresso" in page for page in pages) > 2
    path.write_bytes(b"".join(b"\xa5" * PAGE if b"espresso" in page else page for page in pages))


async def refused(call: Callable[[], Awaitable[object]], path: Path) -> None:
    with anyio.fail_after(30), pytest.raises(CorruptStoreError, match=r"SQLITE_CORRUPT.*remove it and run what follows") as told:
        await call()
    assert (told.value.place, told.value.retryable) == (str(path), False)


def test_damage_is_told_on_opening(shop: Shop, backend: str) -> None:
    damage_schema(shop.path)

    async def opened() -> None:
        async with open_sqlite_read_model(shop.path):
            pass

    anyio.run(refused, opened, shop.path, backend=backend)


def test_damage_is_told_to_who_reads_and_to_who_writes(shop: Shop, backend: str) -> None:
    damage_rows(shop.path)

    async def body() -> None:
        async with open_sqlite_read_model(shop.path) as model:
            await refused(partial(model.select, LEVELS.projection_id, "levels", limit=PRODUCTS), shop.path)
            await refused(partial(write_all, model), shop.path)

    anyio.run(body, backend=backend)


async def write_all(model: ReadModel) -> None:
    before = await model.checkpoint(LEVELS.projection_id)
    columns = dict.fromkeys(("on_hand", "reserved", "available", "version", "position"), 0)
    puts = [Put("levels", {"product_id": f"espresso-{at}", "store_id": "main", "recorded_at": "", **columns}) for at in range(PRODUCTS)]
    await model.commit(LEVELS.projection_id, puts, before=before, after=attrs.evolve(before, position=before.position + 1))


def test_who_follows_the_events_stops_and_says_so(shop: Shop, backend: str) -> None:
    damage_rows(shop.path)

    async def body() -> None:
        async with shop.open() as inventory:
            await inventory.followers.status()  # what a runner reads before its first event is whole
            await receive(inventory)
            await refused(partial(inventory.followers.run, on_failure="retry"), shop.path)

    anyio.run(body, backend=backend)


def test_a_file_that_was_removed_is_made_again(shop: Shop, backend: str) -> None:
    damage_rows(shop.path)
    shop.path.unlink()

    async def body() -> None:
        await shop.project()
        async with open_sqlite_read_model(shop.path) as model:
            assert len((await model.select(LEVELS.projection_id, "levels", limit=2 * PRODUCTS)).rows) == PRODUCTS

    anyio.run(body, backend=backend)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE stock_levels__v1__levels SET recorded_at = '2026-01-05T0):00:00.000000Z'",
        "UPDATE stock_levels__v1__levels SET recorded_at = CAST(x'ff' AS TEXT)",
        "UPDATE stock_levels__v1__levels SET on_hand = 'many'",
        "UPDATE projections SET recorded_at = 'noon'",
        "UPDATE projections SET position = NULL",
        "UPDATE projections SET position = -1",
        "UPDATE projections SET position = 1.5",
        "UPDATE projections SET epoch = 'x'",
        "UPDATE projections SET owner = x'ff'",
        "UPDATE projections SET error = x'07'",
        "UPDATE projections SET mark_position = 9e999",
        "UPDATE projections SET mark_position = 0",
        "UPDATE projections SET mark_event_id = x'ff'",
        "UPDATE active_projections SET version = 0",
        "UPDATE active_projections SET version = 'x'",
        "DELETE FROM active_projections",
        "UPDATE projections SET shape = CAST(x'ff' AS TEXT)",
        "UPDATE projections SET shape = '{'",
        "UPDATE projections SET shape = replace(printf('%100000s', ''), ' ', '[')",
    ],
)
def test_a_column_that_holds_something_else_is_told(statement: str, shop: Shop, backend: str) -> None:
    connection = sqlite3.connect(shop.path, isolation_level=None)
    connection.execute("PRAGMA writable_schema = ON")
    loose = "replace(replace(sql, 'STRICT', ''), 'NOT NULL', '')"  # so that a column takes what a flipped bit makes of it
    connection.execute(f"UPDATE sqlite_master SET sql = {loose} WHERE name NOT LIKE '%__v1__%' OR sql NOT LIKE '%WITHOUT ROWID'")
    connection.execute("UPDATE sqlite_master SET sql = replace(sql, 'STRICT', '')")
    connection.close()
    connection = sqlite3.connect(shop.path, isolation_level=None)
    connection.execute(statement)
    connection.close()

    async def body() -> None:
        async with shop.open() as inventory:
            with pytest.raises((CorruptStoreError, IncompatibleStoreError)):
                await inventory.queries.stock("espresso-1", "main")
        async with open_sqlite_read_model(shop.path) as model:
            if "projections" in statement:
                with pytest.raises(CorruptStoreError):
                    await model.versions("stock_levels")

    anyio.run(body, backend=backend)


ODD = ["-1", "0", "'many'", "1.5", "x'ff'", "NULL"]
OF_A_CHECKPOINT = ["version", "position", "epoch", "recorded_at", "owner", "owned_until", "error", "mark_event_id"]


@pytest.mark.parametrize("place", [*(f"projections SET {name}" for name in OF_A_CHECKPOINT), "active_projections SET version"])
def test_whatever_a_column_of_the_catalogue_holds_there_is_an_answer_or_a_typed_error(place: str, shop: Shop, backend: str) -> None:
    allow_anything(shop.path)
    whole = shop.path.read_bytes()

    async def body() -> None:
        for value in ODD:
            shop.path.write_bytes(whole)
            execute(shop.path, f"UPDATE {place} = {value}")
            async with shop.open() as inventory:
                for ask in (
                    partial(inventory.queries.stock, "espresso-1", "main"),
                    inventory.followers.status,
                    partial(inventory.followers.catch_up, on_failure="stop"),
                ):
                    with suppress(InventoryError):
                        await ask()

    anyio.run(body, backend=backend)


def allow_anything(path: Path) -> None:
    """Let a column take what a flipped bit makes of it."""
    execute(path, "PRAGMA writable_schema = ON", "UPDATE sqlite_master SET sql = replace(replace(sql, 'STRICT', ''), 'NOT NULL', '')")


def execute(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()
