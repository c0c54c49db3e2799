"""ES-54, ES-55: a process forks, and parent and child both go on."""

from inventory_es.testing.contracts.core.tested_port import expect
from inventory_es.testing.contracts.event_store.harness import StoreHarness
from inventory_es.testing.contracts.event_store.processes import linearizable, need_other_processes
from inventory_es.testing.contracts.event_store.writer import STREAM
from inventory_es.testing.contracts.processes.forked import steps_of
from inventory_es.testing.promise import promise

_CHILD = "A forked child that opens the site loses nothing when its parent closes first or ends; a handle that it inherited is closed."


class ForkCases:
    """A handle is never carried over a fork; the site is."""

    @promise("ES-54", _CHILD, seeds=0)
    async def test_es_54_the_parent_closes_first(self, harness: StoreHarness) -> None:
        await _holds_every_step(harness, "parent_closes_first")

    @promise("ES-54", _CHILD, seeds=0)
    async def test_es_54_a_daemon(self, harness: StoreHarness) -> None:
        await _holds_every_step(harness, "parent_ends")

    @promise("ES-55", "A parent that forks, idle or in the middle of commits, goes on beside its children, and nothing is lost.", seeds=0)
    async def test_es_55_the_parent_goes_on(self, harness: StoreHarness) -> None:
        await _holds_every_step(harness, "parent_goes_on")


async def _holds_every_step(harness: StoreHarness, plan: str) -> None:
    async with harness.open() as store:
        harness.need(store, survives_fork=True, durable=True, multi_process=True)
    need_other_processes(harness)

    async def visit() -> None:
        async with harness.open():
            pass

    steps = await steps_of(harness.run, plan, visit=visit)
    async with harness.open() as store:
        await linearizable(store, steps)
        version = (await store.whole(STREAM)).version
        acknowledged = 2 * sum("version" in step and not step["replayed"] for step in steps)
        expect(
            that=version == acknowledged,
            expected=f"version {acknowledged}",
            got=version,
            meaning="acknowledged events of the parent or of a child are lost",
        )
