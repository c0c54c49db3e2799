"""SN-7: a process forks, and parent and child both use the snapshot store. The writer that both run stands here too."""

from collections.abc import Awaitable, Callable

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import SnapshotStore
from inventory_es.testing.contracts.processes.other_process import Step, steps_of
from inventory_es.testing.contracts.snapshot_store.harness import SCHEMA, STREAM, SnapshotHarness, snapshot
from inventory_es.testing.promise import promise

_FORKS = "After a fork, parent and child each save, whichever closes first or ends, and nothing is lost; an inherited handle is closed."


class ForkCases:
    """Cases of forks: a handle never survives a fork, and the site does."""

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

    newest: dict[str, int] = {}
    for step in await steps_of(harness.run, plan, reopen=harness.open):
        newest[step["writer"]] = max(step["number"], newest.get(step["writer"], 0))
    async with harness.open() as store:
        for writer, number in newest.items():
            stream = stream_of(writer)
            await store.gives(
                snapshot(number, writer, stream=stream), stream=stream, meaning="a snapshot of the parent or of a child is lost"
            )


def stream_of(writer: str) -> StreamId:
    """Return the stream whose snapshots a writer saves."""
    return StreamId("inventory", writer, "x")


async def write_rounds(store: SnapshotStore, writer: str, rounds: int, tell: Callable[[Step], None]) -> None:
    """Save ``rounds`` snapshots of this writer's stream, each newer than the one before, and tell each."""
    for number in range(1, rounds + 1):
        await store.save_snapshot(snapshot(number, writer, stream=stream_of(writer)))
        tell({"writer": writer, "number": number, "at": 0})


def uses(store: SnapshotStore) -> dict[str, Callable[[], Awaitable[object]]]:
    """Return a call of each method of a snapshot store, by its name."""
    return {
        "load_snapshot": lambda: store.load_snapshot(STREAM, schema_version=SCHEMA),
        "save_snapshot": lambda: store.save_snapshot(snapshot(1, "inherited", stream=stream_of("inherited"))),
        "discard_snapshots": lambda: store.discard_snapshots(STREAM),
    }
