"""The cache on Valkey in trouble: a killed server, a frozen one, a full one, a cluster, a wrong password."""

import threading
from bisect import bisect_right
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from time import monotonic
from typing import Any

import anyio
import pytest
import redis
from anyio.lowlevel import checkpoint

from inventory_es import open_inventory
from inventory_es.adapters.memory import MemoryCache, MemoryEventStore, MemoryReadModel
from inventory_es.adapters.redis import RedisCache, open_redis_cache
from inventory_es.adapters.system import SystemClock
from inventory_es.application.guards import CircuitBreaker, guarded
from inventory_es.application.observers import BreakerChanged
from inventory_es.application.queries.tiered_cache import TieredCache
from inventory_es.ports import CacheEntry
from inventory_es.ports.errors import CacheUnavailableError
from tests.servers.valkey import Server, running_valkey, shared_cluster

HOUR = timedelta(hours=1)
NOTICES = "inventory_es change notices"


@pytest.fixture
def server() -> Iterator[Server]:
    with running_valkey() as running:
        yield running


def uses(cache: RedisCache) -> list[Callable[[], Coroutine[Any, Any, object]]]:
    return [partial(cache.get, "k"), partial(cache.set, "k", b"v", version=1, ttl=HOUR), partial(cache.invalidate, "k"), cache.clear]


@asynccontextmanager
async def late_server(server: Server) -> AsyncIterator[None]:
    server.freeze()
    try:
        yield
    finally:
        server.thaw()


def test_a_killed_server_is_unavailable_and_a_new_one_is_used(server: Server, backend: str) -> None:
    async def play() -> None:
        async with open_redis_cache(server.url, timeout=5) as cache:
            await cache.set("k", b"v", version=1, ttl=HOUR)
            server.kill()
            for use in uses(cache):
                with pytest.raises(CacheUnavailableError):
                    await use()
            server.start()
            assert await cache.get("k") is None
            await cache.set("k", b"w", version=2, ttl=HOUR)
            assert await cache.get("k") == CacheEntry(b"w", 2)

    anyio.run(play, backend=backend)


def test_a_server_that_was_never_there_is_no_error_at_opening(server: Server, backend: str) -> None:
    async def play() -> None:
        server.kill()
        async with open_redis_cache(server.url) as cache:
            with pytest.raises(CacheUnavailableError, match="unavailable"):
                await cache.get("k")

    anyio.run(play, backend=backend)


def test_callers_of_a_late_server_wait_for_one_answer_and_not_in_rows(server: Server, backend: str) -> None:
    async def play() -> None:
        async with open_redis_cache(server.url, timeout=0.3) as cache:
            await cache.get("k")
            failed: list[CacheUnavailableError] = []

            async def ask() -> None:
                with pytest.raises(CacheUnavailableError) as refused:
                    await cache.get("k")
                failed.append(refused.value)

            async with late_server(server):
                with anyio.fail_after(5):  # in rows of eight it would be 64 / 8 times the timeout, and connecting again each time
                    async with anyio.create_task_group() as tasks:
                        for _ in range(64):
                            tasks.start_soon(ask)
            assert len(failed) == 64
            assert sum("another call" in str(one) for one in failed) >= 48
            assert await cache.get("k") is None

    anyio.run(play, backend=backend)


def test_a_breaker_above_refuses_at_once(server: Server, backend: str) -> None:
    async def play() -> None:
        async with open_redis_cache(server.url, timeout=0.05) as bare, late_server(server):
            cache = guarded(bare, CircuitBreaker("cache", threshold=2, pause=600))
            for _ in range(2):
                with pytest.raises(CacheUnavailableError):
                    await cache.get("k")
            with pytest.raises(CacheUnavailableError, match="circuit breaker"):
                await cache.get("k")

    anyio.run(play, backend=backend)


def test_a_full_server_says_so_keeps_what_it_has_and_reads_on(backend: str) -> None:
    async def play(server: Server) -> None:
        async with open_redis_cache(server.url, timeout=5) as cache:
            await cache.set("k", b"v", version=1, ttl=HOUR)
            with redis.Redis.from_url(server.url) as other:
                other.config_set("maxmemory", "1mb")
            with pytest.raises(CacheUnavailableError, match="maxmemory") as refused:
                await cache.set("k", b"w", version=2, ttl=HOUR)
            assert not refused.value.retryable
            assert await cache.get("k") == CacheEntry(b"v", 1)
            await cache.invalidate("k")
            assert await cache.get("k") is None

    with running_valkey({"maxmemory-policy": "noeviction"}) as server:
        anyio.run(play, server, backend=backend)


def test_a_full_server_that_evicts_gives_only_what_was_set(backend: str) -> None:
    async def play(server: Server) -> None:
        async with open_redis_cache(server.url, timeout=5) as cache:
            for number in range(300):
                await cache.set(f"k{number}", b"%04d" % number * 2_500, version=number, ttl=HOUR)
            found = [await cache.get(f"k{number}") for number in range(300)]
            kept = [number for number, entry in enumerate(found) if entry is not None]
            assert 0 < len(kept) < 300
            assert [found[number] for number in kept] == [CacheEntry(b"%04d" % number * 2_500, number) for number in kept]

    with running_valkey({"maxmemory": "3mb", "maxmemory-policy": "allkeys-lru"}) as server:
        anyio.run(play, server, backend=backend)


@pytest.mark.parametrize("option", ["no", "yes"])
def test_a_cluster_serves_it(option: str, backend: str) -> None:
    """Every server of a cluster refuses a command over two slots, so one server with all slots shows that none is sent."""

    async def play() -> None:
        options = f"cluster={option}&prefix=cache_{option}_{backend}"
        async with open_redis_cache(f"{shared_cluster().url}?{options}", timeout=5) as cache:
            keys = [f"{{tag{number}}}k" for number in range(40)]
            for key in keys:
                await cache.set(key, key.encode(), version=1, ttl=HOUR)
            await cache.invalidate(*keys[:20])
            assert [await cache.get(key) for key in keys] == [None] * 20 + [CacheEntry(key.encode(), 1) for key in keys[20:]]
            await cache.clear()
            assert [await cache.get(key) for key in keys] == [None] * 40

    anyio.run(play, backend=backend)


def test_a_wrong_password_is_named_and_not_shown(backend: str) -> None:
    async def play(server: Server) -> None:
        url = server.url.replace("redis://", "redis://:s3cret@")
        async with open_redis_cache(url, timeout=5) as cache:
            with pytest.raises(CacheUnavailableError, match="user and the password") as refused:
                await cache.get("k")
        assert "s3cret" not in str(refused.value)
        assert "s3cret" not in repr(refused.value)
        assert not refused.value.retryable

    with running_valkey({"requirepass": "other"}) as server:
        anyio.run(play, server, backend=backend)


def test_clear_leaves_other_prefixes_and_other_keys_alone(server: Server, backend: str) -> None:
    async def play() -> None:
        with redis.Redis.from_url(server.url) as other:
            other.set("inventory_es", "theirs")
            other.set("inventory_es:cx", "theirs")
        async with (
            open_redis_cache(f"{server.url}?prefix=one", timeout=5) as one,
            open_redis_cache(f"{server.url}?prefix=one1", timeout=5) as near,
            open_redis_cache(server.url, timeout=5) as cache,
        ):
            for each in (one, near, cache):
                await each.set("k", b"v", version=1, ttl=HOUR)
                await each.set("x" * 1_000, b"v", version=1, ttl=HOUR)
            await one.clear()
            await cache.clear()
            assert [await each.get(key) for each in (one, cache) for key in ("k", "x" * 1_000)] == [None] * 4
            assert await near.get("k") == await near.get("x" * 1_000) == CacheEntry(b"v", 1)
        with redis.Redis.from_url(server.url) as other:
            assert sorted(other.scan_iter("inventory_es*")) == [b"inventory_es", b"inventory_es:cx"]

    anyio.run(play, backend=backend)


def test_two_services_that_share_it_answer_right_whatever_the_server_does(server: Server, backend: str) -> None:
    """One of two services over a store moves stock, the other answers. The server is killed and started again meanwhile."""

    async def play() -> None:
        store, rows = MemoryEventStore(), MemoryReadModel()
        async with (
            open_redis_cache(server.url, timeout=5) as one,
            open_redis_cache(server.url, timeout=5) as other,
            open_inventory(store, read_models=rows, cache=one) as moving,
            open_inventory(store, read_models=rows, cache=other) as asking,
        ):
            for number in range(1, 9):
                if number == 3:
                    server.kill()
                if number == 6:
                    server.start()
                done = await moving.add_stock("espresso-1kg", "berlin", 1)
                await moving.followers.catch_up(on_failure="stop")
                for service in (moving, asking, asking):
                    row = await service.queries.stock("espresso-1kg", "berlin", wait_for_position=done.position)
                    assert row is not None
                    assert row.available == number
            assert await other.get("stock:espresso-1kg:berlin") is not None

    anyio.run(play, backend=backend)


def test_a_service_with_its_url_answers_with_and_without_the_server(server: Server, backend: str) -> None:
    changes: list[str] = []

    class Operations:
        def breaker_changed(self, record: BreakerChanged) -> None:
            changes.append(record.after)

    async def play() -> None:
        url = f"{server.url}?timeout=5"
        async with open_inventory("memory:", read_models="memory:", cache=url, observers=[Operations()]) as inventory:
            for number in range(1, 7):
                if number == 3:
                    server.kill()
                done = await inventory.add_stock("tea", "berlin", 1)
                await inventory.followers.catch_up(on_failure="stop")
                row = await inventory.queries.stock("tea", "berlin", wait_for_position=done.position)
                assert row is not None
                assert row.available == number
        assert changes == ["open"]

    anyio.run(play, backend=backend)


def tiers_over(far: RedisCache) -> TieredCache:
    return TieredCache(MemoryCache(clock=SystemClock()), far, clock=SystemClock())


async def mark_of(far: RedisCache, key: str, *, beside: int | None = None) -> int:
    """Return the mark of a key, as soon as there is one that is not ``beside``."""
    with anyio.fail_after(20):
        while (mark := far.change_mark(key)) is None or mark == beside:
            await checkpoint()
    return mark


async def without_mark(far: RedisCache, key: str) -> None:
    with anyio.fail_after(20):
        while far.change_mark(key) is not None:
            await checkpoint()


CHANGES: dict[str, Callable[[RedisCache], Awaitable[None]]] = {
    "set": lambda cache: cache.set("k", b"new", version=2, ttl=HOUR),
    "invalidate": lambda cache: cache.invalidate("k"),
    "clear": lambda cache: cache.clear(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_another_process_ends_the_near_entry(server: Server, backend: str, change: str) -> None:
    async def play() -> None:
        async with open_redis_cache(server.url, timeout=5) as far, open_redis_cache(server.url, timeout=5) as theirs:
            near = tiers_over(far)
            await mark_of(far, "k")
            await near.set("k", b"old", version=1, ttl=HOUR)
            assert await near.get("k") == CacheEntry(b"old", 1)
            mark = await mark_of(far, "k")
            await CHANGES[change](theirs)
            assert await mark_of(far, "k", beside=mark) != mark
            assert await near.get("k") == (await tiers_over(theirs).get("k"))

    anyio.run(play, backend=backend)


def test_a_near_entry_needs_no_server_while_nothing_changes(server: Server, backend: str) -> None:
    async def play() -> None:
        async with open_redis_cache(server.url, timeout=5) as far:
            near = tiers_over(far)
            before = await mark_of(far, "k")
            await near.set("k", b"v", version=1, ttl=HOUR)
            await mark_of(far, "k", beside=before)  # its own change is told too
            assert await near.get("k") == CacheEntry(b"v", 1)
            with redis.Redis.from_url(server.url) as raw:
                asked = raw.info("commandstats")["cmdstat_get"]["calls"]
                for _ in range(50):
                    assert await near.get("k") == CacheEntry(b"v", 1)
                assert raw.info("commandstats")["cmdstat_get"]["calls"] == asked

    anyio.run(play, backend=backend)


@pytest.mark.parametrize("trouble", ["killed", "frozen"])
def test_near_entries_are_not_used_while_changes_are_not_told(server: Server, backend: str, trouble: str) -> None:
    async def play() -> None:
        async with open_redis_cache(server.url, timeout=0.5) as far:
            near = tiers_over(far)
            mark = await mark_of(far, "k")
            await near.set("k", b"v", version=1, ttl=HOUR)
            if trouble == "killed":
                server.kill()
            else:
                server.freeze()
            await without_mark(far, "k")
            with pytest.raises(CacheUnavailableError):
                await near.get("k")
            if trouble == "killed":
                server.start()
            else:
                server.thaw()
            assert await mark_of(far, "k") != mark

    anyio.run(play, backend=backend)


def test_a_flushed_server_ends_every_near_entry(server: Server, backend: str) -> None:
    async def play() -> None:
        async with open_redis_cache(server.url, timeout=5) as far:
            near = tiers_over(far)
            mark = await mark_of(far, "k")
            await near.set("k", b"v", version=1, ttl=HOUR)
            mark = await mark_of(far, "k", beside=mark)
            with redis.Redis.from_url(server.url) as raw:
                raw.flushall()
            await mark_of(far, "k", beside=mark)
            assert await near.get("k") is None

    anyio.run(play, backend=backend)


def test_a_server_that_refuses_to_tell_changes_is_an_error_with_the_remedy(server: Server, backend: str) -> None:
    async def play() -> None:
        with redis.Redis.from_url(server.url) as raw:
            raw.execute_command(
                "ACL", "SETUSER", "shop", "on", ">pw", "~*", "+get", "+evalsha", "+eval", "+set", "+getrange", "+client|setinfo"
            )
        async with open_redis_cache(server.url.replace("//", "//shop:pw@"), timeout=5) as far:
            with pytest.raises(CacheUnavailableError, match="CLIENT TRACKING"):
                await mark_of(far, "k")
            with pytest.raises(CacheUnavailableError, match="CLIENT TRACKING"):
                await tiers_over(far).get("k")

    anyio.run(play, backend=backend)


def test_near_answers_of_two_processes_are_at_most_a_second_old(server: Server, backend: str) -> None:
    written: list[float] = []  # by version, when it had been written

    async def play() -> None:
        async with open_redis_cache(server.url, timeout=5) as far, open_redis_cache(server.url, timeout=5) as theirs:
            near, writing = tiers_over(far), tiers_over(theirs)
            await mark_of(far, "k")

            async def write() -> None:
                for version in range(100):
                    await writing.set("k", b"v", version=version, ttl=HOUR)
                    written.append(monotonic())

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(write)
                while len(written) < 100:
                    asked = monotonic()
                    entry = await near.get("k")
                    newest = bisect_right(written, asked - 1.0) - 1
                    assert newest < 0 or (entry is not None and entry.version >= newest)

    anyio.run(play, backend=backend)


def test_closing_ends_the_thread_that_reads_notices(server: Server, backend: str) -> None:
    async def play() -> None:
        async with open_redis_cache(server.url, timeout=5) as far:
            await mark_of(far, "k")
            assert [one for one in threading.enumerate() if one.name == NOTICES]
        assert not [one for one in threading.enumerate() if one.name == NOTICES]
        assert far.change_mark("k") is None

    anyio.run(play, backend=backend)
