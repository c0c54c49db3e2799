"""Replay of orders through order processes: placed, paid later, shipped in parcels or never paid, exactly once.

Each order is an :class:`~inventory_es.processes.OrderReservation` with its own stream. Many of them share one append, together with the
progress of the replay, as in :mod:`inventory_es.cli.replay.replayer`. The sequence is the same in every run, so the number of the last
action says where to go on.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import dropwhile
from typing import Self
from uuid import UUID, uuid5

import attrs

from inventory_es.adapters.serialization import EventRegistry, JsonEventCodec
from inventory_es.application.context import command_context
from inventory_es.application.processes.handler import ProcessSession
from inventory_es.application.processes.orders import OrderHandler, OrderSession, PlannedOrderStep
from inventory_es.application.service import InventoryService
from inventory_es.cli.replay.ledger import Ledger, check_not_ahead, is_empty
from inventory_es.cli.replay.orders_file import OrdersError, OrderSource
from inventory_es.cli.replay.planning import Plan, Shelf, plan_opening, plan_receipts, plan_step, refusal
from inventory_es.cli.replay.progress import Totals
from inventory_es.cli.replay.replayer import MOST_COMMANDS, ReplayClock, ReplayOutcome, replay_stream
from inventory_es.cli.replay.steps import Invoice, StepKind, Survey, steps
from inventory_es.domain.commands import Command
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
from inventory_es.ports import EventStore, NewEvent, StreamWrite
from inventory_es.ports.clock import Clock
from inventory_es.ports.errors import ConcurrencyError, EventIdCollisionError
from inventory_es.ports.toolkit.page_rules import read_stream_page_backwards
from tests.integration.order_fates import Action, actions, order_id_of


@attrs.frozen(kw_only=True)
class ProcessTotals(Totals):
    """As :class:`~inventory_es.cli.replay.progress.Totals`, and what became of what was ordered.

    Attributes:
        orders_expired: orders that nobody paid in time.
        orders_done: orders of which everything has left.
        units_ordered: units of all orders.
        units_expired: units that were given back since nobody paid in time.
        units_refused: units of orders that could not be covered.
    """

    orders_expired: int = 0
    orders_done: int = 0
    units_ordered: int = 0
    units_expired: int = 0
    units_refused: int = 0

    def __add__(self, other: Totals) -> Self:
        """Both together."""
        more = attrs.asdict(other)
        return type(self)(**{name: value + more.get(name, 0) for name, value in attrs.asdict(self).items()})


_EVENT_IDS = UUID("8e0b6a52-2f0c-5d5e-8f43-9f0a3f4c1b0e")


@attrs.frozen
class ProcessReplayAdvancedEvent:
    """A replay came this far.

    Attributes:
        action: the last one that is done.
        row: of the first line of the last step of the file that is begun; at the end, the last row of the file.
        is_finished: whether nothing is left to do.
        totals: of all that is done.
    """

    action: int
    row: int
    is_finished: bool
    totals: ProcessTotals


_START = ProcessReplayAdvancedEvent(0, 0, is_finished=False, totals=ProcessTotals())
_REGISTRY = EventRegistry().with_event(ProcessReplayAdvancedEvent, name="ProcessReplayAdvancedEvent", schema_version=1)
_CODEC = JsonEventCodec(registry=_REGISTRY)


class ProcessProgress:
    """The progress of one replay in one store.

    Args:
        store: where it is kept.
        stream: the replay's own.
        clock: the replay's.

    Attributes:
        last: how far it has come.
        version: of its stream.
    """

    def __init__(self, store: EventStore, stream: StreamId, clock: Clock) -> None:
        self._store = store
        self._stream = stream
        self._clock = clock
        self.version: int = 0
        self.last: ProcessReplayAdvancedEvent = _START

    @property
    def is_new(self) -> bool:
        """Whether nothing was done yet."""
        return self.version == 0

    async def load(self) -> None:
        """Read the last event of the replay's stream, and no other."""
        page = await read_stream_page_backwards(self._store, self._stream, limit=1)
        self.version = page.version
        self.last = _CODEC.decode(page.events[0]) if page.events else _START

    def write(self, advanced: ProcessReplayAdvancedEvent) -> StreamWrite:
        """What to append together with what ``advanced`` describes."""
        event_type, schema_version, data = _CODEC.encode(advanced)
        event_id = uuid5(_EVENT_IDS, f"{self._stream}/{self.version + 1}/{data.decode()}")
        return StreamWrite(self._stream, self.version, [NewEvent(event_id, event_type, schema_version, self._clock.now(), data)])

    def written(self, advanced: ProcessReplayAdvancedEvent) -> None:
        """It was appended."""
        self.version += 1
        self.last = advanced


class ProcessBatch:
    """Whole actions, planned one after the other.

    Attributes:
        actions: the actions.
        commands: to inventories, in order.
        times: of each command.
        sessions: the orders that are moved, as they will be.
        tally: what is counted when it is stored.
        invoices: those of its actions, each with whether all of it is in then.
    """

    def __init__(self) -> None:
        self.actions: list[Action] = []
        self.commands: list[Command] = []
        self.times: list[datetime] = []
        self.sessions: dict[str, OrderSession] = {}
        self.tally: ProcessTotals = ProcessTotals()
        self.invoices: dict[Invoice, bool] = {}

    @property
    def size(self) -> int:
        """Events at least."""
        return len(self.commands) + sum(len(session.new_events) for session in self.sessions.values())

    def add(self, at: datetime, plan: Plan) -> None:
        """Do this too, at its time."""
        self._add(plan.commands, [at] * len(plan.commands))
        self.tally += plan.tally

    def take(self, step: PlannedOrderStep, tally: Totals) -> None:
        """Take this step of an order too."""
        self._add(step.commands, [step.at] * len(step.commands))
        self.sessions[step.session.state.order_id] = step.session
        self.tally += tally

    def _add(self, commands: Sequence[Command], times: Sequence[datetime]) -> None:
        self.commands.extend(commands)
        self.times.extend(times)


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
        self._last_below: dict[Invoice, int] = {}

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
            for step in steps(self._source, self._survey.invoices):
                if step.invoice is not None and step.kind is not StepKind.ORDER:
                    self._last_below[step.invoice] = step.row
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
            if invoice.ordered_at is not None and len(order_id_of(invoice)) > _LONGEST_ORDER_ID:
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
            batch.invoices[invoice] = step.is_last and (invoice.ordered_at is None or await self._has_ended(batch, order_id_of(invoice)))
        else:
            has_ended = order_id_of(invoice) in batch.sessions and await self._has_ended(batch, order_id_of(invoice))
            if is_placed or has_ended:
                batch.invoices[invoice] = has_ended and self._last_below.get(invoice, 0) <= self._row

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
