"""SN-1 … SN-3: the snapshots that are kept, and the one that is returned."""

from collections.abc import Sequence

import anyio

from inventory_es.domain.stream_id import StreamId
from inventory_es.testing.contracts.core.hostile_bytes import HOSTILE_BYTES
from inventory_es.testing.contracts.snapshot_store.harness import OTHER, SCHEMA, STREAM, SnapshotHarness, TestedSnapshots, snapshot
from inventory_es.testing.promise import promise

_STREAMS = (
    STREAM, OTHER, StreamId("inventory", "Espresso", "berlin"), StreamId("inventory", "a-b", "c"), StreamId("inventory", "a", "b-c"),
    StreamId("inventory", "ä", "b"), StreamId("inventory", "a\u0308", "b"), StreamId("inventory", "../a", "b"), StreamId("order", "a", "b"),
    StreamId("inventory", "%", "'; DROP TABLE snapshots; --"), StreamId("inventory", "🜁" * 128, "con"), StreamId("inventory", "a_", "b%"),
)  # fmt: skip
_LARGE = b"x" * 2_000_000
_SCRIPTS = ("x", "é", "ꙮ", "🜁")  # of one to four bytes
_SHAPES = ((1, 1), (1, 64), (1, 128), (2, 120), (4, 64), (8, 128), (16, 128))


class KeepingCases:
    """Cases of retention: the store returns a saved snapshot, or none."""

    @promise("SN-1", "The newest snapshot at or below a version is given, whole, and none above it.")
    async def test_sn_1_the_newest_at_or_below_a_version(self, harness: SnapshotHarness) -> None:
        async with harness.open() as store:
            await store.gives(None, meaning="nothing was saved")
            old, new = snapshot(10, "old"), snapshot(25, "new")
            await store.save(old)
            await store.gives(old, meaning="what was saved is not what is given")
            await store.gives(old, at_most=10, meaning="a snapshot of the very version is at or below it")
            await store.gives(None, at_most=9, meaning="one above the version can't be folded on from")
            await store.save(new)
            await store.gives(new, meaning="the newest one saves the most work")
            await store.gives(new, at_most=25, meaning="the newest one at or below the version saves the most work")
            await store.gives(old, None, at_most=24, meaning="one above the version can't be folded on from")
            await store.gives(None, at_most=0, meaning="there is nothing at or below version 0")

    @promise("SN-1", "Streams are independent of each other, and bytes come back as they were.", seeds=0)
    async def test_sn_1_streams_and_bytes(self, harness: SnapshotHarness) -> None:
        async with harness.open() as store:
            for number, stream in enumerate(_STREAMS):
                await store.save(snapshot(number + 1, f"of {number}", stream=stream))
            for number, stream in enumerate(_STREAMS):
                kept = snapshot(number + 1, f"of {number}", stream=stream)
                await store.gives(kept, stream=stream, meaning="two streams share a snapshot, or a stream did not take one")
            for number, data in enumerate(HOSTILE_BYTES, len(_STREAMS)):
                await store.save(snapshot(number, data))
                await store.gives(snapshot(number, data), meaning="the data is not byte for byte what was saved")
            large = snapshot(1_000, _LARGE)
            await store.save(large)
            await store.gives(large, None, meaning="a large state is neither whole nor forgotten")

    @promise("SN-15", "Streams with names of any length that differ in one character or in their category are distinct.", seeds=0)
    async def test_sn_15_long_names(self, harness: SnapshotHarness) -> None:
        async with harness.open() as store:
            for letter in _SCRIPTS:
                for count, length in _SHAPES:
                    for place in (0, length - 1):
                        parts = [letter * length] * count
                        ends = [(letter * length)[:place] + end + (letter * length)[place + 1 :] for end in "ab"]
                        streams = [StreamId("inventory", *parts[1:], end) for end in ends]
                        streams += [StreamId("inventory", end, *parts[1:]) for end in ends] if count > 1 else []
                        streams.append(StreamId("order", *streams[0].parts))
                        await _are_distinct(store, streams)

    @promise("SN-2", "An older snapshot never replaces a newer one, in any order of arrival.", seeds=8)
    async def test_sn_2_an_older_one_never_replaces_a_newer(self, harness: SnapshotHarness) -> None:
        async with harness.open() as store:
            await store.save(snapshot(5, "newer"))
            await store.save(snapshot(4, "older"))
            await store.gives(snapshot(5, "newer"), meaning="a slow process put an old state over a new one")
            await store.save(snapshot(10, "longer"))
            await store.save(snapshot(9, "shorter"))
            await store.gives(snapshot(10, "longer"), meaning="versions are numbers: 9 is older than 10")
            versions = list(range(11, 23))
            harness.run.schedule.chance.shuffle(versions)
            async with anyio.create_task_group() as tasks:
                for version in versions:
                    tasks.start_soon(store.save, snapshot(version, f"v{version}"))
            await store.gives(snapshot(22, "v22"), meaning=f"of the versions {versions}, saved at once, the newest must stay")
            await store.save(snapshot(12, "elsewhere", stream=OTHER))
            await store.gives(snapshot(12, "elsewhere", stream=OTHER), stream=OTHER, meaning="another stream's versions are its own")

    @promise("SN-3", "A snapshot of another schema version is not given, and is in nobody's way.")
    async def test_sn_3_another_schema_version(self, harness: SnapshotHarness) -> None:
        async with harness.open() as store:
            await store.save(snapshot(9, "next release", schema_version=SCHEMA + 1))
            await store.gives(None, meaning="a state of another schema version means something else")
            await store.save(snapshot(4, "ours"))
            await store.gives(snapshot(4, "ours"), meaning="a newer one of another schema version is no reason not to keep ours")
            await store.save(snapshot(3, "last release", schema_version=SCHEMA - 1))
            await store.gives(snapshot(4, "ours"), meaning="the schema version of another process took our snapshot's place")
            theirs = snapshot(9, "next release", schema_version=SCHEMA + 1)
            await store.gives(theirs, None, schema_version=SCHEMA + 1, meaning="it is another release's state, or forgotten")

    @promise("SN-3", "What can't be read is not given, and can be replaced.")
    async def test_sn_3_a_broken_entry(self, harness: SnapshotHarness) -> None:
        async with harness.open() as store:
            await store.save(snapshot(4, "whole" * 200))
            if not await harness.contract.tear(harness.run.site, STREAM):
                harness.run.not_declared("tear: the hook that cuts a stored snapshot short")
            await store.gives(None, meaning="half a state was given as a whole one")
            await store.save(snapshot(5, "whole again"))
            await store.gives(snapshot(5, "whole again"), meaning="a broken entry can't be replaced")


async def _are_distinct(store: TestedSnapshots, streams: Sequence[StreamId]) -> None:
    await store.clear()
    kept = {stream: snapshot(number, f"of {number}", stream=stream) for number, stream in enumerate(streams, 1)}
    for one in kept.values():
        await store.save(one)
    for stream, one in kept.items():
        await store.gives(one, stream=stream, meaning="two streams share a snapshot, or a stream did not take one")
    await store.discard(streams[0])
    for stream, one in kept.items():
        meaning = f"{streams[0]} was discarded, and {stream} is not what it was"
        await store.gives(None if stream == streams[0] else one, stream=stream, meaning=meaning)
