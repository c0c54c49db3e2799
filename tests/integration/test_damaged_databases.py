"""A SQLite store of which something was changed behind its back: each answer is the right one or a documented error."""

import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio
import pytest

from inventory_es import HandlerSettings, InventoryId, InventoryService, open_inventory
from inventory_es.adapters.sqlite import open_sqlite_event_store, rows
from inventory_es.errors import ConcurrencyError, CorruptStoreError
from inventory_es.ports import Snapshot, StreamWrite
from inventory_es.testing.contracts.core.event_labels import EventLabels
from tests.integration.flipped_bits import FINE, flip

TEA, MILK = InventoryId("tea", "berlin").stream, InventoryId("milk", "berlin").stream


async def write(path: Path) -> None:
    async with open_inventory(f"sqlite:{path}") as inventory:
        for quantity in (3, 4, 5):
            await inventory.add_stock("tea", "berlin", quantity)
            await inventory.add_stock("milk", "berlin", quantity)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    anyio.run(write, tmp_path / "stock.db")
    return tmp_path / "stock.db"


def change(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    connection.close()


CHANGES = {
    "the head is one further": ["UPDATE streams SET version = version + 1"],
    "the head is one behind": ["UPDATE streams SET version = version - 1"],
    "the head is no number of events": ["UPDATE streams SET version = -9223372036854775808"],
    "a stream is renamed": ["UPDATE streams SET name = 'inventory-coffee-berlin' WHERE name = 'inventory-tea-berlin'"],
    "a stream has another's name": [
        "UPDATE streams SET name = 'x' WHERE id = 2",
        "UPDATE streams SET name = 'inventory-milk-berlin' WHERE id = 1",
        "UPDATE streams SET name = 'inventory-tea-berlin' WHERE id = 2",
    ],
    "a stream is lost": ["DELETE FROM streams WHERE name = 'inventory-tea-berlin'"],
    "an event in the middle is lost": ["DELETE FROM events WHERE stream_id = 1 AND version = 2"],
    "the first event is lost": ["DELETE FROM events WHERE stream_id = 1 AND version = 1"],
    "the last event is lost": ["DELETE FROM events WHERE stream_id = 1 AND version = 3"],
    "two events are exchanged": [
        "UPDATE events SET version = -1 WHERE stream_id = 1 AND version = 1",
        "UPDATE events SET version = 1 WHERE stream_id = 1 AND version = 2",
        "UPDATE events SET version = 2 WHERE stream_id = 1 AND version = -1",
    ],
    "an event is in another stream": ["UPDATE events SET stream_id = 2, version = 4 WHERE stream_id = 1 AND version = 3"],
    "an event is there twice": [
        """INSERT INTO events SELECT 7, stream_id, 4, randomblob(16), event_type, schema_version, recorded_at, data, metadata, checksum
        FROM events WHERE stream_id = 1 AND version = 3""",
        "UPDATE streams SET version = 4 WHERE id = 1",
    ],
    "a payload says another number": ["UPDATE events SET data = replace(data, '\"quantity\":4', '\"quantity\":9')"],
    "metadata are another's": ['UPDATE events SET metadata = \'{"actor_id":"nobody"}\''],
    "a time is another": ["UPDATE events SET recorded_at = recorded_at + 1"],
    "a time is out of range": ["UPDATE events SET recorded_at = 9223372036854775807"],
    "a schema version is another": ["UPDATE events SET schema_version = 2"],
    "a type is another": ["UPDATE events SET event_type = 'StockRemovedEvent'"],
    "an id is another": ["UPDATE events SET event_id = randomblob(16)"],
    "an id is too short": ["UPDATE events SET event_id = randomblob(5)"],
    "a type is no text": ["UPDATE events SET event_type = CAST(x'ff' AS TEXT)"],
    "a payload is no text": ["UPDATE events SET data = CAST(x'7bff7d' AS TEXT)"],
    "a boundary between columns moved": ["UPDATE events SET event_type = event_type || '{', data = substr(data, 2)"],
    "a payload is deep": ["UPDATE events SET data = replace(printf('%100000s', ''), ' ', '[')"],
    "a checksum is lost": ["UPDATE events SET checksum = NULL"],
    "positions have a gap": ["UPDATE events SET position = position + 10 WHERE position > 3"],
}

READS: dict[str, Callable[[InventoryService], Awaitable[Any]]] = {
    "stock": lambda inventory: inventory.stock("tea", "berlin"),
    "command": lambda inventory: inventory.add_stock("tea", "berlin", 1),
    "history": lambda inventory: whole(inventory.history("tea", "berlin")),
    "explain": lambda inventory: inventory.explain("tea", "berlin"),
    "feed": lambda inventory: whole(inventory.feed()),
}


async def whole(items: Any) -> list[Any]:
    return [item async for item in items]


@pytest.mark.parametrize("damage", CHANGES)
@pytest.mark.parametrize("read", READS)
def test_what_was_changed_is_told(damage: str, read: str, path: Path, backend: str) -> None:
    async def body() -> None:
        async with open_inventory(f"sqlite:{path}", settings=HandlerSettings(warm_inventories=0)) as inventory:
            before = await whole(inventory.feed())
            change(path, *CHANGES[damage])
            if read == "feed" and "head" in damage:  # which the feed does not read
                assert await READS[read](inventory) == before
                return
            with pytest.raises(CorruptStoreError) as refusal:
                await READS[read](inventory)
            assert str(path) in refusal.value.store + refusal.value.place

    anyio.run(body, backend=backend)


@pytest.mark.parametrize("damage", ["a stream is lost", "a stream is renamed", "the head is one behind"])
def test_an_append_that_was_not_read_for_is_refused(damage: str, path: Path, backend: str) -> None:
    change(path, *CHANGES[damage])

    async def body() -> None:
        async with open_sqlite_event_store(path) as store:
            for expected in (0, 2, 3):
                with pytest.raises((CorruptStoreError, ConcurrencyError)):
                    await store.append([StreamWrite(TEA, expected, EventLabels().events("a"))])

    anyio.run(body, backend=backend)


def test_a_list_of_streams_tells_what_was_changed(path: Path, backend: str) -> None:
    async def body() -> None:
        async with open_sqlite_event_store(path) as store:
            assert [(head.stream, head.version) for head in (await store.streams(limit=9)).heads] == [(MILK, 3), (TEA, 3)]
            for damage in ("the head is one further", "a stream is renamed"):
                change(path, *CHANGES[damage])
                with pytest.raises(CorruptStoreError):
                    await store.streams(limit=9)

    anyio.run(body, backend=backend)


def test_two_names_may_have_one_checksum(path: Path, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "name_checksum", lambda _name: 7)
    change(path, "UPDATE stream_names SET checksum = 7")

    async def body() -> None:
        async with open_inventory(f"sqlite:{path}") as inventory:
            assert (await inventory.stock("coffee", "berlin")).version == 0
            await inventory.add_stock("coffee", "berlin", 1)
            assert (await inventory.stock("tea", "berlin")).on_hand == 12

    anyio.run(body, backend=backend)


@pytest.mark.parametrize("number", [0, 2, 5])
@pytest.mark.parametrize("bit", [0, 60, 127])
@pytest.mark.parametrize("warm", [0, 9])
def test_a_command_is_not_repeated_because_the_index_lost_its_id(number: int, bit: int, warm: int, path: Path, backend: str) -> None:
    async def body() -> None:
        async with open_inventory(f"sqlite:{path}") as inventory:
            for name in "abcdef":
                await inventory.add_stock("tea", "berlin", 1, command_id=name)
        flip_in_index(path, number, bit)
        async with open_inventory(f"sqlite:{path}", settings=HandlerSettings(warm_inventories=warm)) as inventory:
            for _ in range(2):
                with pytest.raises(CorruptStoreError, match="the index of event ids"):
                    await inventory.add_stock("tea", "berlin", 1, command_id="abcdef"[number])
            assert (await inventory.stock("tea", "berlin")).on_hand == 18
        async with open_sqlite_event_store(path) as store:
            event_id = (await store.read_stream(TEA, after=3 + number, limit=1)).events[0].event_id
            with pytest.raises(CorruptStoreError, match="the index of event ids"):
                await store.find_events(TEA, [event_id])

    anyio.run(body, backend=backend)


def flip_in_index(path: Path, number: int, bit: int) -> None:
    """Flip a bit of the id of one of the commands' events, where the index of ids has it."""
    with closing(sqlite3.connect(path)) as connection:
        (event_id,) = connection.execute("SELECT event_id FROM events WHERE stream_id = 1 AND version = ?", (4 + number,)).fetchone()
        (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'events_by_id'").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    content = bytearray(path.read_bytes())
    place = content.index(event_id, (root - 1) * size, root * size)
    content[place + bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE snapshots SET data = CAST(replace(CAST(data AS TEXT), '12', '99') AS BLOB)",
        "UPDATE snapshots SET version = version - 1",
        "UPDATE snapshots SET event_id = zeroblob(16)",
        "UPDATE snapshots SET event_id = zeroblob(3)",
        "UPDATE snapshots SET stream = 'inventory-milk-berlin' WHERE stream = 'inventory-tea-berlin'",
        "UPDATE snapshots SET checksum = NULL",
    ],
)
def test_a_damaged_snapshot_is_none(statement: str, path: Path, backend: str) -> None:
    async def body() -> None:
        snapshot = Snapshot(stream=TEA, schema_version=1, version=3, event_id=UUID(int=1), data=b'{"on_hand":12}')
        async with open_sqlite_event_store(path) as store:
            await store.save_snapshot(snapshot)
            assert await store.load_snapshot(TEA, schema_version=1) == snapshot
            change(path, statement)
            assert await store.load_snapshot(TEA, schema_version=1) is None
            assert await store.load_snapshot(MILK, schema_version=1) is None
            await store.save_snapshot(snapshot)
            assert await store.load_snapshot(TEA, schema_version=1) == snapshot

    anyio.run(body, backend=backend)


def test_a_flipped_bit_gives_the_right_answer_or_an_error(tmp_path: Path, backend: str) -> None:
    verdicts = flip(tmp_path, 200, backend)
    assert verdicts.keys() <= FINE
    assert verdicts["refused"] > verdicts["right"] > 0
