"""SN-11 … SN-14: calls that meet, are cancelled, or during which the store is closed; several instances of one site."""

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any

import anyio

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import Snapshot, SnapshotStore
from inventory_es.ports.errors import StoreClosedError, StoreUnavailableError
from inventory_es.testing.contracts.core.await_points import CALLERS, MOST_POINTS, cancel_at, close_again, hold_at
from inventory_es.testing.contracts.core.schedule import AtSuspension
from inventory_es.testing.contracts.core.tested_port import ends_well, refused, show_done
from inventory_es.testing.contracts.snapshot_store.harness import OTHER, SCHEMA, STREAM, SnapshotHarness, TestedSnapshots, show, snapshot
from inventory_es.testing.promise import MismatchError, promise

_TIMES = 40
_LOOKS = 3
_POOL = 20  # a connection that a cancelled call spoiled may come up again after all others
_OTHERS = snapshot(8, "newer other", stream=OTHER)
_OLD, _NEW, _NEWER = snapshot(4, "old"), snapshot(5, "new"), snapshot(6, "newer")

Use = Callable[[SnapshotStore], Coroutine[Any, Any, object]]
_USES: dict[str, Use] = {
    "load": lambda raw: raw.load_snapshot(STREAM, schema_version=SCHEMA),
    "save": lambda raw: raw.save_snapshot(_NEW),
    "save of a newer one": lambda raw: raw.save_snapshot(_NEWER),
    "discard": lambda raw: raw.discard_snapshots(STREAM),
    "clear": lambda raw: raw.clear_snapshots(),
    "save of another stream": lambda raw: raw.save_snapshot(_OTHERS),
    "discard of another stream": lambda raw: raw.discard_snapshots(OTHER),
}
_CALLS = ("load", "save", "discard", "clear")
_MEETINGS: Sequence[tuple[str, str, tuple[Snapshot | None, ...]]] = (
    ("load", "save", (_NEW,)),
    ("load", "discard", (None,)),
    ("load", "clear", (None,)),
    ("save", "save of a newer one", (_NEWER,)),
    ("save of a newer one", "save", (_NEWER,)),
    ("save", "load", (_NEW,)),
    ("save", "discard", (_NEW, None)),
    ("save", "clear", (_NEW, None)),
    ("discard", "save", (_NEW, None)),
    ("discard", "load", (None,)),
    ("clear", "save", (_NEW, None)),
    ("clear", "load", (None,)),
    ("save", "save of another stream", (_NEW,)),
    ("save", "discard of another stream", (_NEW,)),
    ("discard", "save of another stream", (None,)),
    ("load", "save of another stream", (_OLD,)),
)


class InterruptionCases:
    """Cases of callers that meet or give up, and of closing during a call."""

    @promise("SN-11", "Calls that meet at any await point leave what they leave one after the other: what was discarded stays so.", seeds=1)
    async def test_sn_11_calls_that_meet(self, harness: SnapshotHarness) -> None:
        other = snapshot(3, "other", stream=OTHER)
        async with harness.open() as store:
            for name, meanwhile, allowed in _MEETINGS:
                for point in range(1, MOST_POINTS):
                    await store.clear()
                    await store.save(_OLD)
                    await store.save(other)
                    met = await hold_at(point, _call(store, name), partial(_call(store, meanwhile), None))
                    if not met:
                        break
                    where = f"{meanwhile} during {name}, at its await point {point}"
                    await store.gives(*allowed, meaning=f"{where}: what is left is not what one after the other leaves")
                    if "clear" not in {name, meanwhile}:
                        left = {"save of another stream": _OTHERS, "discard of another stream": None}.get(meanwhile, other)
                        await store.gives(left, stream=OTHER, meaning=f"{where}: the snapshot of another stream is not what was left of it")

    @promise("SN-11", "64 callers at once all end, each with its own answer.")
    async def test_sn_11_many_callers(self, harness: SnapshotHarness) -> None:
        streams = [StreamId("inventory", f"s{number}") for number in range(8)]
        async with harness.open() as store:
            for number, stream in enumerate(streams, 1):
                await store.save(snapshot(number, stream=stream))

            async def ask(number: int) -> None:
                stream, version = streams[number % 8], number % 8 + 1
                await store.gives(snapshot(version, stream=stream), stream=stream, meaning="a caller got what another one asked for")
                await store.save(snapshot(version, stream=stream))

            async with anyio.create_task_group() as tasks:
                for number in range(CALLERS):
                    tasks.start_soon(ask, number)

    @promise("SN-17", "Callers that discard the same streams in different orders all end, wherever they meet.", seeds=2)
    async def test_sn_17_orders_of_streams(self, harness: SnapshotHarness) -> None:
        streams = [StreamId("inventory", f"s{number}") for number in range(3)]
        async with harness.open() as store:
            for point in range(1, MOST_POINTS):
                first = store.raw.discard_snapshots(*streams)
                call = partial(store.call, "discard three streams", first, show_done)
                met = await hold_at(point, call, partial(store.discard, *reversed(streams)))
                if not met:
                    break
            for stream in streams:
                await store.save(snapshot(2, stream=stream))
            async with anyio.create_task_group() as tasks:
                for number in range(CALLERS):
                    tasks.start_soon(store.discard, *(streams[number % 3 :] + streams[: number % 3]))
            for stream in streams:
                await store.gives(None, stream=stream, meaning="many callers discarded these streams at once, and one is still given")

    @promise(
        "SN-12",
        "A call that is cancelled at any await point, often, takes nothing from the next caller: no connection, no answer.",
        seeds=0,
    )
    async def test_sn_12_cancelled_often(self, harness: SnapshotHarness) -> None:
        version = 1
        async with harness.open() as store:
            for name in _CALLS:
                for point in range(MOST_POINTS):
                    reached = True
                    where = f"after {name} of another stream was cancelled at await point {point}"
                    for times in (1,) * _LOOKS + (_TIMES,):
                        mine = snapshot(version, f"mine {version}", stream=OTHER)
                        await store.save(mine)
                        for _ in range(times if reached else 1):
                            reached = await cancel_at(point, _call(store, name))
                        if name != "clear":
                            await store.gives(mine, stream=OTHER, meaning=f"{where}, a load has another answer")
                        await store.gives(_OLD, _NEW, _NEWER, None, meaning=f"{where}, something is given that was never saved")
                        version += 1
                        last = snapshot(version, f"last {version}", stream=OTHER)
                        await store.save(last)
                        for _ in range(1 if times == 1 else _POOL):
                            await store.gives(last, stream=OTHER, meaning=f"{where}, a save is lost, or a load has another answer")
                        version += 1
                    if not reached:
                        break

    @promise(
        "SN-13",
        "Closing during a call ends it with an answer or StoreClosedError, and what was told done is done.",
        seeds=0,
    )
    async def test_sn_13_closing_during_a_call(self, harness: SnapshotHarness) -> None:
        for name in _CALLS:
            for point in range(1, MOST_POINTS):
                done: list[bool] = []
                async with harness.open() as store:
                    await store.discard(STREAM)
                    await store.save(_OLD)
                    met = await hold_at(point, partial(_ends_well, store, name, done), store.close)
                    await _is_closed(store, f"the store works on after it was closed in a {name}")
                if harness.contract.is_durable:
                    async with harness.open() as store:
                        meaning = f"the store was closed under a {name}, at await point {point}: something else is left"
                        await store.gives(*_left(name, is_done=done == [True]), meaning=meaning)
                if not met:
                    break

    @promise("SN-13", "Closing that is cancelled at any await point, or begun twice at once, can be made again, and then is done.", seeds=0)
    async def test_sn_13_closing_again(self, harness: SnapshotHarness) -> None:
        for point in range(MOST_POINTS):
            async with harness.open() as store:
                reached = await close_again(point, store.close)
                await _is_closed(store, "the store works on after a close that was cancelled and made again")
            if not reached:
                break

    @promise("SN-14", "Several instances of one site are one store: what one saves or discards the others see.")
    async def test_sn_14_two_instances(self, harness: SnapshotHarness) -> None:
        if not harness.contract.multi_process:
            harness.run.not_declared("multi_process")
        async with harness.open() as one, harness.open() as two:
            await one.gives(None, meaning="nothing was saved")
            await two.save(_OLD)
            await one.gives(_OLD, meaning="an instance does not see what another one saved")
            await one.save(_NEWER)
            await two.gives(_NEWER, meaning="an instance gives what it saved itself, and not the newer one of another")
            await two.save(_NEW)
            for store in (one, two):
                await store.gives(_NEWER, meaning="an older snapshot of one instance replaced the newer one of another")
            await one.discard(STREAM)
            await two.gives(None, meaning="an instance gives what another one discarded")
            await two.save(_OLD)
            await one.gives(_OLD, meaning="what another instance discarded is still newer than anything")
            async with anyio.create_task_group() as tasks:
                for number in range(5, 25):
                    tasks.start_soon((one, two)[number % 2].save, snapshot(number, f"v{number}"))
            for store in (one, two):
                await store.gives(snapshot(24, "v24"), meaning="of versions that two instances saved at once, the newest must stay")
            await two.clear()
            await one.gives(None, meaning="an instance gives what another one cleared")
            await one.close()
            await two.save(_NEW)
            await two.gives(_NEW, meaning="closing one instance keeps another from working")

    @promise("SN-14", "Snapshots that survive are the same as before, field by field, and what was discarded stays so.")
    async def test_sn_14_what_survives(self, harness: SnapshotHarness) -> None:
        if not harness.contract.is_durable:
            harness.run.not_declared("is_durable")
        kept = snapshot(2**53 + 1, bytes(range(256)), schema_version=2)
        async with harness.open() as store:
            await store.save(kept)
            await store.save(snapshot(7, stream=OTHER))
            await store.save(snapshot(7, stream=OTHER, schema_version=2))
            await store.discard(OTHER)
        async with harness.open() as store:
            await store.gives(kept, schema_version=2, meaning="a snapshot changed while the store was closed")
            for schema_version in (2, SCHEMA):
                await store.gives(None, stream=OTHER, schema_version=schema_version, meaning="a discarded snapshot came back")
            await store.clear()
        async with harness.open() as store:
            await store.gives(None, schema_version=2, meaning="a snapshot survived clear, and opening the site again")


def _call(store: TestedSnapshots, name: str) -> Callable[[AtSuspension | None], Awaitable[object]]:
    return lambda at: store.call(f"{name} {STREAM}", _USES[name](store.raw), show if name == "load" else show_done, at)


def _left(name: str, *, is_done: bool) -> Sequence[Snapshot | None]:
    """Return the snapshots that a call may leave when the store was closed during it."""
    new = {"save": _NEW, "discard": None, "clear": None}
    if name not in new:
        return (_OLD,)
    return (new[name],) if is_done else (_OLD, new[name])


async def _ends_well(store: TestedSnapshots, name: str, done: list[bool], at_suspension: AtSuspension) -> None:
    answer = await ends_well(
        _call(store, name)(at_suspension), "store", StoreClosedError, StoreUnavailableError, answer=f"an answer of {name}"
    )
    done.append(answer is not None)
    if name == "load" and answer is not None and answer[0] not in {_OLD, None}:
        raise MismatchError(expected="the snapshot that was saved, or none", got=str(answer[0]), meaning="a load has another answer")


async def _is_closed(store: TestedSnapshots, meaning: str) -> None:
    await store.close()
    await refused(StoreClosedError, store.load, meaning=meaning, answered=lambda _: "an answer")
