"""SN-1 … SN-6: the snapshots that are kept, returned, and discarded; closing."""

from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from itertools import accumulate
from typing import Any

import anyio

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.errors import StoreClosedError
from inventory_es.testing.contracts.core.await_points import MOST_POINTS, cancel_at
from inventory_es.testing.contracts.core.hostile_bytes import HOSTILE_BYTES
from inventory_es.testing.contracts.core.tested_port import refused
from inventory_es.testing.contracts.snapshot_store.harness import OTHER, SCHEMA, STREAM, SnapshotHarness, TestedSnapshots, show, snapshot
from inventory_es.testing.promise import MismatchError, promise

_STREAMS = (
    STREAM, OTHER, StreamId("inventory", "Espresso", "berlin"), StreamId("inventory", "a-b", "c"), StreamId("inventory", "a", "b-c"),
    StreamId("inventory", "ä", "b"), StreamId("inventory", "a\u0308", "b"), StreamId("inventory", "../a", "b"), StreamId("order", "a", "b"),
    StreamId("inventory", "%", "'; DROP TABLE snapshots; --"), StreamId("inventory", "🜁" * 128, "con"), StreamId("inventory", "a_", "b%"),
)  # fmt: skip
_LARGE = b"x" * 2_000_000
_SCRIPTS = ("x", "é", "ꙮ", "🜁")  # of one to four bytes
_SHAPES = ((1, 1), (1, 64), (1, 128), (2, 120), (4, 64), (8, 128), (16, 128))
_STEPS = 60


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


class ForgettingCases:
    """Cases of discarded snapshots."""

    @promise("SN-4", "A save that is cancelled leaves the snapshot before it, or the new one, or none; never a part.", seeds=1)
    async def test_sn_4_a_cancelled_save(self, harness: SnapshotHarness) -> None:
        async with harness.open() as store:
            before = snapshot(1, "state 1 " * 500)
            await store.save(before)
            for point in range(MOST_POINTS):
                saved = snapshot(point + 2, f"state {point + 2} " * 500)
                reached = await cancel_at(point, lambda at: store.save(saved, at_suspension=at))  # noqa: B023  # called at once
                found = await store.gives(before, saved, None, meaning=f"a save cancelled at await point {point} left something else")
                before = saved
                await store.save(saved)
                await store.gives(
                    saved, meaning=f"after a save cancelled at await point {point}, the same one can't be saved: {show(found)}"
                )
                if not reached:
                    break

    @promise("SN-4", "Who loads while others save gets one of them whole.", seeds=4)
    async def test_sn_4_loading_while_others_save(self, harness: SnapshotHarness) -> None:
        async with harness.open() as store:
            all_of_them = [snapshot(version, f"state {version} " * 500) for version in range(1, 9)]
            async with anyio.create_task_group() as tasks:
                for one in all_of_them:
                    tasks.start_soon(store.save, one)
                for _ in range(4):
                    tasks.start_soon(partial(store.gives, *all_of_them, None, meaning="a mixture of two snapshots was given"))

    @promise("SN-5", "Forgetting snapshots changes nothing observable: what is given folds on to the same state, or nothing is given.")
    async def test_sn_5_forgetting_changes_nothing(self, harness: SnapshotHarness) -> None:
        async with harness.open() as store:
            for stream in (STREAM, OTHER):
                await store.save(snapshot(7, "kept", stream=stream))
            await store.discard(STREAM)
            await store.gives(None, meaning="a discarded snapshot is still given")
            await store.gives(snapshot(7, "kept", stream=OTHER), stream=OTHER, meaning="a stream that was not named was discarded")
            await store.save(snapshot(3, "again"))
            await store.gives(snapshot(3, "again"), meaning="what was discarded is no longer newer than anything")
            await store.discard()
            await store.gives(snapshot(3, "again"), meaning="to discard the snapshots of no stream discards nothing")
            await store.discard(STREAM, STREAM, OTHER)
            await store.gives(None, stream=OTHER, meaning="only the first of several streams was discarded")
            await store.save(snapshot(9, "one"))
            await store.clear()
            await store.clear()
            await store.gives(None, meaning="a snapshot survived clear")
            await store.save(snapshot(2, "two"))
            await store.gives(snapshot(2, "two"), meaning="after clear, a snapshot of any version can be saved")

    @promise("SN-5", "In any history of saves and losses, folding on from what is given equals folding every event.", seeds=8)
    async def test_sn_5_any_history(self, harness: SnapshotHarness) -> None:
        chance = harness.run.schedule.chance
        events: list[int] = []
        async with harness.open() as store:
            for _ in range(_STEPS):
                events += [chance.randrange(1_000) for _ in range(chance.randrange(4))]
                states = [0, *accumulate(events)]
                version = chance.randrange(len(states))
                match chance.randrange(8):
                    case 0:
                        await store.discard(STREAM)
                    case 1:
                        await store.clear()
                    case 2 | 3 | 4 if version:
                        await store.save(snapshot(version, str(states[version])))
                    case _:
                        found = await store.load(at_most=version)
                        start, state = (found.version, int(found.data)) if found else (0, 0)
                        if start > version or state + sum(events[start:version]) != states[version]:
                            raise MismatchError(
                                expected=f"the state {states[version]} at version {version}",
                                got=show(found),
                                meaning="folding on from what is given gives another state than folding every event",
                            )

    @promise("SN-6", "Closing twice is fine; use after close is StoreClosedError; snapshots survive as declared.")
    async def test_sn_6_closing(self, harness: SnapshotHarness) -> None:
        async with harness.open() as store:
            await store.save(snapshot(6, "kept"))
            await store.close()
            await store.close()
            uses: list[Callable[[], Coroutine[Any, Any, object]]] = [
                store.load,
                partial(store.save, snapshot(7, "late")),
                partial(store.discard, STREAM),
                store.clear,
            ]
            for use in uses:
                await refused(StoreClosedError, use, meaning="a closed snapshot store must say that it is closed", answered=show)
        async with harness.open() as store:
            if harness.contract.is_durable:
                await store.gives(snapshot(6, "kept"), meaning="declared: snapshots survive opening the site again")
                await store.save(snapshot(5, "old"))
                await store.gives(snapshot(6, "kept"), meaning="after reopening, an older snapshot replaced a newer one")
            else:
                await store.gives(snapshot(6, "kept"), None, meaning="what is given must be what was saved")


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
