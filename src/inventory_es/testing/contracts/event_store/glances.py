"""ES-48 … ES-50: the version of a stream, without an await."""

from collections.abc import Sequence

import anyio

from inventory_es.ports import VersionGlance
from inventory_es.ports.errors import ConcurrencyError
from inventory_es.testing.contracts.core.tested_port import expect
from inventory_es.testing.contracts.event_store.harness import StoreHarness
from inventory_es.testing.contracts.event_store.tested_store import TestedStore
from inventory_es.testing.contracts.event_store.writer import STREAM
from inventory_es.testing.contracts.processes.other_process import other_process, task
from inventory_es.testing.promise import promise

_APPENDS = 4
_MOST_POINTS = 60
_ROUNDS = 10


class GlanceCases:
    """Cases of a VersionGlance, which a store declares by having its method. A glance may be ``None``, and never wrong."""

    @promise("ES-48", "A glance is unknown, or as new as every append that was acknowledged before it, through whatever instance.")
    async def test_es_48_as_new_as_what_was_acknowledged(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            _need_glance(harness, store)
            _is_exact(store, "x", 0)
            await store.append("x@0 a b")
            _is_exact(store, "x", 2)
            _is_exact(store, "y", 0)
            await store.append("x@0 a b")
            await store.refused(ConcurrencyError, "x@1 c", meaning="the stream has version 2")
            _is_exact(store, "x", 2)
            async with anyio.create_task_group() as tasks:
                for name in ("p", "q", "r"):
                    tasks.start_soon(_append_and_glance, store, name)
            version = 2
            if store.capabilities.multi_process:
                async with harness.open() as other:
                    version = await _by_turns(store, other, version)
            await store.close()
            _is_exact(store, "x", version)
            survives = store.capabilities.durability != "none"
        if survives:
            async with harness.open() as store:
                _is_exact(store, "x", version)
                await store.append(f"x@{version} z")
                _is_exact(store, "x", version + 1)

    @promise("ES-49", "A glance is never ahead: what it tells, a read begun after it shows, whatever is in flight, cancelled or refused.")
    async def test_es_49_never_ahead(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            _need_glance(harness, store)
            version = await _read_after_glances(harness, store)
            for point in range(1, _MOST_POINTS):
                reached = await _cancelled_under_glances(harness, store, point, version)
                version += 2
                if not reached:
                    break
            seen: list[int] = []
            try:
                await store.append(f"x@{version + 1} no no2", at_suspension=lambda: _note(store, seen))
            except ConcurrencyError:
                _note(store, seen)
            await _are_shown(harness, store, seen, "an append that was refused")

    @promise("ES-50", "A glance is as new as every append that was acknowledged in another process before it.", seeds=0)
    async def test_es_50_another_process(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            _need_glance(harness, store)
            harness.need(store, durable=True, multi_process=True)
            arguments = harness.contract.spawn(harness.run.site)
            if arguments is None:
                harness.run.not_declared("spawn: no other process can import this contract; put it at the top level of a module")
            await store.append(f"{STREAM}@0 first")
            async with other_process([*arguments, task(harness.run, "there", _ROUNDS)]) as other:
                await other.go()
                acknowledged = 1
                while (step := await other.hear()) is not None:
                    acknowledged = max(acknowledged, step.get("version", 0))
                    seen = store.glance(STREAM)
                    expect(
                        that=seen is None or seen >= acknowledged,
                        expected=f"{acknowledged} or more, or None",
                        got=seen,
                        meaning="another process had its answer before this glance",
                    )
            _is_exact(store, STREAM, (await store.whole(STREAM)).version)
            expect(
                that=acknowledged == 1 + 2 * _ROUNDS,
                expected=f"version {1 + 2 * _ROUNDS}",
                got=acknowledged,
                meaning="the other process did not write all that it should",
            )


def _need_glance(harness: StoreHarness, store: TestedStore) -> None:
    if not isinstance(store.raw, VersionGlance):
        harness.run.not_declared("VersionGlance")


def _is_exact(store: TestedStore, stream: str, version: int) -> None:
    """Expect the right version or ``None`` while no append runs."""
    seen = store.glance(stream)
    expect(
        that=seen in {None, version},
        expected=f"{version} or None",
        got=seen,
        meaning="nothing is in flight, and the glance tells another version than the stream has",
    )


async def _are_shown(harness: StoreHarness, store: TestedStore, seen: Sequence[int], during: str) -> None:
    """Read, and expect at least what was seen before."""
    await harness.contract.settle()
    newest, version = max(seen, default=0), (await store.whole("x")).version
    expect(that=newest <= version, expected=f"{version} or less", got=newest, meaning=f"a glance saw what no reader finds: {during}")


def _note(store: TestedStore, seen: list[int]) -> None:
    version = store.glance("x")
    if version is not None:
        seen.append(version)


async def _append_and_glance(store: TestedStore, name: str) -> None:
    """Append to a stream of this task, while others append to theirs, and glance after each append."""
    for number in range(_APPENDS):
        await store.append(f"{name}@{number} {name}{number}")
        _is_exact(store, name, number + 1)


async def _by_turns(store: TestedStore, other: TestedStore, version: int) -> int:
    """Append by two instances in turn, glance on both after each append, and return the version at the end."""
    for number in range(_APPENDS):
        writer = (store, other)[number % 2]
        await writer.append(f"x@{version} t{number}")
        version += 1
        _is_exact(store, "x", version)
        _is_exact(other, "x", version)
    return version


async def _read_after_glances(harness: StoreHarness, store: TestedStore) -> int:
    """Append while another task glances and reads after each glance, and return the version at the end."""
    is_written = False

    async def watch() -> None:
        while not is_written:
            seen: list[int] = []
            _note(store, seen)
            await _are_shown(harness, store, seen, "an append that was in flight")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        for number in range(_APPENDS):
            await store.append(f"x@{2 * number} a{number} b{number}")
        is_written = True
    return 2 * _APPENDS


async def _cancelled_under_glances(harness: StoreHarness, store: TestedStore, point: int, version: int) -> bool:
    """Append, glance at every suspension, cancel at the ``point``-th, and append again; return True if the point was reached."""
    seen: list[int] = []
    suspensions = 0
    write = f"x@{version} c{point} d{point}"
    with anyio.CancelScope() as scope:

        def look() -> None:
            nonlocal suspensions
            suspensions += 1
            _note(store, seen)
            if suspensions == point:
                scope.cancel()

        await store.append(write, at_suspension=look)
    _note(store, seen)
    await _are_shown(harness, store, seen, f"an append that was cancelled at await point {point}")
    await store.append(write, meaning="after a cancelled append, the same events again must be answered or written")
    return suspensions >= point
