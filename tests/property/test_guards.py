"""Guards under any sequence of events: one trial at a time, and no claim beyond what is known."""

from contextlib import suppress
from typing import Any

import anyio
import attrs
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from inventory_es.adapters.memory import MemoryEventStore
from inventory_es.application.guards import CircuitBreaker, Retry, guarded
from inventory_es.ports import EventStore, GroupCommit
from inventory_es.ports.errors import AppendOutcomeUnknownError, ConcurrencyError, StoreUnavailableError
from inventory_es.testing import Faults, faulty_event_store
from inventory_es.testing.contracts.core.event_labels import EventLabels, stream_id
from tests.unit.application.guards.scripted import AWAY, CONFLICT, PORT, UNKNOWN, Time

BACKENDS = st.sampled_from(["asyncio", "trio"])
THRESHOLD, PAUSE = 2, 10.0


@attrs.define
class Call:
    """A call that lasts until the test ends it."""

    end: Any = None
    era: int = -1
    is_admitted: bool = False
    scope: anyio.CancelScope = attrs.field(factory=anyio.CancelScope)
    ended: anyio.Event = attrs.field(factory=anyio.Event)

    async def __call__(self) -> None:
        self.is_admitted = True
        await self.ended.wait()
        if self.end is not None:
            raise self.end


@attrs.define
class Model:
    """The specification of the breaker, independent of its implementation."""

    phase: str = "closed"
    failures: int = 0
    era: int = 0
    until: float = 0.0

    def admits(self, now: float) -> bool:
        if self.phase == "closed":
            return True
        if now < self.until:
            return False
        self.phase, self.era, self.until = "half_open", self.era + 1, now + PAUSE
        return True

    def ends(self, call: Call, now: float, verdict: str) -> None:
        if call.era != self.era:
            return
        if verdict == "failure":
            self.failures += 1
            if self.phase == "half_open" or self.failures >= THRESHOLD:
                self.phase, self.era, self.until = "open", self.era + 1, now + PAUSE
        elif verdict == "answer":
            self.failures = 0
            if self.phase == "half_open":
                self.phase, self.era = "closed", self.era + 1
        elif self.phase == "half_open":
            self.era, self.until = self.era + 1, now


ENDS = {"failure": AWAY, "unknown": UNKNOWN, "answer": None, "conflict": CONFLICT, "misuse": ValueError("misuse"), "cancelled": None}
VERDICTS = {"failure": "failure", "unknown": "failure", "answer": "answer", "conflict": "answer"}
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("begin"), st.integers(1, 100)),
        st.tuples(st.just("end"), st.tuples(st.integers(0, 99), st.sampled_from(sorted(ENDS)))),
        st.tuples(st.just("pass"), st.sampled_from([1.0, 9.0, 10.0, 25.0])),
    ),
    max_size=25,
)


@given(steps=STEPS, backend=BACKENDS)
def test_a_breaker_does_what_its_model_says(steps: list[tuple[str, Any]], backend: str) -> None:
    anyio.run(_follow_the_model, steps, backend=backend)


async def _follow_the_model(steps: list[tuple[str, Any]]) -> None:
    time, model = Time(), Model()
    breaker = CircuitBreaker("backend", threshold=THRESHOLD, pause=PAUSE, monotonic=time)
    running: list[Call] = []

    async def make(call: Call) -> None:
        with call.scope, suppress(StoreUnavailableError, AppendOutcomeUnknownError, ConcurrencyError, ValueError):
            await breaker.run(call, PORT, "append")

    async with anyio.create_task_group() as tasks:
        for step, what in steps:
            if step == "begin":
                calls = [Call() for _ in range(what)]
                for call in calls:
                    tasks.start_soon(make, call)
                await anyio.wait_all_tasks_blocked()
                for call in sorted(calls, key=lambda call: not call.is_admitted):
                    assert call.is_admitted == model.admits(time.now)
                    call.era = model.era
                if model.phase != "closed":
                    assert sum(call.is_admitted for call in calls) <= 1
                running += [call for call in calls if call.is_admitted]
            elif step == "end" and running:
                call = running.pop(what[0] % len(running))
                call.end = ENDS[what[1]]
                if what[1] == "cancelled":
                    call.scope.cancel()
                call.ended.set()
                await anyio.wait_all_tasks_blocked()
                model.ends(call, time.now, VERDICTS.get(what[1], "nothing"))
            elif step == "pass":
                time.now += what
            state = breaker.state
            assert (state.phase, state.failures) == (model.phase, model.failures)
            assert state.retry_after == (0 if model.phase == "closed" else max(0, model.until - time.now))
        tasks.cancel_scope.cancel()


@given(seed=st.integers(0, 10_000), together=st.booleans(), backend=BACKENDS)
def test_what_a_retrying_store_says_of_an_append_is_true(seed: int, together: bool, backend: str) -> None:
    anyio.run(_append_through_faults, seed, together, backend=backend)


async def _append_through_faults(seed: int, together: bool) -> None:
    truth = MemoryEventStore()
    faults = Faults.by_seed(seed, rate=0.5, kinds=("fail_before", "fail_after", "drop", "duplicate"), operations={"append", "append_group"})
    store = guarded(faulty_event_store(truth, faults), Retry(sleep=lambda _: checkpoint()))
    labels, version = EventLabels(), 0
    for number in range(20):
        write = labels.write(f"x@{version} e{number}")
        try:
            result = await _append(store, write, together=together)
            assert result.position == version + 1
            is_there: bool | None = True
        except StoreUnavailableError:
            is_there = False
        except AppendOutcomeUnknownError:
            is_there = None
        page = await truth.read_stream(stream_id("x"), limit=100)
        if is_there is not None:
            assert (write.events[0].event_id in {event.event_id for event in page.events}) is is_there
        version = page.version
    page = await truth.read_stream(stream_id("x"), limit=100)
    assert [event.version for event in page.events] == list(range(1, version + 1))
    assert len({event.event_id for event in page.events}) == version


async def _append(store: EventStore, write: Any, *, together: bool) -> Any:
    if not together:
        return await store.append([write])
    assert isinstance(store, GroupCommit)
    [outcome] = await store.append_group([[write]])
    return outcome


def test_the_faults_reach_every_outcome() -> None:
    """Show that the faults happen, because the property above would also hold for a store that never fails."""
    seen = set()
    for seed in range(40):
        faults = Faults.by_seed(seed, rate=0.8, kinds=("fail_before", "fail_after", "drop"), operations={"append"})
        store = guarded(faulty_event_store(MemoryEventStore(), faults), Retry(sleep=lambda _: checkpoint()))

        async def once(store: EventStore = store) -> str:
            try:
                return str((await store.append([EventLabels().write("x@0 a")])).replayed)
            except (StoreUnavailableError, AppendOutcomeUnknownError) as problem:
                return problem.code

        seen.add(anyio.run(once))
    assert seen == {"True", "False", "store_unavailable", "append_outcome_unknown"}
