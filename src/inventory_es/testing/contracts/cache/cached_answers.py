"""CA-15, CA-16, CA-19: answers of queries through the cache."""

import anyio
import attrs

from inventory_es.application.queries.answer_cache import DEFAULT_TTL
from inventory_es.application.queries.answer_form import AnswerForm
from inventory_es.testing.contracts.cache.harness import CacheHarness
from inventory_es.testing.contracts.cache.stock_views import Shelf
from inventory_es.testing.contracts.core.schedule import all_tasks_wait
from inventory_es.testing.faults import FaultKind, Faults, FaultyCache
from inventory_es.testing.promise import MismatchError, promise

_FORM: AnswerForm[str] = AnswerForm(str)
_CALLERS = 12
_STEPS = 60


@attrs.define
class _Question:
    """A computation that a case delays, lets fail, and counts."""

    began: int = 0
    started: anyio.Event = attrs.field(factory=anyio.Event)
    answer: str | Exception = "answer"
    gate: anyio.Event = attrs.field(factory=anyio.Event)

    async def __call__(self) -> tuple[str, int]:
        self.began += 1
        self.started.set()
        await self.gate.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer, 1


class AnswerCases:
    """Cases of the answers in front of the cache."""

    @promise("CA-15", "Questions for one key that meet are computed once; a computation that fails is not kept.", seeds=4)
    async def test_ca_15_one_flight(self, harness: CacheHarness) -> None:
        async with harness.open() as cache:
            answers = harness.contract.answers(cache, harness.clock)
            question, other = _Question(answer=ValueError("no answer")), _Question(answer="other")
            got: list[str] = []

            async def ask(key: str, asked: _Question) -> None:
                try:
                    got.append(await answers.answer(key, _FORM, asked))
                except ValueError:
                    got.append("failed")

            async with anyio.create_task_group() as callers:
                callers.start_soon(ask, "l", other)
                for _ in range(_CALLERS):
                    callers.start_soon(ask, "k", question)
                await all_tasks_wait()
                other.gate.set()
                await all_tasks_wait()
                question.gate.set()
            _expect(sorted(got), ["failed"] * _CALLERS + ["other"], "each caller gets the answer of its own key, or its failure")
            _expect(question.began, 1, "several computations of one key ran, or none")
            question.answer = "answer"
            got.clear()
            await ask("k", question)
            await ask("k", question)
            _expect(got, ["answer"] * 2, "the failure was kept: whoever asks later must be answered")
            _expect(question.began, 2, "the answer was not kept, or computed more than once")

    @promise("CA-16", "A caller who is cancelled while it computes strands nobody: another computes in its place.", seeds=4)
    async def test_ca_16_the_leader_is_cancelled(self, harness: CacheHarness) -> None:
        async with harness.open() as cache:
            answers = harness.contract.answers(cache, harness.clock)
            question = _Question()
            got: list[str] = []

            async def ask() -> None:
                got.append(await answers.answer("k", _FORM, question))

            async with anyio.create_task_group() as followers:
                async with anyio.create_task_group() as leader:
                    leader.start_soon(ask)
                    await question.started.wait()
                    for _ in range(_CALLERS):
                        followers.start_soon(ask)
                    await all_tasks_wait()
                    leader.cancel_scope.cancel()
                question.gate.set()
            _expect(got, ["answer"] * _CALLERS, "everybody else gets an answer, and the one who was cancelled none")
            _expect(question.began, 2, "one of those who waited computes in the place of the one who was cancelled")

    @promise(
        "CA-19",
        "With the cache off, failing, forgetting, or stale, every answer is one that was true within its time to live, and none goes back.",
        seeds=8,
    )
    async def test_ca_19_transparency(self, harness: CacheHarness) -> None:
        async with harness.open() as cache:
            chance = harness.run.schedule.chance
            kinds: tuple[FaultKind, ...] = ("fail_before", "fail_after", "drop")
            faulty = FaultyCache(cache, Faults.by_seed(chance.randrange(1 << 32), rate=chance.choice((0.0, 0.2, 1.0)), kinds=kinds))
            answers = harness.contract.answers(faulty, harness.clock)
            shelf = Shelf(harness.clock, answers)
            for _ in range(_STEPS):
                match chance.randrange(6):
                    case 0 | 1:
                        await shelf.move(chance)
                    case 2:
                        await harness.pass_time(DEFAULT_TTL * chance.random())
                    case _:
                        await shelf.ask(chance)


def _expect(got: object, expected: object, meaning: str) -> None:
    if got != expected:
        raise MismatchError(expected=str(expected), got=str(got), meaning=meaning)
