"""Replayer: the main path from the steps of a source to appends, exactly once.

Progress and totals are appended atomically with the events that they count. So wherever the process is killed, the store says exactly
which steps are done, and the next run continues after them. Many steps share one append and one sync of the disk. An append has whole
steps only, in the order of the file.
"""

from collections.abc import Callable
from datetime import UTC, datetime

import attrs

from inventory_es.application.context import command_context
from inventory_es.application.service import InventoryService
from inventory_es.cli.replay.ledger import Ledger, check_not_ahead, is_empty
from inventory_es.cli.replay.orders_file import OrdersError, OrderSource
from inventory_es.cli.replay.planning import Batch, Shelf, plan_opening, plan_receipts, plan_step, refusal
from inventory_es.cli.replay.progress import Progress, ReplayAdvancedEvent, Totals
from inventory_es.cli.replay.steps import Invoice, Step, Survey, steps
from inventory_es.domain.errors import ClockSkewError, CommandsRejectedError, InsufficientStockError, NegativeStockError, RejectionError
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.errors import EventIdCollisionError


class ReplayClock:
    """A :class:`~inventory_es.ports.Clock` that the replay sets.

    Attributes:
        time: the time that it shows.
    """

    def __init__(self) -> None:
        self.time: datetime = datetime(1970, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        """Return the time that was set."""
        return self.time


MOST_COMMANDS = 4_000
"""The most commands in one append. More would show progress less often; fewer would need more syncs of the disk."""

_MOST_ATTEMPTS = 10
_COMMANDS_A_LINE = 3


@attrs.frozen
class ReplayOutcome:
    """Result of one run.

    Attributes:
        totals: the totals of the whole source.
        resumed_at_row: the last row that was done before this run; 0 for a fresh start.
        events_now: the events that this run appended to inventories.
    """

    totals: Totals
    resumed_at_row: int
    events_now: int


def replay_stream(source: OrderSource, opening: int | None) -> StreamId:
    """Return the stream of the replay of these orders with these options."""
    return StreamId("replay", source.digest(), "received" if opening is None else f"opening{opening}")


class Replayer:
    """One replay of one source into one inventory.

    Args:
        inventory: the open service, with ``clock``.
        clock: the clock of the inventory; set to the time of each step.
        source: the orders.
        survey: the result of the first pass over the source.
        opening: the units that each inventory is opened with; ``None``: missing units are received.
        advanced: called after each append.
        most_commands: the most commands in one append; a longer order is one append by itself.
    """

    def __init__(
        self,
        inventory: InventoryService,
        clock: ReplayClock,
        source: OrderSource,
        survey: Survey,
        *,
        opening: int | None = None,
        advanced: Callable[[ReplayAdvancedEvent], object] = lambda _: None,
        most_commands: int = MOST_COMMANDS,
    ) -> None:
        self._inventory = inventory
        self._clock = clock
        self._source = source
        self._survey = survey
        self._opening = opening
        self._advanced = advanced
        self.stream: StreamId = replay_stream(source, opening)
        self._progress = Progress(inventory.store, self.stream, clock)
        self._ledger = Ledger(inventory.store, self.stream, clock)
        self._refused: dict[Invoice, bool] = {}
        self._shelf = Shelf(inventory)
        self._batch = Batch()
        self._at_most = inventory.store.capabilities.max_append_events - 2
        self._most = min(most_commands, self._at_most)
        self._row = 0
        self._totals = Totals()

    async def run(self) -> ReplayOutcome:
        """Take every step that is left.

        Raises:
            OrdersError: an order can't be taken, or an inventory has later events than the orders.
            ConcurrencyError: another replay into the same store, perhaps of the same source, was faster.
        """
        await self._progress.load()
        before = self._progress.last
        self._row, self._totals = before.row, before.totals
        self._advanced(before)
        if not before.is_finished:
            self._shelf.is_bare = await is_empty(self._inventory.store)
            if not self._shelf.is_bare:
                await self._ledger.compare(self._source, self._survey)
                await self._ledger.check_earlier(self._source, self._survey, is_begun=not self._progress.is_new)
                if self._progress.is_new:
                    await check_not_ahead(self._inventory.store, self._source, self._survey)
            with command_context(correlation_id=self._progress.stream.text):
                for step in steps(self._source, self._survey.invoices):
                    if step.row > before.row:
                        await self._take(step)
                await self._flush()
                await self._append(Batch(), row=self._survey.rows, is_finished=True)
        return ReplayOutcome(self._totals, before.row, self._totals.events - before.totals.events)

    async def _take(self, step: Step) -> None:
        if self._is_full(step):
            await self._flush()
        self._clock.time = step.at
        await self._shelf.learn(step.inventory_ids())
        if self._opening is None:
            self._batch.add(step.at, plan_receipts(step, self._shelf))
        else:
            self._batch.add(step.at, plan_opening(step, self._shelf, self._opening))
            if self._shelf.shortages(step.wanted()):
                await self._flush()
                await self._take_alone(step)
                return
        self._batch.add(step.at, plan_step(step))
        self._batch.finish(step)
        self._shelf.take(step)

    def _is_full(self, step: Step) -> bool:
        """Return True if the step begins a new append. Adjacent steps of one invoice share an append if they fit."""
        batch = self._batch
        goes_on = bool(batch.steps) and step.invoice is not None and batch.steps[-1].invoice is step.invoice
        commands = len(batch.commands) + _COMMANDS_A_LINE * len(step.lines)
        if goes_on:
            return commands > self._at_most
        return max(commands, len(batch.steps)) > self._most or len(batch.invoices) + len(self._refused) >= self._ledger.most

    async def _flush(self) -> None:
        """Append the planned batch. If an inventory rejects it, since somebody else moved units, append step by step."""
        batch, self._batch = self._batch, Batch()
        if batch.is_empty:
            return
        try:
            await self._append(batch, row=batch.steps[-1].row if batch.steps else self._row)
        except CommandsRejectedError:
            self._shelf.forget_all()
            for step in batch.steps:
                await self._take_alone(step)

    async def _take_alone(self, step: Step) -> None:
        """Append one step alone, and let the inventory decide if the step can be covered."""
        rejections: list[RejectionError] = []
        for _ in range(_MOST_ATTEMPTS):
            self._clock.time = step.at
            await self._shelf.learn(step.inventory_ids())
            batch = Batch()
            if self._opening is None:
                batch.add(step.at, plan_receipts(step, self._shelf))
            try:
                if self._opening is not None:
                    opening = Batch()
                    opening.add(step.at, plan_opening(step, self._shelf, self._opening))
                    if opening.commands:
                        await self._append(opening, row=self._row)
                batch.add(step.at, plan_step(step))
                batch.finish(step)
                await self._append(batch, row=step.row)
            except CommandsRejectedError as problem:
                rejections = list(problem.rejections)
            else:
                self._shelf.take(step)
                return
            if self._opening is not None and any(isinstance(one, InsufficientStockError | NegativeStockError) for one in rejections):
                self._row, self._totals = step.row, self._totals + refusal(step)
                await self._remember_refused(batch)
                return
            self._shelf.forget(step.inventory_ids())
        line = step.lines[0]
        msg = f"{self._source.name}:{line.number}: invoice {line.invoice} can't be taken: {rejections[0]}"
        raise OrdersError(msg)

    async def _remember_refused(self, batch: Batch) -> None:
        """List the invoice of a refused step with the next append, since it needs no further work."""
        self._refused |= batch.invoices
        if len(self._refused) >= self._ledger.most:
            await self._append(Batch(), row=self._row)

    async def _append(self, batch: Batch, *, row: int, is_finished: bool = False) -> None:
        advanced = ReplayAdvancedEvent(row, is_finished, self._totals + batch.tally)
        writes = [self._progress.write(advanced), self._ledger.write(self._refused | batch.invoices)]
        try:
            await self._inventory.execute_all(batch.commands, times=batch.times, writes=writes)
        except (ClockSkewError, EventIdCollisionError) as problem:
            await self._ledger.check_alone(problem)
            raise
        self._progress.written(advanced)
        self._ledger.written()
        self._refused.clear()
        self._row, self._totals = advanced.row, advanced.totals
        self._advanced(advanced)
