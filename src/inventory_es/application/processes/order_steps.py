"""The steps of an order, done to its inventories: at once with the order's own events where the store can, else one by one.

An order's stream says what it intends before any inventory is touched, and what came of it after. At once means that both,
and all that is done to the inventories, are one atomic append: there is no state in between. One by one, each command is sent
under an id that derives from the order, the line and the step. So a step that was cut short is taken again from its beginning:
what was accepted before is replayed, and the rest follows.
"""

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple, assert_never

from inventory_es.application.processes.handler import ProcessHandler
from inventory_es.application.processes.session import ProcessDraft
from inventory_es.application.results import Reservation
from inventory_es.application.service import InventoryService
from inventory_es.domain.commands import Command
from inventory_es.domain.errors import (
    CommandExpiredError,
    CommandsRejectedError,
    InsufficientStockError,
    RejectionError,
    ReservationAlreadyCommittedError,
    ReservationAlreadyReleasedError,
    ReservationExpiredError,
    ReservationNotFoundError,
)
from inventory_es.domain.processes.lines import LineShortage, OrderLine
from inventory_es.domain.processes.order import outcomes, steps
from inventory_es.domain.processes.order.decisions import conclude
from inventory_es.domain.processes.order.events import (
    OrderConfirmedEvent,
    OrderEvent,
    OrderHeldEvent,
    OrderNeedsAttentionEvent,
    OrderRenewedEvent,
    OrderShipmentCommittedEvent,
)
from inventory_es.domain.processes.order.order import OrderReservation
from inventory_es.domain.processes.order.status import OrderStatus, OrderStep
from inventory_es.ports.errors import AppendTooLargeError

Draft = ProcessDraft[OrderReservation, OrderEvent]

_LAPSED = (ReservationExpiredError, ReservationAlreadyReleasedError, ReservationNotFoundError)

MOST_GENERATIONS = 5
"""How often a line is reserved before its payment is given back: each time, the hold was over before it could be confirmed."""


class PlannedStep(NamedTuple):
    """A step that is taken at once.

    Attributes:
        commands: to the inventories.
        times: of each.
        draft: the order as it will be, with what is to be appended together with the commands.
    """

    commands: Sequence[Command]
    times: Sequence[datetime]
    draft: Draft


class OrderSteps:
    """Takes the steps of orders.

    Args:
        handler: keeps the streams of orders.
        inventory: whose inventories are moved.
    """

    def __init__(self, handler: ProcessHandler[OrderReservation, OrderEvent], inventory: InventoryService) -> None:
        self._handler = handler
        self._inventory = inventory
        self.is_atomic: bool = inventory.store_capabilities.multi_stream

    async def take(self, draft: Draft) -> OrderReservation:
        """Take every step that the order has to take, and store what is drafted.

        Returns:
            The order after them.

        Raises:
            ConcurrencyError: somebody else moved the order; take its steps from its new state.
        """
        while (step := draft.state.step) is not None:
            ahead = await self._at_once(draft) if self.is_atomic else None
            if ahead is not None:
                draft = ahead
                continue
            await self._handler.append(draft)
            self._conclude(draft, await self._one_by_one(draft.state, step))
        await self._handler.append(draft)
        return draft.state

    async def give_back(self, order: OrderReservation) -> None:
        """Release what lines hold and the order does not: somebody else brought it on meanwhile, or by a clock that stands elsewhere.

        Only what is stored says what the order holds: give back from that, never from what a step came to and could not store.
        """
        for command in steps.strays(order):
            with suppress(ReservationNotFoundError, ReservationAlreadyCommittedError):
                await self._inventory.execute(command)

    def plan(self, draft: Draft) -> "PlannedStep | None":
        """The order's step as one append; ``None`` where it must be taken one by one."""
        order, at = draft.state, self._time_of(draft)
        if order.step is None or (order.step is OrderStep.RESERVE and draft.version):  # some lines may be held since earlier
            return None
        planned = outcomes.plan(order, order.step, at)
        if planned is None:
            return None
        commands, outcome = planned
        ahead = draft.copy()
        self._conclude(ahead, outcome)
        return PlannedStep(commands, [at] * len(commands), ahead)

    def refuse(self, draft: Draft, why: CommandsRejectedError) -> Draft:
        """What follows where the reservations of a new order are refused: nothing was ever held, and it ends."""
        order, ended = draft.state, draft.copy()
        shortages = tuple(outcomes.shortage(order.lines[line], one) for line, one in zip(why.indexes, why.rejections, strict=True))
        self._conclude(ended, outcomes.refused(order, shortages))
        self._conclude(ended, outcomes.released(ended.state))
        return ended

    def _conclude(self, draft: Draft, outcome: OrderEvent) -> None:
        command_id = f"step:{draft.state.step}"
        draft.take(conclude(draft.state, outcome), self._time_of(draft), command_id=command_id)

    def _time_of(self, draft: Draft) -> datetime:
        """What is stored together has one time."""
        return draft.drafted[-1].at if draft.drafted else self._handler.time_of(draft)

    async def _at_once(self, draft: Draft) -> Draft | None:
        """Append the whole step with the order's events.

        Returns:
            What follows; ``None`` where the step must be taken one by one.
        """
        planned = self.plan(draft)
        if planned is None:
            return None
        try:
            writes = [self._handler.write(planned.draft)]
            await self._inventory.execute_all(planned.commands, writes=writes, times=planned.times)
        except CommandsRejectedError as why:
            return self.refuse(draft, why) if draft.state.step is OrderStep.RESERVE else None
        except AppendTooLargeError:
            return None
        planned.draft.stored()
        return planned.draft

    async def _one_by_one(self, order: OrderReservation, step: OrderStep) -> OrderEvent:
        match step:
            case OrderStep.RESERVE:
                return await self._reserve(order)
            case OrderStep.CONFIRM:
                return await self._confirm(order)
            case OrderStep.SHIP:
                return await self._ship(order)
            case OrderStep.RELEASE:
                return await self._release(order)
            case _:
                assert_never(step)

    async def _reserve(self, order: OrderReservation) -> OrderEvent:
        ends: list[datetime] = []
        for line in order.lines:
            try:
                held = await self._inventory.execute(steps.reserve(order, line, 1))
            except CommandExpiredError:
                return outcomes.too_late(order)
            except RejectionError as why:
                return outcomes.refused(order, await self._shortages(order, line, why))
            if isinstance(held, Reservation) and held.expires_at is not None:
                ends.append(held.expires_at)
        return OrderHeldEvent(order.order_id, min(ends))

    async def _confirm(self, order: OrderReservation) -> OrderEvent:
        generations: list[int] = []
        for line in order.lines:
            try:
                generation = await self._confirmed_generation(order, line)
            except ReservationAlreadyCommittedError as why:
                return OrderNeedsAttentionEvent(order.order_id, line.line, why.code)
            except RejectionError as why:
                return outcomes.refused(order, await self._shortages(order, line, why))
            if generation is None:
                return OrderRenewedEvent(order.order_id, order.generation + 1)
            generations.append(generation)
        return OrderConfirmedEvent(order.order_id, tuple(generations))

    async def _confirmed_generation(self, order: OrderReservation, line: OrderLine) -> int | None:
        """The generation of a line's hold that is firm now; ``None`` where all have lapsed, and a further one may be begun."""
        for generation in range(1, order.generation + 1):
            try:
                if generation > 1:
                    await self._inventory.execute(steps.reserve(order, line, generation))
                await self._inventory.execute(steps.confirm(order, line, generation))
            except _LAPSED:
                if generation == MOST_GENERATIONS:
                    raise
            else:
                return generation
        return None

    async def _ship(self, order: OrderReservation) -> OrderEvent:
        """Take everything of the shipment off the books that can be, since the goods have left; then tell of what could not."""
        shipment = order.open_shipment
        assert shipment is not None  # noqa: S101  # the order has this step because of it
        stopped: OrderNeedsAttentionEvent | None = None
        for units in shipment.lines:
            try:
                await self._inventory.execute(steps.commit(order, shipment, units))
            except RejectionError as why:
                stopped = stopped or OrderNeedsAttentionEvent(order.order_id, units.line, why.code)
        return stopped or OrderShipmentCommittedEvent(order.order_id, shipment.shipment_id)

    async def _release(self, order: OrderReservation) -> OrderEvent:
        goods_may_have_left = order.status is OrderStatus.NEEDS_ATTENTION
        shipped = order.shipped
        for line, command in steps.releases(order):
            if line.line in shipped and not goods_may_have_left:
                return OrderNeedsAttentionEvent(order.order_id, line.line, ReservationAlreadyCommittedError.code)
            try:
                await self._inventory.execute(command)
            except ReservationNotFoundError:
                continue
            except ReservationAlreadyCommittedError as why:
                if not goods_may_have_left:
                    return OrderNeedsAttentionEvent(order.order_id, line.line, why.code)
        return outcomes.released(order)

    async def _shortages(self, order: OrderReservation, refused: OrderLine, why: RejectionError) -> tuple[LineShortage, ...]:
        """Of the line that was refused, and of those after it, which were not asked for."""
        found = [outcomes.shortage(refused, why)]
        for line in order.lines[refused.line :]:
            available = (await self._inventory.stock(line.product_id, line.store_id)).available
            if available < line.quantity:
                found.append(outcomes.short(line, available, InsufficientStockError.code))
        return tuple(found)
