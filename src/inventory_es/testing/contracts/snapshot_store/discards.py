"""SN-4 … SN-6: cancelled saves, discarding, closing."""

from collections.abc import Callable, Coroutine
from functools import partial
from itertools import accumulate
from typing import Any

import anyio

from inventory_es.ports.errors import StoreClosedError
from inventory_es.testing.contracts.core.await_points import MOST_POINTS, cancel_at
from inventory_es.testing.contracts.core.tested_port import refused
from inventory_es.testing.contracts.snapshot_store.harness import OTHER, STREAM, SnapshotHarness, show, snapshot
from inventory_es.testing.promise import MismatchError, promise

_STEPS = 60


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
