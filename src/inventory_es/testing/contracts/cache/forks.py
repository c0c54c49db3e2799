"""CA-30: a process forks, and parent and child both go on."""

from inventory_es.testing.contracts.cache.harness import CacheHarness
from inventory_es.testing.contracts.processes.forked import steps_of
from inventory_es.testing.promise import MismatchError, promise

_FORKS = "After a fork, parent and child each set and find their own entries, whichever closes first; an inherited handle is closed."


class ForkCases:
    """A handle is never carried over a fork; the site is."""

    @promise("CA-30", _FORKS, seeds=0)
    async def test_ca_30_the_parent_closes_first(self, harness: CacheHarness) -> None:
        await _finds_its_own(harness, "parent_closes_first")

    @promise("CA-30", _FORKS, seeds=0)
    async def test_ca_30_the_parent_goes_on(self, harness: CacheHarness) -> None:
        await _finds_its_own(harness, "parent_goes_on")


async def _finds_its_own(harness: CacheHarness, plan: str) -> None:
    if not harness.contract.survives_fork:
        harness.run.not_declared("survives_fork")
    async with harness.open():
        pass
    for step in await steps_of(harness.run, plan):
        if "wrong" in step:
            raise MismatchError(
                expected=f"entry {step['number']} of {step['writer']}, or a miss",
                got=step["wrong"],
                meaning="parent and child got each other's answers",
            )
