"""CA-15, CA-16, CA-19: answers of queries through the cache, compared with every answer that was ever true."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from random import Random

import anyio
import attrs

from inventory_es.adapters.memory import MemoryReadModel
from inventory_es.application.projections.shipped import with_shipped
from inventory_es.application.projections.stock_levels import LEVELS, StockRow
from inventory_es.application.queries.cached_answers import DEFAULT_TTL, AnswerForm, CachedAnswers, product_inventory_key, stock_key
from inventory_es.application.queries.projection_reader import readers_of
from inventory_es.application.queries.stock_queries import StockQueries
from inventory_es.ports import Clock, ProjectionId, Put
from inventory_es.ports.read_model import to_text
from inventory_es.testing.contracts.cache.harness import CacheHarness
from inventory_es.testing.contracts.core.schedule import all_tasks_wait
from inventory_es.testing.faults import FaultKind, Faults, FaultyCache
from inventory_es.testing.promise import MismatchError, promise

_FORM: AnswerForm[str] = AnswerForm(str)
_CALLERS = 12
_STEPS = 60
_PRODUCTS = ("p", "p:1", "p%3a1")
_STORES = ("s", "s:1")
_Rows = dict[tuple[str, str], StockRow]


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


@attrs.define
class _Truth:
    """The rows that were true from one instant on, as of one position."""

    position: int
    since: datetime
    rows: _Rows


class Shelf:
    """Stock that a case changes and asks for.

    Args:
        clock: the clock of the case.
        answers: the layer between the queries and the cache.
    """

    def __init__(self, clock: Clock, answers: CachedAnswers) -> None:
        self._clock = clock
        self._answers = answers
        self._model = MemoryReadModel()
        projections = with_shipped(()).values()
        self._queries = StockQueries(readers_of(self._model, projections, patience=0), answers=answers)
        self._levels: ProjectionId = next(one.projection_id for one in projections if one.projection_id.name == "stock_levels")
        self._truths = [_Truth(0, clock.now(), {})]
        self._given: dict[str, int] = {}

    async def move(self, chance: Random) -> None:
        """Change one inventory; chance decides whether the cache hears of it."""
        before = self._truths[-1]
        product_id, store_id = where = chance.choice(_PRODUCTS), chance.choice(_STORES)
        position, at, on_hand = before.position + 1, self._clock.now(), chance.randrange(100)
        version = before.rows[where].version + 1 if where in before.rows else 1
        row = StockRow(
            product_id=product_id,
            store_id=store_id,
            version=version,
            position=position,
            recorded_at=at,
            on_hand=on_hand,
            reserved=0,
            available=on_hand,
        )
        await self._queries.prepare()
        seen = await self._model.checkpoint(self._levels)
        values = attrs.asdict(row) | {"recorded_at": to_text(at)}
        after = attrs.evolve(seen, position=position, recorded_at=at)
        await self._model.commit(self._levels, [Put(LEVELS.name, values)], before=seen, after=after)
        self._truths.append(_Truth(position, at, {**before.rows, where: row}))
        if chance.random() < 0.5:
            await self._answers.invalidate({stock_key(*where): position, product_inventory_key(product_id): position})
            self._given |= {stock_key(*where): position, product_inventory_key(product_id): position}

    async def ask(self, chance: Random) -> None:
        """Ask for one inventory or one product, sometimes for at least the newest position.

        Raises:
            MismatchError: the answer was not true within its time to live, is older than one before, or not as new as asked.
        """
        product_id, store_id = chance.choice(_PRODUCTS), chance.choice(_STORES)
        newest = self._truths[-1].position
        least = chance.choice((0, 0, newest))
        if chance.random() < 0.5:
            key, got = stock_key(product_id, store_id), await self._queries.stock(product_id, store_id, wait_for_position=least)
            self._judge(key, least, got, [one.rows.get((product_id, store_id)) for one in self._truths])
        else:
            page = await self._queries.product_inventory(product_id, wait_for_position=least)
            of_it = [tuple(row for where, row in sorted(one.rows.items()) if where[0] == product_id) for one in self._truths]
            self._judge(product_inventory_key(product_id), least, page.rows, of_it)

    def _judge(self, key: str, least: int, got: object, truths: Sequence[object]) -> None:
        """Return the newest of the true answers that this one can be."""
        oldest = self._clock.now() - DEFAULT_TTL
        ends = [one.since for one in self._truths[1:]]
        floor = max(least, self._given.get(key, 0))
        at_best = max((one.position for one, told in zip(self._truths, truths, strict=True) if told == got), default=-1)
        end = ends[at_best] if 0 <= at_best < len(ends) else None
        meaning = None
        if at_best < 0:
            meaning = "it was never true"
        elif at_best < floor:
            meaning = f"it is older than position {floor}, which was given, told or asked for before"
        elif end is not None and end <= oldest:
            meaning = f"it was no longer true {_seconds(self._clock.now() - end)} ago, and its time to live is {_seconds(DEFAULT_TTL)}"
        if meaning is not None:
            raise MismatchError(expected=f"{key}: {truths[-1]}", got=str(got), meaning=meaning)
        self._given[key] = max(floor, min(one.position for one, told in zip(self._truths, truths, strict=True) if told == got))


def _expect(got: object, expected: object, meaning: str) -> None:
    if got != expected:
        raise MismatchError(expected=str(expected), got=str(got), meaning=meaning)


def _seconds(span: timedelta) -> str:
    return f"{span.total_seconds():g} s"
