"""A writer of cache entries that tells what it finds after each."""

from collections.abc import Awaitable, Callable

from inventory_es.ports import Cache, CacheEntry
from inventory_es.testing.contracts.cache.harness import LONG
from inventory_es.testing.contracts.processes.other_process import Step


async def write_rounds(cache: Cache, writer: str, rounds: int, tell: Callable[[Step], None]) -> None:
    """Set this writer's entry ``rounds`` times, each version newer than the one before, and tell whether each is found again.

    An entry that is neither missing nor what was set is told as ``wrong``.
    """
    for number in range(1, rounds + 1):
        kept = CacheEntry(f"{writer} {number}".encode(), number)
        await cache.set(writer, kept.value, version=number, ttl=LONG)
        found = await cache.get(writer)
        wrong = {} if found in {None, kept} else {"wrong": repr(found)}
        tell({"writer": writer, "number": number, "at": 0, **wrong})


def uses(cache: Cache) -> dict[str, Callable[[], Awaitable[object]]]:
    """Return every way of using a cache, by the name of the method."""
    return {
        "get": lambda: cache.get("k"),
        "set": lambda: cache.set("k", b"v", version=1, ttl=LONG),
        "invalidate": lambda: cache.invalidate("k"),
    }
