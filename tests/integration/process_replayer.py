"""Driving whole orders with a file of them: placed, paid later, shipped in parcels or never paid, exactly once.

Each order is an :class:`~inventory_es.processes.OrderReservation`: its own decider, its own steps, its own stream. Many of them
share one append, with how far the replay has come, as in :mod:`inventory_es.cli.replay.replayer`. What happens when is the
same in every run, so the number of the last action says where to go on.
"""

from collections.abc import Callable
from itertools import dropwhile

from inventory_es.application.context import command_context
from inventory_es.application.processes.handler import ProcessSession
from inventory_es.application.processes.orders import OrderHandler, OrderSession
from inventory_es.application.service import InventoryService
from inventory_es.cli.replay.clock import ReplayClock
from inventory_es.cli.replay.ledger import Ledger
from inventory_es.cli.replay.not_ahead import check_not_ahead, is_empty
from inventory_es.cli.replay.planning import plan_opening, plan_receipts, plan_step, refusal
from inventory_es.cli.replay.replayer import MOST_COMMANDS, ReplayOutcome, replay_stream
from inventory_es.cli.replay.shelf import Shelf
from inventory_es.cli.replay.sources import OrdersError, OrderSource
from inventory_es.cli.replay.steps import StepKind, steps
from inventory_es.cli.replay.survey import Survey
from inventory_es.domain.errors import (
    ClockSkewError,
    CommandsRejectedError,
    InsufficientStockError,
    NegativeStockError,
    RejectionError,
    WouldBreakReservationsError,
)
from inventory_es.domain.processes.order.commands import AuthorisePayment, LapseOrder, PlaceOrder, ShipOrder
from inventory_es.domain.processes.order.decisions import ORDERS
from inventory_es.domain.processes.order.events import OrderStatus
from inventory_es.domain.processes.order.order import OrderReservation
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.errors import ConcurrencyError, EventIdCollisionError
from tests.integration.order_actions import Action, actions
from tests.integration.process_batch import ProcessBatch
from tests.integration.process_progress import ProcessProgress, ProcessReplayAdvancedEvent
from tests.integration.process_totals import ProcessTotals

_MOST_ATTEMPTS = 10
_COMMANDS_A_LINE = 4
_LONGEST_ORDER_ID = 64 - len("payment of ")
_NOT_COVERED = (InsufficientStockError, NegativeStockError, WouldBreakReservationsError)
_ENDED = {OrderStatus.DONE, OrderStatus.EXPIRED, OrderStatus.REJECTED}


class ProcessReplayer:
    """One replay of one source through orders, into one inventory; see :class:`~inventory_es.cli.replay.replayer.Replayer`.

    Args:
        inventory: open, with ``clock``.
        clock: the inventory's; set to the time of each action.
        source: the orders.
        survey: what the first pass over them found.
        opening: units that each inventory is opened with; ``None``: what lacks is received.
        advanced: told after each append.
        most_commands: events in one append at most, as far as orders are shorter.
    """

    def __init__(
        self,
        inventory: InventoryService,
        clock: ReplayClock,
        source: OrderSource,
        survey: Survey,
        *,
        opening: int | None = None,
        advanced: Callable[[ProcessReplayAdvancedEvent], object] = lambda _: None,
        most_commands: int = MOST_COMMANDS,
    ) -> None:
        self._inventory = inventory
        self._clock = clock
        self._source = source
        self._survey = survey
        self._opening = opening
        self._advanced = advanced
        self.stream: StreamId = StreamId("replay", *replay_stream(source, opening).parts, "process")
        self._handler = OrderHandler(inventory)
        self._progress = ProcessProgress(inventory.store, self.stream, clock)
        self._ledger = Ledger(inventory.store, self.stream, clock)
        self._row = 0
        self._shelf = Shelf(inventory)
        self._most = min(most_commands, inventory.store.capabilities.max_append_events - 2)
        self._batch = ProcessBatch()
        self._live: dict[str, OrderSession] = {}

    async def run(self) -> ReplayOutcome:
        """Do everything that was not done yet.

        Raises:
            OrdersError: an order can't be taken, or the inventory has moved on since the time of the orders.
            ConcurrencyError: another replay runs elsewhere, perhaps of the same source, and was faster.
        """
        await self._progress.load()
        before = self._progress.last
        self._row = before.row
        self._advanced(before)
        await self._ledger.compare(self._source, self._survey)
        if before.is_finished and not self._ledger.has_this:
            for invoice in self._survey.invoices:  # an earlier version knew no days
                invoice.has_day = False
        if not before.is_finished:
            self._shelf.is_bare = await is_empty(self._inventory.store)
            if not self._shelf.is_bare:
                await self._ledger.check_earlier(self._source, self._survey, is_begun=not self._progress.is_new)
                if self._progress.is_new:
                    await check_not_ahead(self._inventory.store, self._source, self._survey)
            self._check_names()
            with command_context(correlation_id=self.stream.text):
                everything = actions(steps(self._source, self._survey.invoices))
                for action in dropwhile(lambda one: one.number <= before.action, everything):
                    await self._take(action)
                await self._flush()
                await self._append(ProcessBatch(), is_finished=True)
        totals = self._progress.last.totals
        return ReplayOutcome(totals, before.row, totals.events - before.totals.events)

    def _check_names(self) -> None:
        for invoice in self._survey.invoices:
            if invoice.ordered_at is not None and len(invoice.order_id) > _LONGEST_ORDER_ID:
                msg = (
                    f"{self._source.name}:{invoice.line}: invoice {invoice.number} has too long a number for an order process: "
                    f"with its day and its store it may have {_LONGEST_ORDER_ID} characters; nothing was written"
                )
                raise OrdersError(msg)

    async def _take(self, action: Action) -> None:
        batch = self._batch
        size = max(batch.size + _COMMANDS_A_LINE * len(action.step.lines), len(batch.actions))
        if size > self._most or len(batch.invoices) >= self._ledger.most:
            await self._flush()
        if not await self._plan(self._batch, action):
            await self._flush()
            await self._take_alone(action)

    async def _plan(self, batch: ProcessBatch, action: Action) -> bool:
        """Add an action to a batch; ``False``, and nothing is added, where it must be tried for itself."""
        self._clock.time = action.at
        step, command = action.step, action.command
        if command is None or isinstance(command, PlaceOrder):
            await self._shelf.learn(step.inventory_ids())
            if self._opening is None:
                batch.add(action.at, plan_receipts(step, self._shelf))
            else:
                batch.add(action.at, plan_opening(step, self._shelf, self._opening))
                if self._shelf.shortages(step.wanted()):
                    return False
        if command is None or (step.is_in and isinstance(command, PlaceOrder)):
            batch.add(action.at, plan_step(step))
            self._shelf.take(step)
        elif not step.is_in:
            session = await self._order(action)
            if session.state.status not in _ENDED:
                self._handler.decide(session, command)
                self._move(batch, action, session)
        await self._finish(batch, action)
        return True

    async def _finish(self, batch: ProcessBatch, action: Action) -> None:
        """Count an action as done, whose commands were added."""
        batch.actions.append(action)
        step, invoice = action.step, action.step.invoice
        is_placed = isinstance(action.command, PlaceOrder)
        if action.command is None or is_placed:
            self._row = step.row
        if invoice is None or step.is_in:
            return
        if step.kind is not StepKind.ORDER:
            batch.invoices[invoice] = step.is_last and (invoice.ordered_at is None or await self._has_ended(batch, invoice.order_id))
        else:
            has_ended = invoice.order_id in batch.sessions and await self._has_ended(batch, invoice.order_id)
            if is_placed or has_ended:
                batch.invoices[invoice] = has_ended and invoice.last_below <= self._row

    async def _has_ended(self, batch: ProcessBatch, order_id: str) -> bool:
        session = batch.sessions.get(order_id) or self._live.get(order_id) or await self._handler.load(order_id)
        return session.state.status in _ENDED

    async def _order(self, action: Action) -> OrderSession:
        """The order of an action; one that is to be placed is new, or the append says otherwise."""
        if action.command is None:
            msg = "an action that is no command to an order has none"
            raise TypeError(msg)
        order_id = action.command.order_id
        if isinstance(action.command, PlaceOrder):
            return ProcessSession(ORDERS, order_id)
        session = self._live.get(order_id)
        return (await self._handler.load(order_id)) if session is None else session

    def _move(self, batch: ProcessBatch, action: Action, session: OrderSession) -> None:
        planned = self._handler.plan(session)
        if planned is None:
            raise _moved_elsewhere(session.state)
        order = planned.session.state
        batch.take(planned, _tally(action, order))
        self._live[order.order_id] = planned.session
        if order.status in _ENDED:
            del self._live[order.order_id]
        if isinstance(action.command, PlaceOrder):
            self._shelf.take(action.step)
        elif isinstance(action.command, LapseOrder):
            for line in order.lines:
                if self._shelf.knows(line.inventory_id):
                    self._shelf.move(line.inventory_id, line.quantity)

    async def _flush(self) -> None:
        """Append what is planned. If the inventory disagrees, somebody else moved it: one by one then, on what is there now."""
        batch, self._batch = self._batch, ProcessBatch()
        if not batch.actions and not batch.commands:
            return
        try:
            await self._append(batch)
        except CommandsRejectedError:
            self._forget(batch)
            for action in batch.actions:
                await self._take_alone(action)

    def _forget(self, batch: ProcessBatch) -> None:
        self._shelf.forget_all()
        for order_id in batch.sessions:
            self._live.pop(order_id, None)

    async def _take_alone(self, action: Action) -> None:
        """Append one action for itself, and let the inventory say whether it can be covered."""
        rejections: list[RejectionError] = []
        for _ in range(_MOST_ATTEMPTS):
            batch = ProcessBatch()
            is_believed = await self._plan(batch, action)
            try:
                if not is_believed:
                    if batch.commands:
                        await self._append(batch)
                    batch = ProcessBatch()
                    await self._try(batch, action)
                await self._append(batch)
            except CommandsRejectedError as problem:
                rejections = list(problem.rejections)
                self._forget(batch)
                if self._opening is not None and any(isinstance(one, _NOT_COVERED) for one in rejections):
                    await self._refuse(action, problem, receipts=len(batch.commands) - len(action.step.inventory_ids()))
                    return
            else:
                return
        line = action.step.lines[0]
        msg = f"{self._source.name}:{line.number}: invoice {line.invoice} can't be taken: {rejections[0]}"
        raise OrdersError(msg)

    async def _try(self, batch: ProcessBatch, action: Action) -> None:
        """Plan it although it can't be covered, as far as is known."""
        if action.command is None:
            batch.add(action.at, plan_step(action.step))
        else:
            session = await self._order(action)
            self._handler.decide(session, action.command)
            self._move(batch, action, session)
        await self._finish(batch, action)

    async def _refuse(self, action: Action, why: CommandsRejectedError, *, receipts: int) -> None:
        """Store that an action was refused; before its own commands stood so many that bring units in."""
        batch = ProcessBatch()
        tally = refusal(action.step)
        if action.command is not None:
            session = await self._order(action)
            self._handler.decide(session, action.command)
            lines = tuple(index - receipts for index in why.indexes)
            ended = self._handler.refuse(session, CommandsRejectedError(rejections=why.rejections, indexes=lines))
            batch.sessions[ended.state.order_id] = ended
            units = sum(line.quantity for line in ended.state.lines)
            batch.tally += ProcessTotals(units_ordered=units, units_refused=units)
        batch.tally += tally
        await self._finish(batch, action)
        await self._append(batch)

    async def _tell_who_moved(self, problem: ClockSkewError | ConcurrencyError | EventIdCollisionError) -> None:
        """Raise what a person can use: another replay runs elsewhere, or somebody else uses the ids of these orders."""
        now = ProcessProgress(self._inventory.store, self.stream, self._clock)
        await now.load()
        if now.version != self._progress.version:
            raise ConcurrencyError(stream=self.stream, expected=self._progress.version, actual=now.version) from problem
        await self._ledger.check_alone(problem)
        if problem.stream.category == ORDERS.category:
            raise _moved_elsewhere(problem.stream) from problem

    async def _append(self, batch: ProcessBatch, *, is_finished: bool = False) -> None:
        before = self._progress.last
        action = batch.actions[-1].number if batch.actions else before.action
        row = self._survey.rows if is_finished else max([before.row, *(one.step.row for one in batch.actions)])
        advanced = ProcessReplayAdvancedEvent(action, row, is_finished, before.totals + batch.tally)
        progress = [self._progress.write(advanced), self._ledger.write(batch.invoices)]
        writes = [*progress, *(self._handler.write(session) for session in batch.sessions.values())]
        try:
            await self._inventory.execute_all(batch.commands, times=batch.times, writes=writes)
        except (ClockSkewError, ConcurrencyError, EventIdCollisionError) as problem:
            await self._tell_who_moved(problem)
            raise
        for session in batch.sessions.values():
            session.stored()
        self._progress.written(advanced)
        self._ledger.written()
        self._advanced(advanced)


def _moved_elsewhere(order: OrderReservation | StreamId) -> OrdersError:
    what = f"{order} is there already" if isinstance(order, StreamId) else f"{order.stream} is {order.status}"
    return OrdersError(f"{what}, and was moved by somebody else: bring the file into a store of its own")


def _tally(action: Action, order: OrderReservation) -> ProcessTotals:
    """What is counted when an action on an order is stored."""
    match action.command:
        case PlaceOrder():
            units = sum(line.quantity for line in order.lines)
            return ProcessTotals(rows=len(action.step.lines), orders=1, units_ordered=units, events=len(order.lines))
        case AuthorisePayment():
            return ProcessTotals(events=len(order.lines))
        case ShipOrder(shipment_id=shipment_id):
            lines = next(one.lines for one in order.shipments if one.shipment_id == shipment_id)
            is_done = order.status is OrderStatus.DONE
            return ProcessTotals(units_sold=sum(line.quantity for line in lines), events=len(lines), orders_done=int(is_done))
        case _:
            units = sum(line.quantity for line in order.lines)
            return ProcessTotals(orders_expired=1, units_expired=units, events=len(order.lines))
