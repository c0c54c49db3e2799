"""Orders over many products: placed, paid, shipped, cancelled. All or nothing, whatever the store can."""

from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from typing import assert_never
from uuid import UUID

import attrs

from inventory_es.application.following.subscription import EventFilter
from inventory_es.application.processes.handler import PlannedStep, ProcessHandler, ProcessSession, check_command
from inventory_es.application.processes.runner import Touch
from inventory_es.application.results import Reservation
from inventory_es.application.service import InventoryService
from inventory_es.domain.errors import (
    CommandExpiredError,
    CommandsRejectedError,
    InventoryError,
    ProcessNotFoundError,
    RejectionError,
    ReservationAlreadyCommittedError,
    ReservationAlreadyReleasedError,
    ReservationExpiredError,
    ReservationNotFoundError,
)
from inventory_es.domain.events import StockReservedEvent
from inventory_es.domain.identifiers import INVENTORY_CATEGORY
from inventory_es.domain.processes.lines import OrderItem, OrderLine
from inventory_es.domain.processes.order import commands, events, steps
from inventory_es.domain.processes.order.commands import OrderCommand, PlaceOrder
from inventory_es.domain.processes.order.decisions import ORDERS
from inventory_es.domain.processes.order.events import ORDER_CATEGORY, ORDER_EVENT_TYPES, OrderEvent, OrderStatus
from inventory_es.domain.processes.order.order import OrderReservation, OrderStep
from inventory_es.domain.processes.step_ids import process_id
from inventory_es.domain.quantity import whole_number
from inventory_es.ports import RecordedEvent
from inventory_es.ports.toolkit.waiting import do_all

Items = Iterable[OrderItem | tuple[str, str, int]]
"""Items that are ordered or shipped: product, store and quantity of each."""

OrderSession = ProcessSession[OrderReservation, OrderEvent]
PlannedOrderStep = PlannedStep[OrderReservation, OrderEvent]

MOST_GENERATIONS = 5
"""Reservations of a line before its payment is given back. Each one before had lapsed before it could be confirmed."""

_LAPSED = (ReservationExpiredError, ReservationAlreadyReleasedError, ReservationNotFoundError)
_EVENT_NAMES = frozenset(kind.__name__ for kind in ORDER_EVENT_TYPES)
_WATCHED = EventFilter(categories={ORDER_CATEGORY, INVENTORY_CATEGORY}, types=_EVENT_NAMES | {StockReservedEvent.__name__})


class OrderHandler(ProcessHandler[OrderReservation, OrderEvent]):
    """Handler of orders, which takes their steps.

    Args:
        inventory: the open service; its store has the streams.
    """

    def __init__(self, inventory: InventoryService) -> None:
        super().__init__(ORDERS, inventory)

    def plan(self, session: OrderSession) -> PlannedOrderStep | None:
        """Return the step that is due as one append; ``None`` where it must be taken one by one."""
        if session.state.step is OrderStep.RESERVE and session.version:  # some lines may be held since earlier
            return None
        return super().plan(session)

    async def give_back(self, order: OrderReservation) -> None:
        """Release holds that the order does not count on, where lines are reserved one by one.

        A task that was overtaken may have left them. Only a stored order says what it counts on: never pass the state of a step that
        could not be stored.
        """
        is_one_by_one = order.generation > 1 or not self.is_atomic
        is_firm = order.status is OrderStatus.FIRM and order.withdrawn is None
        if is_one_by_one and (is_firm or (order.status.holds_nothing and order.step is None and order.lines)):
            for command in steps.strays(order):
                with suppress(ReservationNotFoundError, ReservationAlreadyCommittedError):
                    await self._inventory.execute(command)

    def _refused(self, session: OrderSession, why: CommandsRejectedError) -> OrderSession | None:
        return self.refuse(session, why) if session.state.step is OrderStep.RESERVE else None

    async def _one_by_one(self, state: OrderReservation) -> OrderEvent:
        match state.step:
            case OrderStep.RESERVE:
                return await self._reserve(state)
            case OrderStep.CONFIRM:
                return await self._confirm(state)
            case OrderStep.SHIP:
                return await self._ship(state)
            case OrderStep.RELEASE | None:
                return await self._release(state)
            case _:
                assert_never(state.step)

    async def _reserve(self, order: OrderReservation) -> OrderEvent:
        ends: list[datetime] = []
        for line in order.lines:
            try:
                held = await self._inventory.execute(steps.reserve(order, line, 1))
            except CommandExpiredError:
                return events.OrderWithdrawnEvent(order.order_id, OrderStatus.EXPIRED, ())
            except RejectionError as why:
                return steps.refused(order, await self.shortages(order, line, why))
            if isinstance(held, Reservation) and held.expires_at is not None:
                ends.append(held.expires_at)
        return events.OrderHeldEvent(order.order_id, min(ends))

    async def _confirm(self, order: OrderReservation) -> OrderEvent:
        generations: list[int] = []
        for line in order.lines:
            try:
                generation = await self._confirmed_generation(order, line)
            except ReservationAlreadyCommittedError as why:
                return events.OrderNeedsAttentionEvent(order.order_id, line.line, why.code)
            except RejectionError as why:
                return steps.refused(order, await self.shortages(order, line, why))
            if generation is None:
                return events.OrderRenewedEvent(order.order_id, order.generation + 1)
            generations.append(generation)
        return events.OrderConfirmedEvent(order.order_id, tuple(generations))

    async def _confirmed_generation(self, order: OrderReservation, line: OrderLine) -> int | None:
        """Return the generation of a line's hold that is firm now; ``None`` where all have lapsed, and another may begin."""
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
        """Take every unit off the books that can be, since the goods have left. Then report the first line that could not."""
        shipment = order.open_shipment
        assert shipment is not None  # noqa: S101  # the order has this step because of it
        stopped: OrderEvent | None = None
        for units in shipment.lines:
            try:
                await self._inventory.execute(steps.commit(order, shipment, units))
            except RejectionError as why:
                stopped = stopped or events.OrderNeedsAttentionEvent(order.order_id, units.line, why.code)
        return stopped or events.OrderShipmentCommittedEvent(order.order_id, shipment.shipment_id)

    async def _release(self, order: OrderReservation) -> OrderEvent:
        goods_may_have_left = order.status is OrderStatus.NEEDS_ATTENTION
        shipped = order.shipped
        for line, command in steps.releases(order):
            if line.line in shipped and not goods_may_have_left:
                return events.OrderNeedsAttentionEvent(order.order_id, line.line, ReservationAlreadyCommittedError.code)
            try:
                await self._inventory.execute(command)
            except ReservationNotFoundError:
                continue
            except ReservationAlreadyCommittedError as why:
                if not goods_may_have_left:
                    return events.OrderNeedsAttentionEvent(order.order_id, line.line, why.code)
        return steps.released(order)


@attrs.frozen
class OrderOutcome:
    """The result of one order among many.

    Attributes:
        order_id: the order.
        order: its state; ``None`` where it failed.
        error: the reason; ``None`` where it did not fail.
    """

    order_id: str
    order: OrderReservation | None
    error: InventoryError | None


class Orders:
    """The orders of one inventory service, each a process with a stream of its own.

    Every call records the command, takes the steps that follow from it, and returns the order after them. Every call is idempotent.
    A call that is killed half way is completed by :meth:`advance`, as a :class:`~inventory_es.processes.ProcessRunner` does. Every call
    may raise what the writes of the service raise, and:

    - ``ProcessNotFoundError``: nothing was placed under this id.
    - ``ProcessStateError``: the order's state does not allow the call.
    - ``ProcessIdReusedError``: the order, payment or shipment id was used for something else.

    Args:
        inventory: the open service; the caller closes it.
    """

    def __init__(self, inventory: InventoryService) -> None:
        self._handler = OrderHandler(inventory)

    async def reserve(self, order_id: str | UUID, items: Items, *, ttl: timedelta, owner_id: str | None = None) -> OrderReservation:
        """Hold all items, or none.

        Args:
            order_id: 1 to 64 characters; never used again.
            items: the goods. Items of one inventory become one line.
            ttl: time for which everything is held for a payment.
            owner_id: an opaque id of the customer.

        Returns:
            The order: ``HELD``, or ``REJECTED`` with the shortage of every line that could not be had.
        """
        return await self.execute(PlaceOrder(order_id=order_id, lines=items, ttl=ttl, owner_id=owner_id))

    async def authorise_payment(self, order_id: str | UUID, payment_id: str | UUID) -> OrderReservation:
        """Hold every line for good, since the money is there. A line whose time was over is reserved again.

        Returns:
            The order: ``FIRM``, or ``NEEDS_REFUND`` where the goods can't be had any more.
        """
        return await self.execute(commands.AuthorisePayment(order_id=order_id, payment_id=payment_id))

    async def ship(self, order_id: str | UUID, shipment_id: str | UUID, items: Items | None = None) -> OrderReservation:
        """Ship these items, or everything that has not left yet.

        Returns:
            The order: ``FIRM`` while something is left to ship, then ``DONE``.

        Raises:
            QuantityExceedsProcessError: more than is left to ship.
        """
        return await self.execute(commands.ShipOrder(order_id=order_id, shipment_id=shipment_id, lines=items))

    async def cancel(self, order_id: str | UUID) -> OrderReservation:
        """Release everything.

        Returns:
            The order: ``CANCELLED``; ``NEEDS_ATTENTION`` where goods have left; as it was where it holds nothing any more.
        """
        return await self.execute(commands.CancelOrder(order_id=order_id))

    async def resolve(self, order_id: str | UUID) -> OrderReservation:
        """End an order that needed attention or a refund, once a person has dealt with it: ``CANCELLED``, with nothing held."""
        return await self.execute(commands.ResolveOrder(order_id=order_id))

    async def order(self, order_id: str | UUID) -> OrderReservation:
        """Return the order from its stream; ``NEW`` where nothing was placed."""
        return (await self._handler.load(process_id("order_id", order_id))).state

    async def advance(self, order_id: str) -> OrderReservation:
        """Take the steps that are due, and let the order lapse if its time is over."""
        order = await self.execute(commands.LapseOrder(order_id=order_id))
        await self._handler.give_back(order)
        return order

    async def reserve_orders(self, orders: Iterable[PlaceOrder], *, concurrency: int = 32) -> AsyncIterator[OrderOutcome]:
        """Reserve any number of orders, up to ``concurrency`` at once. No more of them are read ahead, or kept in memory.

        Orders are independent: a refused or failed order does not affect another. Idempotent.

        Args:
            orders: read as far as they are needed.
            concurrency: 1 or more.

        Yields:
            The result of each, in the order given.

        Raises:
            ValueError: ``concurrency`` below 1.
        """
        whole_number("concurrency", concurrency, at_least=1)
        given: object = orders
        if not isinstance(given, Iterable):
            msg = f"orders must be any number of PlaceOrder, not a {type(given).__name__}"
            raise TypeError(msg)
        waiting = iter(orders)
        while chunk := list(islice(waiting, concurrency)):
            for one in chunk:
                check_command(one, PlaceOrder)
            outcomes: dict[int, OrderOutcome] = {}

            async def place(at: int, command: PlaceOrder, outcomes: dict[int, OrderOutcome] = outcomes) -> None:
                try:
                    outcomes[at] = OrderOutcome(command.order_id, await self.execute(command), None)
                except InventoryError as error:
                    outcomes[at] = OrderOutcome(command.order_id, None, error)

            await do_all([partial(place, at, command) for at, command in enumerate(chunk)], at_once=concurrency)
            for at in range(len(chunk)):
                yield outcomes[at]

    async def execute(self, command: OrderCommand) -> OrderReservation:
        """Execute a command, and take every step that follows."""
        check_command(command, OrderCommand)
        was_overtaken = False

        async def work(session: OrderSession) -> OrderReservation:
            nonlocal was_overtaken
            is_again, was_overtaken = was_overtaken, True
            if is_again:
                await self._handler.give_back(session.state)
            self._handler.decide(session, command)
            order = (await self._handler.take_steps(session)).state
            if is_again or order.generation > 1:
                await self._handler.give_back(order)
            return order

        return await self._handler.attempt(command.order_id, work)

    @property
    def name(self) -> str:
        """Name of the runner's checkpoint."""
        return "order_runner"

    @property
    def watched(self) -> EventFilter:
        """The events of orders, and reservations, some of which are made one by one."""
        return _WATCHED

    def touch(self, recorded: RecordedEvent) -> Touch | None:
        """Return the order of an event, or of a reservation, whose maker may have been too late and killed since."""
        order_id = self._handler.process_of(recorded)
        return None if order_id is None else Touch(order_id, is_over=False)

    async def look(self, order_id: str) -> datetime | None:
        """Take the steps that are due. A held order is looked at again when its time is over."""
        try:
            order = await self.advance(order_id)
        except ProcessNotFoundError:
            return None
        return order.expires_at if order.status is OrderStatus.HELD else None
