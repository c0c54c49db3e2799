"""CA-30: a process forks, and parent and child both use the cache. The writer that both run stands here too."""

from collections.abc import Awaitable, Callable

from inventory_es.ports import Cache, CacheEntry
from inventory_es.testing.contracts.cache.harness import LONG, CacheHarness
from inventory_es.testing.contracts.processes.other_process import Step, steps_of
from inventory_es.testing.promise import MismatchError, promise

_FORKS = "After a fork, parent and child each set and find their own entries, whichever closes first; an inherited handle is closed."


class ForkCases:
    """Cases of forks: a handle never survives a fork, and the site does."""

    @promise("CA-30", _FORKS, seeds=0)
    async def test_ca_30_the_parent_closes_first(self, harness: CacheHarness) -> None:
        await _finds_its_own(harness, "parent_closes_first")

    @promise("CA-30", _FORKS, seeds=0)
    async def test_ca_30_the_parent_goes_on(self, harness: CacheHarness) -> None:
        await _finds_its_own(harness, "parent_goes_on")


async def _finds_its_own(harness: CacheHarness, plan: str) -> None:
    if not harness.contract.survives_fork:
        harness.run.not_declared("survives_fork")
    for step in await steps_of(harness.run, plan, reopen=harness.open):
        if "wrong" in step:
            raise MismatchError(
                expected=f"entry {step['number']} of {step['writer']}, or a miss",
                got=step["wrong"],
                meaning="parent and child got each other's answers",
            )


async def write_rounds(cache: Cache, writer: str, rounds: int, tell: Callable[[Step], None]) -> None:
    """Set this writer's entry ``rounds`` times, each version newer than the one before, and tell whether each is found again.

    An entry that is neither missing nor the one that was set is reported as ``wrong``.
    """
    for number in range(1, rounds + 1):
        kept = CacheEntry(f"{writer} {number}".encode(), number)
        await cache.set(writer, kept.value, version=number, ttl=LONG)
        found = await cache.get(writer)
        wrong = {} if found in {None, kept} else {"wrong": repr(found)}
        tell({"writer": writer, "number": number, "at": 0, **wrong})


def uses(cache: Cache) -> dict[str, Callable[[], Awaitable[object]]]:
    """Return a call of each method of a cache, by its name."""
    return {
        "get": lambda: cache.get("k"),
        "set": lambda: cache.set("k", b"v", version=1, ttl=LONG),
        "invalidate": lambda: cache.invalidate("k"),
    }
