"""ES-80 to ES-84: appends whose backend does not answer: their outcome, and until when they may still take effect."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import count, product
from typing import Any, TypeAlias, cast

import anyio
from anyio.lowlevel import checkpoint, current_token

from inventory_es.ports import AppendResult, StreamCatalogue
from inventory_es.ports.errors import AppendOutcomeUnknownError, StoreUnavailableError
from inventory_es.testing.contracts.core.await_points import cancel_at
from inventory_es.testing.contracts.core.event_labels import event_id, stream_id
from inventory_es.testing.contracts.core.tested_port import expect
from inventory_es.testing.contracts.event_store.harness import INTERFERENCES, Interference, StoreHarness
from inventory_es.testing.contracts.event_store.tested_store import TestedStore, show_error, show_result
from inventory_es.testing.promise import MismatchError, promise

_MOST_POINTS = 40
_LONGEST_SETTLING = 0.05
_LONGEST_WAIT = 5.0
_A_MOMENT = 0.1
_DELAYS = (0, 2, 10, 40)
"""Delays of asyncio's own cancellation after a suspension, in tenths of a millisecond: a thread begins at once and ends at any time."""
_SOME_STEPS = 30
_TRIES = 200
_AFTER: tuple[Interference, ...] = ("lose the connection after the commit", "shut down after the commit")
_UNKNOWN = "Without a clean answer an append is unknown: never refused, and a success only if it is found, as durable as declared."
_HELD_BACK = "An append that the backend holds back takes effect within settles_within seconds after its call ended, or never."
_FINAL = "An append without an answer takes effect within settles_within seconds, or never: what is looked for after that is final."


class OutcomeCases:
    """Cases of lost answers and late appends: with the hook ``interfere``, or by cancelling."""

    @promise("ES-80", _UNKNOWN, seeds=0)
    async def test_es_80_an_answer_that_is_lost_after_the_commit(self, harness: StoreHarness) -> None:
        await _each(harness, _AFTER, _any)

    @promise("ES-80", _UNKNOWN, seeds=0)
    async def test_es_80_a_connection_that_is_lost_before_the_commit(self, harness: StoreHarness) -> None:
        await _each(harness, ("lose the connection before the commit",), _any)

    @promise("ES-80", _UNKNOWN, seeds=0)
    async def test_es_80_a_commit_that_is_less_durable_than_declared(self, harness: StoreHarness) -> None:
        await _each(harness, ("warn that the replica was not waited for",), _is_unknown)

    @promise("ES-80", _UNKNOWN, seeds=0)
    async def test_es_80_it_is_found_and_still_less_durable_than_declared(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            await store.append("x@0 a")
            for _ in range(2):
                await _interfere(harness, "warn that the replica was not waited for")
                await store.refused(
                    AppendOutcomeUnknownError,
                    "x@1 b c",
                    meaning=f"what was found is not yet durable as declared: durability {store.capabilities.durability!r}",
                )
            await _converges(harness, store, ["a"], "b c", is_there=True)

    @promise("ES-80", _UNKNOWN, seeds=0)
    async def test_es_80_several_streams(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            if not store.capabilities.multi_stream or store.capabilities.max_append_events < 2:  # several
                harness.run.not_declared("multi_stream, and max_append_events of 2 or more")
            kinds = [kind for kind in INTERFERENCES[:4] if await _befalls_several_streams(harness, store, kind)]
        if not kinds:
            harness.run.no_hook(f"interfere: the hook that makes the backend {' or '.join(INTERFERENCES[:4])}")

    @promise(
        "ES-84", "A read whose connection is lost is StoreUnavailableError, never an empty answer, and the next one is answered.", seeds=0
    )
    async def test_es_84_reads_that_get_no_answer(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            await store.append("x@0 a b")
            reads = _reads(store)
            for name, read in reads.items():
                await _interfere(harness, "lose the connection in the next read")
                answer = await _answer(name, read)
                await _reachable(store)
                later = _plain(await read())
                expect(
                    that=answer is None or answer == later,
                    expected=f"StoreUnavailableError from {name}, or {_short(later)}",
                    got=_short(answer),
                    meaning="a connection that broke is taken for an answer",
                )

    @promise("ES-81", _FINAL, seeds=0)
    async def test_es_81_cancelled_at_every_await_point(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            within = _short_bound(harness, store)
            version = 0
            for point in range(_MOST_POINTS):
                reached = await cancel_at(point, lambda at: store.append(f"x@{version} a{point} b{point}", at_suspension=at))  # noqa: B023  # called at once
                await anyio.sleep(within)
                version = await _stays_as_found(harness, store, version, str(point))
                if not reached:
                    break
            await _nothing_comes_later(store, version)

    @promise("ES-81", _FINAL, seeds=0)
    async def test_es_81_interrupted_by_asyncio_at_every_await_point(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            within = _short_bound(harness, store)
            version = 0
            for point, delay in product(range(1, _MOST_POINTS), _DELAYS) if harness.run.backend == "asyncio" else ():
                name = f"{point}d{delay}"
                reached = await _interrupted(store, point, delay / 1e4, f"x@{version} a{name} b{name}")
                await anyio.sleep(within)
                version = await _stays_as_found(harness, store, version, name)
                if not reached:
                    break
            await _nothing_comes_later(store, version)

    @promise("ES-82", _HELD_BACK, seeds=0)
    async def test_es_82_an_append_that_arrives_too_late(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            if store.capabilities.settles_within is None:
                harness.run.not_declared("settles_within")
            kept: list[str] = []
            for number, in_group in enumerate(_ways(store)):
                labels = f"b{number} c{number}"
                ids = [event_id(label) for label in labels.split()]
                await _hold_back(harness, store, f"x@{len(kept)} {labels}", in_group=in_group)
                await _let_settle(harness, store)
                found = harness.labels.show(await store.find("x", ids))
                await _interfere(harness, "let the held append arrive")
                await _work(store, f"y{number}")
                expect(
                    that=harness.labels.show(await store.find("x", ids)) == found,
                    expected=f"{found}, as it was found settles_within seconds after the call had ended",
                    got=harness.labels.show((await store.whole("x")).events),
                    meaning="an append took effect after its caller was told that nothing had been written",
                )
                await _converges(harness, store, kept, labels)
                kept += labels.split()

    @promise("ES-83", "A late append takes effect at the versions that it expects, or never: it is checked when it arrives.", seeds=0)
    async def test_es_83_its_stream_has_moved_meanwhile(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            kept: list[str] = []
            for number, in_group in enumerate(_ways(store)):
                await _hold_back(harness, store, f"x@{len(kept)} b{number} c{number}", in_group=in_group)
                await store.append(f"x@{len(kept)} d{number}", meaning="an append that nobody has heard of holds nobody up")
                kept.append(f"d{number}")
                await _interfere(harness, "let the held append arrive")
                await _work(store, f"y{number}")
                await harness.holds(store, "x", " ".join(kept), meaning="a late append was written although its stream had moved")
                if store.has_feed:
                    shown = harness.labels.show(event for event in await store.whole_feed() if event.stream == stream_id("x"))
                    expected = harness.labels.show(harness.labels.events(" ".join(kept)))
                    expect(
                        that=shown == expected,
                        expected=f"{expected} of x in the feed",
                        got=shown,
                        meaning="the feed shows what was refused",
                    )

    @promise("ES-83", "A late append takes effect at the versions that it expects, or never: it is checked when it arrives.", seeds=0)
    async def test_es_83_one_of_its_streams_has_moved(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            if not store.capabilities.multi_stream:
                harness.run.not_declared("multi_stream")
            await _interfere(harness, "hold the next append back")
            meaning = "the append is under way and was not answered: it may still take effect"
            await store.refused(AppendOutcomeUnknownError, "x@0 a b", "z@0 p", "v@0 s", meaning=meaning)
            await store.append("z@0 q", meaning="an append that nobody has heard of holds nobody up")
            await _interfere(harness, "let the held append arrive")
            await _work(store, "y")
            for stream, labels in {"x": "", "z": "q", "v": ""}.items():
                await harness.holds(store, stream, labels, meaning="a late append was written although one of its streams had moved")

    @promise("ES-83", "A late append takes effect at the versions that it expects, or never: it is checked when it arrives.", seeds=0)
    async def test_es_83_it_was_sent_again_meanwhile(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            await store.append("x@0 a")
            await _hold_back(harness, store, "x@1 b c", in_group=False)
            await store.append("x@1 b c", meaning="the same events again must be answered or written")
            await _interfere(harness, "let the held append arrive")
            await _work(store, "y")
            await harness.holds(store, "x", "a b c", meaning="an append that was sent again is there twice")


def _short_bound(harness: StoreHarness, store: TestedStore) -> float:
    within = store.capabilities.settles_within
    if within is None:
        harness.run.not_declared("settles_within")
    if within > _LONGEST_SETTLING:
        harness.run.no_hook(f"settles_within of {within:g} s is too long to be waited for at every point; ES-82 tries it with interfere")
    return within


async def _let_settle(harness: StoreHarness, store: TestedStore) -> None:
    within = store.capabilities.settles_within or 0.0
    if not await _try(harness, "let settles_within pass"):
        if within > _LONGEST_WAIT:
            harness.run.no_hook("interfere: the hook that makes the backend let settles_within pass")
        await anyio.sleep(within)


async def _interrupted(store: TestedStore, point: int, delay: float, write: str) -> bool:
    """Append in a task that asyncio itself cancels, which no shield stops; return True if the suspension was reached.

    Args:
        store: the store.
        point: the number of the suspension.
        delay: seconds between the suspension and the cancellation, in which a thread may begin.
        write: the append.
    """
    suspensions, ended = 0, anyio.Event()
    loop: Any = current_token().native_token

    def count() -> None:
        nonlocal suspensions
        suspensions += 1
        if suspensions == point:
            loop.call_later(delay, task.cancel) if delay else task.cancel()

    def end(task: Any) -> None:
        if not task.cancelled():
            task.exception()  # its error does not matter: the stream shows the result
        ended.set()

    task = loop.create_task(store.append(write, at_suspension=count))
    task.add_done_callback(end)
    await ended.wait()
    return suspensions >= point


Verdict: TypeAlias = Callable[[TestedStore, Interference, AppendResult | Exception], None]


async def _each(harness: StoreHarness, kinds: Sequence[Interference], verdict: Verdict) -> None:
    """Append under each of these interferences, alone and in a group, and expect the same append again to end well."""
    tried = False
    numbers = count()
    async with harness.open() as store:
        kept: list[str] = []
        for kind in kinds:
            for in_group in _ways(store):
                if not await _try(harness, kind):
                    break
                tried = True
                number = next(numbers)
                labels, other = f"a{number} b{number}", f"c{number}"
                outcomes = await _outcomes(
                    store, [f"x@{len(kept)} {labels}", *([f"y{number}@0 {other}"] if in_group else [])], in_group=in_group
                )
                await _reachable(store)
                await harness.contract.settle()
                is_there = bool(await store.find("x", [event_id(f"a{number}")]))
                _is_true(outcomes[0], is_there=is_there)
                verdict(store, kind, outcomes[0])
                await _converges(harness, store, kept, labels, is_there=is_there)
                kept += labels.split()
                if in_group:
                    _is_true(outcomes[1], is_there=bool(await store.find(f"y{number}", [event_id(other)])))
                    await _converges(harness, store, [], other, stream=f"y{number}")
    if not tried:
        harness.run.no_hook(f"interfere: the hook that makes the backend {' or '.join(kinds)}")


async def _befalls_several_streams(harness: StoreHarness, store: TestedStore, kind: Interference) -> bool:
    """Append to two streams under this interference, and send the same again; return False if the backend can't do it."""
    if not await _try(harness, kind):
        return False
    streams = [f"{name}{INTERFERENCES.index(kind)}" for name in "xy"]
    writes = [f"{stream}@0 {stream}a" for stream in streams]
    outcome: AppendResult | Exception
    try:
        outcome = await store.append(*writes)
    except MismatchError:
        raise
    except Exception as error:  # noqa: BLE001  # it is judged
        outcome = error
    await _reachable(store)
    await harness.contract.settle()
    there = {stream: bool(await store.find(stream, [event_id(f"{stream}a")])) for stream in streams}
    is_there = all(there.values())
    expect(that=is_there or not any(there.values()), expected="all or nothing", got=there, meaning=f"the backend was made to {kind}")
    _is_true(outcome, is_there=is_there)
    if kind.startswith("warn"):
        _is_unknown(store, kind, outcome)
    again = await store.append(*writes, meaning="the backend is back: the same events again are answered or written")
    meaning = f"the backend was made to {kind}, and the append was sent again"
    expect(that=again.replayed is is_there, expected=f"replayed={is_there}", got=show_result(again), meaning=meaning)
    for stream in streams:
        await harness.holds(store, stream, f"{stream}a", meaning=meaning)
    return True


def _is_true(outcome: AppendResult | Exception, *, is_there: bool) -> None:
    """Expect the answer of an append to agree with the stored events."""
    if isinstance(outcome, AppendResult):
        expect(
            that=is_there,
            expected="AppendOutcomeUnknownError or StoreUnavailableError",
            got=show_result(outcome),
            meaning="an append was acknowledged, and it is not there",
        )
        return
    is_unknown, is_refused = isinstance(outcome, AppendOutcomeUnknownError), isinstance(outcome, StoreUnavailableError)
    expect(
        that=is_unknown or (is_refused and not is_there),
        expected="AppendOutcomeUnknownError" if is_there else "AppendOutcomeUnknownError or StoreUnavailableError",
        got=show_error(outcome),
        meaning="its caller hears that nothing was written, and it is stored" if is_refused else "errors of the driver never leave a store",
    )


def _any(_store: TestedStore, _kind: Interference, _outcome: AppendResult | Exception) -> None:
    """Accept any true answer: an adapter may have looked for its append."""


def _is_unknown(store: TestedStore, kind: Interference, outcome: AppendResult | Exception) -> None:
    """Expect AppendOutcomeUnknownError, because the events are stored less durably than declared."""
    expect(
        that=isinstance(outcome, AppendOutcomeUnknownError),
        expected="AppendOutcomeUnknownError",
        got=show_result(outcome) if isinstance(outcome, AppendResult) else show_error(outcome),
        meaning=f"the backend was made to {kind}: durability {store.capabilities.durability!r}, which is declared, does not hold",
    )


async def _outcomes(store: TestedStore, writes: Sequence[str], *, in_group: bool) -> Sequence[AppendResult | Exception]:
    """Return the outcome of each of these independent appends."""
    try:
        if in_group:
            return await store.append_group(*([write] for write in writes))
        return [await store.append(writes[0])]
    except MismatchError:
        raise
    except Exception as error:  # noqa: BLE001  # the error is judged with the other outcomes
        return [error] * len(writes)


def _ways(store: TestedStore) -> tuple[bool, ...]:
    """Return each way of appending that the store has; True is for a group."""
    return (False, True) if store.has_group_commit else (False,)


def _reads(store: TestedStore) -> dict[str, Callable[[], Awaitable[object]]]:
    reads: dict[str, Callable[[], Awaitable[object]]] = {
        "read_stream": lambda: store.page("x", limit=1),
        "read_stream_backwards": lambda: store.page_backwards("x", before=2, limit=1),
        "find_events": lambda: store.find("x", [event_id("a"), event_id("b")]),
    }
    if store.has_feed:
        reads |= {"read_all": lambda: store.feed_page(limit=1), "head": store.head}
    catalogue = store.raw
    if isinstance(catalogue, StreamCatalogue):
        reads["streams"] = lambda: catalogue.streams(limit=1)
    return reads


def _plain(answer: object) -> list[object]:
    """Return the answer of a read in a form that is compared by value."""
    parts: object = getattr(answer, "events", getattr(answer, "heads", answer))
    return list(cast("Iterable[object]", parts)) if isinstance(parts, Iterable) else [parts]


def _short(parts: Sequence[object] | None) -> str:
    """Return a number, or the count of events or streams, as a text."""
    if parts is None or len(parts) != 1 or not isinstance(parts[0], int):
        return "nothing" if not parts else f"{len(parts)} events or streams"
    return str(parts[0])


async def _answer(name: str, read: Callable[[], Awaitable[object]]) -> list[object] | None:
    """Return the answer of a read; ``None`` where it says that the store is away."""
    try:
        return _plain(await read())
    except StoreUnavailableError:
        return None
    except Exception as error:
        meaning = f"{name} lets an error through that is none of the port's, or says something else than that the store is away"
        raise MismatchError(expected="StoreUnavailableError", got=show_error(error), meaning=meaning) from error


async def _hold_back(harness: StoreHarness, store: TestedStore, write: str, *, in_group: bool) -> None:
    """Send an append that is held back, and expect its outcome to be unknown."""
    await _interfere(harness, "hold the next append back")
    (outcome,) = await _outcomes(store, [write], in_group=in_group)
    expect(
        that=isinstance(outcome, AppendOutcomeUnknownError),
        expected="AppendOutcomeUnknownError",
        got=show_result(outcome) if isinstance(outcome, AppendResult) else show_error(outcome),
        meaning="the append is under way and was not answered: it may still take effect",
    )


async def _stays_as_found(harness: StoreHarness, store: TestedStore, before: int, name: str) -> int:
    """Look a cancelled append up as a caller does, expect the finding to stay, and return the version after it."""
    ids = [event_id(f"a{name}"), event_id(f"b{name}")]
    await harness.contract.settle()
    found = await store.find("x", ids)
    await _work(store, f"y{name}")
    await harness.contract.settle()
    version = (await store.whole("x")).version
    later = await store.find("x", ids)
    shown, told = harness.labels.show(found), harness.labels.show(later)
    expect(
        that=shown == told and version == before + len(found),
        expected=f"{shown} in x, as it was found, and version {before + len(found)}",
        got=f"{told} and version {version}",
        meaning=f"an append that was cancelled (at await point {name}) took effect after it had been looked for in vain",
    )
    return version


async def _nothing_comes_later(store: TestedStore, version: int) -> None:
    """Wait briefly for a write of a thread or a task that was left behind."""
    await anyio.sleep(_A_MOMENT)
    later = (await store.whole("x")).version
    expect(
        that=later == version,
        expected=f"version {version}, as it was",
        got=f"version {later}",
        meaning="an append that was cancelled went on, and took effect after it had been looked for in vain",
    )


async def _work(store: TestedStore, stream: str) -> None:
    """Give running work the time of some other work."""
    await store.append(f"{stream}@0 w{stream}", meaning="another stream is appended to")
    for _ in range(_SOME_STEPS):
        await checkpoint()
    await store.append(f"{stream}@1 v{stream}", meaning="another stream is appended to")


async def _converges(
    harness: StoreHarness, store: TestedStore, kept: Sequence[str], labels: str, *, stream: str = "x", is_there: bool | None = None
) -> None:
    """Expect the same events again to be stored once, in bounded time, and to be answered truly."""
    write = f"{stream}@{len(kept)} {labels}"
    result = await _in_time(lambda: store.append(write), write)
    if is_there is not None and isinstance(result, AppendResult):
        expect(
            that=result.replayed == is_there,
            expected=f"replayed={is_there}",
            got=f"replayed={result.replayed}",
            meaning="sent again, an append is a replay if it was stored, and no replay if it was not",
        )
    await harness.holds(
        store,
        stream,
        " ".join([*kept, *labels.split()]),
        meaning="an append with an unknown outcome that was sent again is not there exactly once",
    )


async def _reachable(store: TestedStore) -> None:
    """Wait until the backend answers again."""
    await _in_time(lambda: store.page("x", limit=1), "a read")


async def _in_time(call: Callable[[], Awaitable[object]], told: str) -> object:
    problem: Exception | None = None
    for _ in range(_TRIES):
        try:
            return await call()
        except (StoreUnavailableError, AppendOutcomeUnknownError) as error:
            problem = error
            await anyio.sleep(0.01)
        except Exception as error:
            raise MismatchError(expected=f"{told} to succeed", got=show_error(error), meaning="the store did not come back") from error
    meaning = "the backend is back, and the store did not come back"
    raise MismatchError(expected=f"{told} to succeed", got=repr(problem), meaning=meaning)


async def _interfere(harness: StoreHarness, what: Interference) -> None:
    if not await _try(harness, what):
        harness.run.no_hook(f"interfere: the hook that makes the backend {what}")


async def _try(harness: StoreHarness, what: Interference) -> bool:
    harness.run.history.begin(f"the backend is made to: {what}").outcome = ""
    return await harness.contract.interfere(harness.run.site, what)
