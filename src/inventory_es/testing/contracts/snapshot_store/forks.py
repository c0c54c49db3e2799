"""SN-7: a process forks, and parent and child both go on."""

from inventory_es.testing.contracts.processes.forked import steps_of
from inventory_es.testing.contracts.snapshot_store.harness import SnapshotHarness, snapshot
from inventory_es.testing.contracts.snapshot_store.writer import stream_of
from inventory_es.testing.promise import promise

_FORKS = "After a fork, parent and child each save, whichever closes first or ends, and nothing is lost; an inherited handle is closed."


class ForkCases:
    """A handle is never carried over a fork; the site is."""

    @promise("SN-7", _FORKS, seeds=0)
    async def test_sn_7_the_parent_closes_first(self, harness: SnapshotHarness) -> None:
        await _holds_every_snapshot(harness, "parent_closes_first")

    @promise("SN-7", _FORKS, seeds=0)
    async def test_sn_7_a_daemon(self, harness: SnapshotHarness) -> None:
        await _holds_every_snapshot(harness, "parent_ends")

    @promise("SN-7", _FORKS, seeds=0)
    async def test_sn_7_the_parent_goes_on(self, harness: SnapshotHarness) -> None:
        await _holds_every_snapshot(harness, "parent_goes_on")


async def _holds_every_snapshot(harness: SnapshotHarness, plan: str) -> None:
    if not (harness.contract.is_durable and harness.contract.multi_process and harness.contract.survives_fork):
        harness.run.not_declared("is_durable, multi_process and survives_fork")

    async def visit() -> None:
        async with harness.open():
            pass

    await visit()
    newest: dict[str, int] = {}
    for step in await steps_of(harness.run, plan, visit=visit):
        newest[step["writer"]] = max(step["number"], newest.get(step["writer"], 0))
    async with harness.open() as store:
        for writer, number in newest.items():
            stream = stream_of(writer)
            await store.gives(
                snapshot(number, writer, stream=stream), stream=stream, meaning="a snapshot of the parent or of a child is lost"
            )
