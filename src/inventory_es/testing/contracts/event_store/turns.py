"""ES-52, ES-53, ES-60, ES-88, ES-89, ES-96, ES-97: one writer goes first for one append."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext, suppress

import anyio
from anyio.lowlevel import checkpoint

from inventory_es.ports import AppendResult, TurnTaking
from inventory_es.ports.errors import AppendOutcomeUnknownError, ConcurrencyError, StoreClosedError, StoreUnavailableError
from inventory_es.ports.toolkit.blocking_calls import was_withdrawn
from inventory_es.ports.toolkit.waiting import finishing
from inventory_es.testing.contracts.core.await_points import cancel_at
from inventory_es.testing.contracts.core.event_labels import stream_id
from inventory_es.testing.contracts.core.schedule import AtSuspension
from inventory_es.testing.contracts.core.tested_port import expect
from inventory_es.testing.contracts.event_store.harness import StoreHarness
from inventory_es.testing.contracts.event_store.tested_store import TestedStore, Way, show_result
from inventory_es.testing.promise import MismatchError, promise

_NOBODY_HANGS = (
    "Nobody hangs on a turn: left, failed, cancelled at any await point, or not left at all, it is over; a closed store gives none."
)
_GIVEN_BACK = "An append that waits for another instance while its caller is cancelled is given back: nothing is written, then or later."
_TRIES = 5
_HEAD_START = 0.02
"""Seconds that the owner of a turn leaves to others before it appends. Writers that nothing holds off have finished by then."""
_TASKS = 4
_MOST_POINTS = 60
_STEPS = 6


class TurnCases:
    """Cases of a TurnTaking, which a store declares by having its method. A turn may lapse on a slow machine: one try in five must hold."""

    @promise("ES-52", "What is read in a turn is what an append in it meets, while another instance wants to write.", seeds=1)
    async def test_es_52_another_instance_waits(self, harness: StoreHarness) -> None:
        async with _instances(harness) as (store, *others):
            harness.need(store, durable=True, multi_process=True)
            kept: list[str] = []
            for way in store.ways:
                for number in range(_TRIES):
                    if await _goes_first(harness, store, others[0], kept, f"{number}{way}", way):
                        break
                else:
                    _holds_nobody_off(f"another instance's {way} came before the owner's, or it was refused, each time")

    @promise("ES-52", "What is read in a turn is what an append in it meets, while other tasks of the instance take turns.")
    async def test_es_52_other_tasks_wait(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            _need_turns(harness, store)
            for number in range(_TRIES):
                if await _all_take_turns(store, number):
                    return
        _holds_nobody_off("tasks of one instance met each other's appends in their turns, each time")

    @promise("ES-53", _NOBODY_HANGS, seeds=0)
    async def test_es_53_one_that_is_not_left(self, harness: StoreHarness) -> None:
        async with _instances(harness) as (store, *others):
            harness.need(store, durable=True, multi_process=True)
            async with store.turn():
                await others[0].append("x@0 a", meaning="a turn is no lock: what it expects is what the stream has")
                async with others[0].turn():
                    await others[0].append("x@1 b", meaning="a turn is no lock: what it expects is what the stream has")
                await store.refused(ConcurrencyError, "x@0 no", meaning="a turn that is over proves nothing: the stream has version 2")
                await store.append("x@2 c", meaning="a turn that is over is no reason to refuse an append")
            await _goes_on([store, *others], "a turn that was over before it was left")

    @promise("ES-53", _NOBODY_HANGS, seeds=1)
    async def test_es_53_cancelled(self, harness: StoreHarness) -> None:
        async with _instances(harness) as instances:
            for point in range(_MOST_POINTS):
                reached = await _cancelled(instances[0], point)
                await _goes_on(instances, f"one that was cancelled at await point {point}")
                if not reached:
                    break
            for steps in range(_STEPS):
                async with anyio.create_task_group() as tasks, instances[0].turn():
                    for one in instances * 2:
                        tasks.start_soon(_try_to_enter, one)
                    await _step(steps)
                    tasks.cancel_scope.cancel()
                await _goes_on(instances, f"one that was cancelled when it had been waited for through {steps} steps")

    @promise("ES-53", _NOBODY_HANGS, seeds=0)
    async def test_es_53_left(self, harness: StoreHarness) -> None:
        async with _instances(harness) as instances:
            left = anyio.Event()

            async def follow(one: TestedStore) -> None:
                async with one.turn():
                    await left.wait()

            async with anyio.create_task_group() as tasks:
                async with instances[0].turn():
                    for one in instances * 2:
                        tasks.start_soon(follow, one)
                    await _step(_STEPS)
                left.set()
            await _goes_on(instances, "turns that were left")
            await _fails(instances[0])
            await _goes_on(instances, "one in which something was raised")

    @promise("ES-53", _NOBODY_HANGS, seeds=0)
    async def test_es_53_closed(self, harness: StoreHarness) -> None:
        async with _instances(harness) as (store, *others):
            async with anyio.create_task_group() as tasks, store.turn():
                await store.append("x@0 a", meaning="an append in a turn of its own instance is let through")
                tasks.start_soon(_try_to_enter, store)
                await _step(_STEPS)
                await store.close()
                for number, other in enumerate(others, 1):
                    await other.append(f"x@{number} o{number}", meaning="an instance that is closed in its turn is no reason to wait")
            expect(
                that=not await _try_to_enter(store),
                expected="StoreClosedError",
                got="a turn",
                meaning="a store that is closed gives a turn",
            )
            survives = store.capabilities.durability != "none"
        if survives:
            async with harness.open() as store:
                await _goes_on([store], "one in which the store was closed")

    @promise("ES-60", _GIVEN_BACK, seeds=0)
    async def test_es_60_cancelled_while_another_instance_goes_first(self, harness: StoreHarness) -> None:
        async with _instances(harness) as (store, *others):
            harness.need(store, durable=True, multi_process=True, withdraws=True)
            for way in store.ways:
                await _given_back(harness, store, others[0], way)

    @promise("ES-89", "Of the tasks of an instance that want a turn, those who came before have it before.", seeds=0)
    async def test_es_89_first_come_first_served(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            _need_turns(harness, store)
            order: list[int] = []
            for _ in range(_TRIES):
                order = await _order_of_turns(store)
                if order == sorted(order):
                    return
        raise MismatchError(
            expected=f"turns in the order in which {_TASKS} tasks came, in at least one of {_TRIES} tries",
            got=f"turns of {order}",
            meaning="who waits longest has to be next, or whoever lost a race loses the next one too",
        )

    @promise("ES-96", "A turn by stream holds up no append, and no turn over other streams.", seeds=0)
    async def test_es_96_others_go_on(self, harness: StoreHarness) -> None:
        async with _instances(harness) as (store, *others):
            harness.need(store, durable=True, multi_process=True, turns_by_stream=True)
            async with harness.open() as third:
                order: list[str] = []
                for number in range(_TRIES):
                    order = await _order_of_streams(store, others[0], third, number)
                    if order == ["y", "x"]:
                        return
        raise MismatchError(
            expected=f"a turn over y while another instance has one over x, in at least one of {_TRIES} tries",
            got=f"turns over {' and then '.join(order)}",
            meaning="whoever wants another stream must not wait for those who want this one",
        )

    @promise("ES-97", "Turns over several streams are given in whatever order the streams are named: none waits for another in a ring.")
    async def test_es_97_no_ring(self, harness: StoreHarness) -> None:
        async with _instances(harness) as instances:
            harness.need(instances[0], durable=True, multi_process=True, turns_by_stream=True)
            for number in range(_TRIES):
                if await _all_take_both(instances, number):
                    return
        _holds_nobody_off("instances that named two streams in different orders met each other's appends in their turns, each time")

    @promise(
        "ES-88",
        "In finishing, an append whose caller is cancelled at any await point is answered, or given back with nothing written.",
        seeds=0,
    )
    async def test_es_88_finishing(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            harness.need(store, withdraws=True)
            for way in store.ways:
                for is_busy in (False, True):
                    for point in range(_MOST_POINTS):
                        if not await _is_finished(harness, store, way, f"{way}{'busy' if is_busy else ''}{point}", point, is_busy=is_busy):
                            break


def _need_turns(harness: StoreHarness, store: TestedStore) -> None:
    if not isinstance(store.raw, TurnTaking):
        harness.run.not_declared("TurnTaking")


def _holds_nobody_off(how: str) -> None:
    raise MismatchError(
        expected=f"no conflict in at least one of {_TRIES} tries",
        got=how,
        meaning="who lost race after race loses the next one too: a turn must let its owner go first",
    )


@asynccontextmanager
async def _instances(harness: StoreHarness) -> AsyncGenerator[list[TestedStore], None]:
    """Yield one instance that gives turns, and a second one if the store allows two."""
    async with harness.open() as store, AsyncExitStack() as stack:
        _need_turns(harness, store)
        may_be_two = store.capabilities.multi_process and store.capabilities.durability != "none"
        yield [store, *[await stack.enter_async_context(harness.open()) for _ in range(may_be_two)]]


async def _step(times: int) -> None:
    """Let the other tasks run."""
    for _ in range(times):
        await checkpoint()


async def _goes_first(harness: StoreHarness, store: TestedStore, other: TestedStore, kept: list[str], number: str, way: Way) -> bool:
    """Return True if an append in a turn met the version read in it, although other appends began before the turn and in it."""
    answered: dict[int, str] = {}
    came = anyio.Event()

    async def add(writer: TestedStore, version: int, label: str) -> None:
        with suppress(ConcurrencyError):
            result = await writer.append_by(way, f"x@{version} {label}")
            answered[result.versions[stream_id("x")]] = label

    async def intrude(version: int, label: str) -> None:
        async with other.turn() if store.capabilities.turns_by_stream else nullcontext():
            await add(other, version, label)
        came.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(intrude, len(kept), f"early{number}")
        async with store.turn():
            version = (await store.whole("x")).version
            came = anyio.Event()
            tasks.start_soon(intrude, version, f"late{number}")
            with anyio.move_on_after(_HEAD_START):
                await came.wait()
            await add(store, version, f"own{number}")
    kept += [answered[version] for version in sorted(answered)]
    await harness.holds(store, "x", " ".join(kept), meaning="what was answered around a turn is not what is stored")
    return answered.get(version + 1) == f"own{number}"


async def _all_take_turns(store: TestedStore, number: int) -> bool:
    """Return True if each task appended in its first turn after its read. All tasks are served, however often they try."""
    lost = 0

    async def add(label: str) -> None:
        nonlocal lost
        while True:
            async with store.turn():
                version = (await store.whole("x")).version
                try:
                    await store.append(f"x@{version} {label}")
                except ConcurrencyError:
                    lost += 1
                else:
                    return

    async with anyio.create_task_group() as tasks:
        for task in range(_TASKS):
            tasks.start_soon(add, f"t{number}n{task}")
    return lost == 0


async def _order_of_streams(store: TestedStore, other: TestedStore, third: TestedStore, number: int) -> list[str]:
    """Return the order of two turns that other instances ask for while one has x: over x, and after that over y."""
    order: list[str] = []
    came = anyio.Event()

    async def take(one: TestedStore, name: str) -> None:
        async with one.turn(name):
            order.append(name)
        came.set()

    async with anyio.create_task_group() as tasks, store.turn("x"):
        version = (await store.whole("x")).version
        await other.append(f"x@{version} a{number}", meaning="an append without a turn waits for nobody")
        tasks.start_soon(take, other, "x")
        await _step(_STEPS)
        tasks.start_soon(take, third, "y")
        await came.wait()
    return order


async def _all_take_both(instances: Sequence[TestedStore], number: int) -> bool:
    """Return True if each instance appended to both streams after its read, in turns over them in an order of its own."""
    lost = 0

    async def add(one: TestedStore, names: str, label: str) -> None:
        nonlocal lost
        for count in range(_TASKS):
            async with one.turn(*names):
                versions = {name: (await one.whole(name)).version for name in names}
                try:
                    for name, version in versions.items():
                        await one.append(f"{name}@{version} {name}{label}{count}")
                except ConcurrencyError:
                    lost += 1

    async with anyio.create_task_group() as tasks:
        for at, one in enumerate(instances):
            tasks.start_soon(add, one, "xy" if at % 2 else "yx", f"t{number}n{at}c")
    return lost == 0


async def _goes_on(instances: Sequence[TestedStore], after: str) -> None:
    """Expect every instance to append, to take a turn, and to append in it."""
    meaning = f"after {after}, everybody must be able to append"
    for one in instances:
        version = (await one.whole("x")).version
        await one.append(f"x@{version} n{version}", meaning=meaning)
        async with one.turn():
            for at, way in enumerate(one.ways, version + 1):
                await one.append_by(way, f"x@{at} n{at}", meaning=meaning)


async def _cancelled(store: TestedStore, point: int) -> bool:
    """Enter a turn, read and append in it, leave it, and cancel at the ``point``-th suspension; return True if that was reached."""

    async def take() -> None:
        async with store.turn():
            await store.whole("x")
            await store.append(f"y{point}@0 c{point}")

    return await cancel_at(point, lambda count: store.run.schedule.drive(take(), count))


async def _given_back(harness: StoreHarness, store: TestedStore, other: TestedStore, way: Way) -> None:
    """Cancel an append of one instance that waits for the turn of another, and expect it to be withdrawn."""
    for number in range(_TRIES):
        name = f"{number}{way}"
        cancelled = await _cancelled_in_its_wait(store, other, f"x{name}@0 a{name}", way)
        if cancelled is None:
            continue
        expect(
            that=was_withdrawn(cancelled),
            expected="a cancellation that was caused by WithdrawnError",
            got="a cancellation without a cause",
            meaning="whoever sends the appends of others too must learn that nothing was written",
        )
        await store.append(f"y{name}@0 b{name}")
        await harness.holds(store, f"x{name}", "", meaning="an append was written although its caller had gone before it began")
        await other.append_by(way, f"x{name}@0 c{name}", meaning="what was given back is no reason to refuse the next append")
        return
    raise MismatchError(
        expected=f"a cancelled wait in at least one of {_TRIES} tries",
        got=f"an {way} that went on, each time",
        meaning="a caller who has gone is deaf no longer than the append is at work",
    )


async def _is_finished(harness: StoreHarness, store: TestedStore, way: Way, name: str, point: int, *, is_busy: bool) -> bool:
    """Cancel an append in ``finishing`` at the ``point``-th suspension (0: before it begins); return True if that was reached."""
    answer: AppendResult | None = None
    is_withdrawn = False

    async def append(count: AtSuspension) -> None:
        nonlocal answer, is_withdrawn
        try:
            with finishing():
                answer = await store.run.schedule.drive(store.append_by(way, f"{name}@0 {name}a {name}b"), count)
        except anyio.get_cancelled_exc_class() as problem:
            is_withdrawn = was_withdrawn(problem)
            raise

    async with anyio.create_task_group() as tasks:
        for number in range(2 if is_busy else 0):
            tasks.start_soon(store.append, f"{name}busy{number}@0 {name}busy{number}")
        await _step(2 if is_busy else 0)
        is_reached = await cancel_at(point, append)
    expect(
        that=answer is not None or is_withdrawn,
        expected="an answer, or a cancellation that was caused by WithdrawnError",
        got="a cancellation without a cause",
        meaning=f"an {way} whose caller was cancelled at await point {point} in finishing carries those of others, who wait for it",
    )
    again = await store.append_by(way, f"{name}@0 {name}a {name}b", meaning="the same append again is answered, or written")
    expect(
        that=again.replayed is (answer is not None),
        expected="a new append, as it was given back" if answer is None else "replayed, as it was answered",
        got=show_result(again),
        meaning=f"what is stored is not what became of an {way} that was cancelled at await point {point} in finishing",
    )
    await harness.holds(store, name, f"{name}a {name}b", meaning="an append that was cancelled in finishing is not there once")
    return is_reached


async def _cancelled_in_its_wait(store: TestedStore, other: TestedStore, write: str, way: Way) -> BaseException | None:
    """Return the cancellation of an append that waits for another instance's turn; ``None`` where the append was answered."""
    cancelled: BaseException | None = None
    async with store.turn():
        with anyio.move_on_after(_HEAD_START):
            try:
                await other.append_by(way, write)
            except anyio.get_cancelled_exc_class() as problem:
                cancelled = problem
                raise
    return cancelled


async def _order_of_turns(store: TestedStore) -> list[int]:
    """Return the order of the turns of tasks that asked, in the order of their numbers, while one turn was taken."""
    order: list[int] = []

    async def take(number: int) -> None:
        async with store.turn():
            order.append(number)
            await checkpoint()

    async with anyio.create_task_group() as tasks, store.turn():
        for number in range(_TASKS):
            tasks.start_soon(take, number)
            await _step(_STEPS)
    return order


async def _fails(store: TestedStore) -> None:
    """Raise errors in turns: errors that a store raises there too, and another one."""
    stream = stream_id("x")
    for problem in (
        ConcurrencyError(stream=stream, expected=0, actual=1),
        StoreUnavailableError(store=store.kind, reason="the backend is away"),
        AppendOutcomeUnknownError(store=store.kind, reason="the connection broke"),
        StoreClosedError(store=store.kind),
        LookupError(),
    ):
        try:
            async with store.turn():
                raise problem
        except type(problem):
            continue
        raise MismatchError(
            expected=f"{type(problem).__name__} to be raised", got="swallowed", meaning="what is raised in a turn must reach who took it"
        )


async def _try_to_enter(store: TestedStore) -> bool:
    """Return True if a turn was given; False if the store is closed."""
    try:
        async with store.turn():
            return True
    except StoreClosedError:
        return False
