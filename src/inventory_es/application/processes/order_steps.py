"""The steps of an order, done to its inventories: at once with the order's own events where the store can, else one by one.

An order's stream says what it intends before any inventory is touched, and what came of it after. At once means that both,
and all that is done to the inventories, are one atomic append: there is no state in between. One by one, each command is sent
under an id that derives from the order, the line and the step. So a step that was cut short is taken again from its beginning:
what was accepted before is replayed, and the rest follows.
"""

from contextlib import suppress
from datetime import datetime

from inventory_es.application.processes.draft import ProcessDraft
from inventory_es.application.processes.process_handler import ProcessHandler
from inventory_es.application.results import Reservation
from inventory_es.application.service import InventoryService
from inventory_es.domain.commands import Command
from inventory_es.domain.errors import RejectionError
from inventory_es.domain.processes.orders import steps
from inventory_es.domain.processes.orders.decide import conclude
from inventory_es.domain.processes.orders.events import (
    OrderConfirmedEvent,
    OrderEvent,
    OrderHeldEvent,
    OrderNeedsAttentionEvent,
    OrderReleasedEvent,
    OrderRenewedEvent,
    OrderShipmentCommittedEvent,
    OrderWithdrawnEvent,
)
from inventory_es.domain.processes.orders.lines import LineShortage, OrderLine
from inventory_es.domain.processes.orders.reservation import OrderReservation
from inventory_es.domain.processes.orders.status import OrderStatus, OrderStep
from inventory_es.domain.rejections import (
    CommandExpiredError,
    CommandsRejectedError,
    InsufficientStockError,
    ReservationAlreadyCommittedError,
    ReservationAlreadyReleasedError,
    ReservationExpiredError,
    ReservationNotFoundError,
)
from inventory_es.ports.errors import AppendTooLargeError

Draft = ProcessDraft[OrderReservation, OrderEvent]

_LAPSED = (ReservationExpiredError, ReservationAlreadyReleasedError, ReservationNotFoundError)

MOST_GENERATIONS = 5
"""How often a line is reserved before its payment is given back: each time, the hold was over before it could be confirmed."""


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
            if step is OrderStep.RELEASE and draft.version == 0:  # refused before anything was stored: nothing was ever held
                self._conclude(draft, _released(draft.state))
                continue
            ahead = await self._at_once(draft, step) if self.is_atomic else None
            if ahead is not None:
                draft = ahead
                continue
            await self._handler.append(draft)
            self._conclude(draft, await self._one_by_one(draft.state, step))
        await self._handler.append(draft)
        return draft.state

    async def give_back(self, order: OrderReservation) -> None:
        """Release whatever the lines of an order that ended may hold: somebody else ended it while this task was reserving for it."""
        for _, command in steps.releases(order):
            with suppress(ReservationNotFoundError, ReservationAlreadyCommittedError):
                await self._inventory.execute(command)

    def _conclude(self, draft: Draft, outcome: OrderEvent) -> None:
        command_id = "step" if draft.state.step is None else f"step:{draft.state.step}"
        draft.take(conclude(draft.state, outcome), self._handler.time_of(draft), command_id=command_id)

    async def _at_once(self, draft: Draft, step: OrderStep) -> Draft | None:
        """Append the whole step with the order's events.

        Returns:
            What follows; ``None`` where the step must be taken one by one.
        """
        order, at = draft.state, self._handler.time_of(draft)
        planned = _plan(order, step, at)
        if planned is None:
            return None
        commands, outcome = planned
        ahead = draft.copy()
        self._conclude(ahead, outcome)
        try:
            await self._inventory.execute_all(commands, writes=[self._handler.write(ahead)], times=[at] * len(commands))
        except CommandsRejectedError as refused:
            if step is not OrderStep.RESERVE:
                return None
            ahead = draft.copy()
            shortages = tuple(_shortage(order.lines[at], why) for at, why in zip(refused.indexes, refused.rejections, strict=True))
            is_late = any(isinstance(one, CommandExpiredError) for one in refused.rejections)
            self._conclude(ahead, _too_late(order) if is_late else _refused(order, shortages))
            return ahead
        except AppendTooLargeError:
            return None
        ahead.stored()
        return ahead

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

    async def _reserve(self, order: OrderReservation) -> OrderEvent:
        ends: list[datetime] = []
        for line in order.lines:
            try:
                held = await self._inventory.execute(steps.reserve(order, line, 1))
            except CommandExpiredError:
                return _too_late(order)
            except RejectionError as why:
                return _refused(order, await self._shortages(order, line, why))
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
                return _refused(order, await self._shortages(order, line, why))
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
        return _released(order)

    async def _shortages(self, order: OrderReservation, refused: OrderLine, why: RejectionError) -> tuple[LineShortage, ...]:
        """Of the line that was refused, and of those after it, which were not asked for."""
        found = [_shortage(refused, why)]
        for line in order.lines[refused.line :]:
            available = (await self._inventory.stock(line.product_id, line.store_id)).available
            if available < line.quantity:
                found.append(_short(line, available, InsufficientStockError.code))
        return tuple(found)


def _plan(order: OrderReservation, step: OrderStep, at: datetime) -> tuple[list[Command], OrderEvent] | None:
    """All commands of a step, and what comes of it if each is accepted; ``None`` where one depends on what became of another."""
    match step:
        case OrderStep.RESERVE:
            held = OrderHeldEvent(order.order_id, at + order.ttl)
            return [steps.reserve(order, line, 1) for line in order.lines], held
        case OrderStep.CONFIRM:
            if order.status is not OrderStatus.HELD or order.generation > 1:
                return None
            confirmed = OrderConfirmedEvent(order.order_id, (1,) * len(order.lines))
            return [steps.confirm(order, line, 1) for line in order.lines], confirmed
        case OrderStep.SHIP:
            shipment = order.open_shipment
            assert shipment is not None  # noqa: S101  # the order has this step because of it
            committed = OrderShipmentCommittedEvent(order.order_id, shipment.shipment_id)
            return [steps.commit(order, shipment, units) for units in shipment.lines], committed
        case OrderStep.RELEASE:
            return None if order.shipped else ([command for _, command in steps.releases(order)], _released(order))


def _refused(order: OrderReservation, shortages: tuple[LineShortage, ...]) -> OrderEvent:
    ends_as = OrderStatus.REJECTED if order.payment_id is None else OrderStatus.NEEDS_REFUND
    return OrderWithdrawnEvent(order.order_id, ends_as, shortages)


def _too_late(order: OrderReservation) -> OrderEvent:
    return OrderWithdrawnEvent(order.order_id, OrderStatus.EXPIRED, ())


def _released(order: OrderReservation) -> OrderEvent:
    assert order.withdrawn is not None  # noqa: S101  # the order has this step because of it
    return OrderReleasedEvent(order.order_id, order.withdrawn)


def _shortage(line: OrderLine, why: RejectionError) -> LineShortage:
    available = why.available if isinstance(why, InsufficientStockError) else None
    return _short(line, available, why.code)


def _short(line: OrderLine, available: int | None, code: str) -> LineShortage:
    return LineShortage(line.line, line.product_id, line.store_id, line.quantity, available, code)
