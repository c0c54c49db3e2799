"""Rows of stock in a read model, queries through a cache, and every answer that was ever true."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from random import Random

import attrs

from inventory_es.adapters.memory import MemoryReadModel
from inventory_es.application.projections.shipped import with_shipped
from inventory_es.application.projections.stock_levels import LEVELS
from inventory_es.application.queries.answer_cache import DEFAULT_TTL, AnswerCache
from inventory_es.application.queries.answer_keys import product_inventory_key, stock_key
from inventory_es.application.queries.query_results import StockRow
from inventory_es.application.queries.questions import questions_to
from inventory_es.application.queries.stock_queries import StockQueries
from inventory_es.ports import Clock, ProjectionId, Put
from inventory_es.ports.read_model import to_text
from inventory_es.testing.promise import MismatchError

_PRODUCTS = ("p", "p:1", "p%3a1")
_STORES = ("s", "s:1")
_Rows = dict[tuple[str, str], StockRow]


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

    def __init__(self, clock: Clock, answers: AnswerCache) -> None:
        self._clock = clock
        self._answers = answers
        self._model = MemoryReadModel()
        projections = with_shipped(()).values()
        self._queries = StockQueries(questions_to(self._model, projections, patience=0), answers=answers)
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


def _seconds(span: timedelta) -> str:
    return f"{span.total_seconds():g} s"
