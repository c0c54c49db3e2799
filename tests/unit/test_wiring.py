"""How ``open_inventory`` finds its store, and what it says to look-alikes."""

from pathlib import Path
from typing import Any

import anyio
import pytest

from inventory_es import HandlerSettings, StreamId, open_inventory
from inventory_es.adapters.memory import MemoryCache, MemoryEventStore, MemorySnapshotStore
from inventory_es.adapters.sqlite import open_sqlite_event_store
from inventory_es.adapters.system import SystemClock
from inventory_es.errors import StoreClosedError
from inventory_es.ports import Cache, Clock


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


COLD = HandlerSettings(warm_inventories=0, snapshot_after=2)


@pytest.mark.parametrize("store", ["sqlite:{0}/stock.db", "file:{0}/stock"])
@pytest.mark.parametrize("snapshots", ["sqlite:{0}/stock.db", "sqlite:{0}/snapshots.db"])
def test_snapshots_by_url_outlive_the_process(store: str, snapshots: str, tmp_path: Path, backend: str) -> None:
    async def main() -> None:
        for opening in (1, 2):
            async with open_inventory(store.format(tmp_path), snapshots=snapshots.format(tmp_path), settings=COLD) as inventory:
                for _ in range(5):
                    await inventory.add_stock("tea", "berlin", 1)
                assert (await inventory.stock("tea", "berlin")).on_hand == 5 * opening
        async with open_sqlite_event_store(snapshots.removeprefix("sqlite:").format(tmp_path)) as kept:
            found = await kept.load_snapshot(StreamId("inventory", "tea", "berlin"), schema_version=1)
            assert found is not None
            assert found.version == 9

    anyio.run(main, backend=backend)


def test_a_snapshot_store_object_stays_the_callers_to_close(backend: str) -> None:
    async def main() -> None:
        snapshots = MemorySnapshotStore()
        async with open_inventory("memory:", snapshots=snapshots):
            pass
        assert await snapshots.load_snapshot(StreamId("inventory", "tea", "berlin"), schema_version=1) is None
        await snapshots.aclose()
        with pytest.raises(StoreClosedError):
            await snapshots.clear_snapshots()

    anyio.run(main, backend=backend)


def test_a_url_that_keeps_no_snapshots_is_told_so_and_nothing_stays_open(tmp_path: Path, backend: str) -> None:
    async def main() -> None:
        closed: list[str] = []

        class Watched(MemoryEventStore):
            async def aclose(self) -> None:
                closed.append("event store")
                await super().aclose()

        async def give() -> Watched:
            return Watched()

        inventory = open_inventory("memory:", snapshots="memory:")
        inventory._opening._open_store = give
        with pytest.raises(ValueError, match="'memory:' keeps no snapshots"):
            await inventory.__aenter__()
        assert closed == ["event store"]

    anyio.run(main, backend=backend)


def test_what_keeps_no_snapshots_is_refused() -> None:
    with pytest.raises(TypeError, match="a dict keeps no snapshots"):
        open_inventory("memory:", snapshots={})  # type: ignore[arg-type]  # the point of the test
    with pytest.raises(ValueError, match="write 'file:snapshots'"):
        open_inventory("memory:", snapshots="snapshots")


@pytest.mark.parametrize(
    "name,url,right",
    [
        ("cache", "redis:s3cret@host", "names no server"),
        ("cache", "redis://u:s3cret@host?prefx=a", "unknown option 'prefx'"),
        ("cache", "memcached://u:s3cret@host", "is no cache: known are memory:, redis:, rediss: and objects"),
        ("cache", "redis", "is no cache"),
        ("cache", "memory:x", "'memory:'"),
        (
            "bus",
            "carrier-pigeon://u:s3cret@host",
            "is no event bus: known are amqp:, amqps:, file:, kafka:, memory:, nats:, redis:, rediss:, sqs: and objects",
        ),
        ("bus", "kafka://u:s3cret@host?lease=0.1", "lease is 1 to 600 seconds"),
        ("bus", "kafka://u:s3cret@host?sharts=2", "unknown option 'sharts'"),
        ("bus", "redis://u:s3cret@host?shards=0", "shards are 1 to 1024"),
        ("bus", "redis://u:s3cret@host?lease=long", "lease is 0.01 to 600 seconds"),
        ("bus", "nats://u:s3cret@host?replicas=2", "replicas are 1, 3 or 5"),
        ("bus", "nats://u:s3cret@host?sync=yes", "write sync=always"),
        ("bus", "nats://u:s3cret@host?sharts=2", "unknown option 'sharts'"),
        ("bus", "amqp://u:s3cret@host?heartbeat=0.5", "heartbeat is 1 to 600 whole seconds"),
        ("bus", "amqp://u:s3cret@host?lease=2", "unknown option 'lease'"),
        ("bus", "sqs://AKIA:s3cret@eu-central-1", "leave them out, the driver finds them"),
        ("bus", "sqs://eu-central-1?leese=2", "unknown option 'leese'"),
        ("bus", "memory:x", "'memory:'"),
    ],
)
def test_a_wrong_url_of_a_cache_or_a_bus_is_told_the_right_one(name: str, url: str, right: str) -> None:
    with pytest.raises(ValueError, match=right) as refused:
        open_inventory("memory:", read_models="memory:", **{name: url})  # type: ignore[arg-type]  # one of the two
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    "extra,port,scheme",
    [
        ("redis", "cache", "redis"),
        ("nats", "bus", "nats"),
        ("rabbitmq", "bus", "amqp"),
        ("kafka", "bus", "kafka"),
        ("sqs", "bus", "sqs"),
    ],
)
def test_a_missing_extra_names_its_install(extra: str, port: str, scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inventory_es.wiring.find_spec", lambda _name: None)
    with pytest.raises(ModuleNotFoundError, match=rf"pip install 'inventory_es\[{extra}\]'") as refused:
        open_inventory("memory:", read_models="memory:", **{port: f"{scheme}://u:s3cret@host"})  # type: ignore[arg-type]  # one of the two
    assert "s3cret" not in str(refused.value)


def test_a_cache_and_a_bus_by_url_are_used_and_closed(backend: str) -> None:
    async def main() -> None:
        async with open_inventory("memory:", read_models="memory:", cache="memory:", bus="memory:") as inventory:
            done = await inventory.add_stock("tea", "berlin", 3)
            await inventory.followers.catch_up(on_failure="stop")
            row = await inventory.queries.stock("tea", "berlin", wait_for_position=done.position)
            assert row is not None
            assert row.available == 3

    anyio.run(main, backend=backend)


class OneEntryPoint:
    """An installed package with a cache."""

    def __init__(self, opening: object) -> None:
        self.name = "shop"
        self.value = "shop:open_it"
        self._opening = opening

    def load(self) -> object:
        return self._opening


def test_a_strangers_cache_gets_its_whole_url_and_the_clock(monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    opened: list[tuple[str, Clock]] = []
    cache = MemoryCache(clock=SystemClock())

    async def open_it(url: str, *, clock: Clock) -> Cache:
        opened.append((url, clock))
        return cache

    monkeypatch.setattr(
        "inventory_es.wiring.entry_points", lambda group, name="": [OneEntryPoint(open_it)] if group.endswith("caches") else []
    )
    clock = SystemClock()

    async def main() -> None:
        async with open_inventory("memory:", read_models="memory:", cache="shop://u:p@host", clock=clock) as inventory:
            await inventory.add_stock("tea", "berlin", 3)
        assert opened == [("shop://u:p@host", clock)]
        with pytest.raises(StoreClosedError):
            await cache.get("k")

    anyio.run(main, backend=backend)


@pytest.mark.parametrize(
    "kind, argument, given", [("caches", "cache", "shop:"), ("event_buses", "bus", "shop:"), ("event_stores", "", "shop:x")]
)
def test_a_strangers_object_of_a_wrong_type_is_an_error(
    kind: str, argument: str, given: str, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    async def open_it(*_place: object, **_clock: object) -> object:
        return object()

    def installed(group: str, name: str = "") -> list[OneEntryPoint]:
        return [OneEntryPoint(open_it)] if group.endswith(kind) else []

    monkeypatch.setattr("inventory_es.wiring.entry_points", installed)

    async def main() -> None:
        parts: dict[str, Any] = {argument: given, "read_models": "memory:"} if argument else {}
        async with open_inventory("memory:" if argument else given, **parts):
            pytest.fail("its calls would be made nowhere")

    with pytest.raises(TypeError, match=r"the entry point 'shop:open_it' opened no .*: object lacks methods of"):
        anyio.run(main, backend=backend)


def test_the_text_of_the_parts_has_no_password() -> None:
    url = "postgresql://user:s3cret@127.0.0.1/shop"
    parts = open_inventory(url, read_models=url, snapshots=url, cache="redis://:s3cret@127.0.0.1", bus="redis://:s3cret@127.0.0.1")
    assert "s3cret" not in repr(vars(parts)) + repr(vars(parts._opening))
    assert "s3cret" not in repr(parts._opening._parts)
