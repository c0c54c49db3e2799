"""Orders over many products: placed, paid, shipped, taken back. All or nothing, whatever the store can."""

from collections.abc import AsyncIterator, Iterable
from datetime import datetime, timedelta
from itertools import islice
from uuid import UUID

import anyio
import attrs

from inventory_es.application.processes.handler import ProcessHandler, check_command
from inventory_es.application.processes.order_steps import OrderSteps
from inventory_es.application.processes.runner import Touch
from inventory_es.application.processes.session import ProcessDraft
from inventory_es.application.service import InventoryService
from inventory_es.application.subscription import EventFilter
from inventory_es.domain.errors import InventoryError
from inventory_es.domain.events import StockReservedEvent
from inventory_es.domain.identifiers import INVENTORY_CATEGORY
from inventory_es.domain.processes.lines import OrderItem
from inventory_es.domain.processes.order.commands import (
    AuthorisePayment,
    CancelOrder,
    LapseOrder,
    OrderCommand,
    PlaceOrder,
    ResolveOrder,
    ShipOrder,
)
from inventory_es.domain.processes.order.decisions import ORDERS
from inventory_es.domain.processes.order.events import (
    ORDER_CATEGORY,
    ORDER_EVENT_TYPES,
    OrderEvent,
)
from inventory_es.domain.processes.order.order import OrderReservation
from inventory_es.domain.processes.order.status import OrderStatus
from inventory_es.domain.processes.rejections import ProcessNotFoundError
from inventory_es.domain.processes.step_ids import process_id, process_of
from inventory_es.domain.quantity import whole_number
from inventory_es.ports import RecordedEvent

Items = Iterable[OrderItem | tuple[str, str, int]]
"""What is ordered or shipped: product, store and quantity of each."""


@attrs.frozen
class OrderOutcome:
    """What came of one order among many.

    Attributes:
        order_id: which.
        order: as it stands; ``None`` where it failed.
        error: why it failed; ``None`` where it did not.
    """

    order_id: str
    order: OrderReservation | None
    error: InventoryError | None


class Orders:
    """The orders of one inventory service, each a process with a stream of its own.

    Every call records what is asked, does to the inventories what follows from it, and gives the order as it stands then. Every
    call may be sent again, for ever: what was done is not done twice. Where it is killed half way, :meth:`advance` goes on,
    which is what a :class:`~inventory_es.processes.ProcessRunner` does. Every call may raise what the writes of the service raise, and:

    - ``ProcessNotFoundError``: nothing was placed under this id.
    - ``ProcessStateError``: the order is past it, or not there yet.
    - ``ProcessIdReusedError``: the order, payment or shipment id was used for something else.

    Args:
        inventory: open; it stays the caller's to close.
    """

    def __init__(self, inventory: InventoryService) -> None:
        self._codec = inventory.parts.codec
        self._handler = ProcessHandler(ORDERS, inventory)
        self._steps = OrderSteps(self._handler, inventory)

    async def reserve(self, order_id: str | UUID, items: Items, *, ttl: timedelta, owner_id: str | None = None) -> OrderReservation:
        """Hold all items, or none.

        Args:
            order_id: 1 to 64 characters, used once, for ever.
            items: what is ordered. Items of one inventory become one line.
            ttl: how long everything is held for a payment.
            owner_id: for whom: an opaque id.

        Returns:
            The order: ``HELD``, or ``REJECTED`` with the shortage of every line that could not be had.
        """
        return await self.execute(PlaceOrder(order_id=order_id, lines=items, ttl=ttl, owner_id=owner_id))

    async def authorise_payment(self, order_id: str | UUID, payment_id: str | UUID) -> OrderReservation:
        """The money is there: hold every line for good. A line whose time was over is reserved again.

        Returns:
            The order: ``FIRM``, or ``NEEDS_REFUND`` where the goods can't be had any more.
        """
        return await self.execute(AuthorisePayment(order_id=order_id, payment_id=payment_id))

    async def ship(self, order_id: str | UUID, shipment_id: str | UUID, items: Items | None = None) -> OrderReservation:
        """Goods leave: these items, or everything that has not left yet.

        Returns:
            The order: ``FIRM`` while something is left to ship, then ``DONE``.

        Raises:
            QuantityExceedsProcessError: more than is left to ship.
        """
        return await self.execute(ShipOrder(order_id=order_id, shipment_id=shipment_id, lines=items))

    async def cancel(self, order_id: str | UUID) -> OrderReservation:
        """Give everything back.

        Returns:
            The order: ``CANCELLED``; ``NEEDS_ATTENTION`` where goods have left; as it was where it holds nothing any more.
        """
        return await self.execute(CancelOrder(order_id=order_id))

    async def resolve(self, order_id: str | UUID) -> OrderReservation:
        """A person has dealt with an order that needed attention, or a refund: it ends as ``CANCELLED``, and holds nothing."""
        return await self.execute(ResolveOrder(order_id=order_id))

    async def order(self, order_id: str | UUID) -> OrderReservation:
        """The order as it stands, from its stream; ``NEW`` where nothing was placed."""
        return (await self._handler.load(process_id("order_id", order_id))).state

    async def advance(self, order_id: str) -> OrderReservation:
        """Go on where somebody stopped: take the steps that are due, and let an order lapse whose time is over."""
        order = await self.execute(LapseOrder(order_id=order_id))
        await self._give_back(order)
        return order

    async def _give_back(self, order: OrderReservation) -> None:
        """Where lines are reserved one by one, whoever was overtaken may have held what the order does not hold any more."""
        is_one_by_one = order.generation > 1 or not self._steps.is_atomic
        is_firm = order.status is OrderStatus.FIRM and order.withdrawn is None
        if is_one_by_one and (is_firm or (order.status.holds_nothing and order.step is None and order.lines)):
            await self._steps.give_back(order)

    async def reserve_orders(self, orders: Iterable[PlaceOrder], *, concurrency: int = 32) -> AsyncIterator[OrderOutcome]:
        """Reserve any number of orders, as many at once as ``concurrency`` says: no more of them are taken from ``orders``, or kept.

        Each order stands for itself: one that is refused, or fails, touches no other. Sent again, those that were done are not done twice.

        Args:
            orders: read as far as they are needed.
            concurrency: 1 or more.

        Yields:
            What came of each, in the order given.

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

            async with anyio.create_task_group() as tasks:
                for at, command in enumerate(chunk):
                    tasks.start_soon(place, at, command)
            for at in range(len(chunk)):
                yield outcomes[at]

    async def execute(self, command: OrderCommand) -> OrderReservation:
        """Execute a command that the caller has made, and take every step that follows."""
        check_command(command, OrderCommand)
        was_overtaken = False

        async def work(draft: ProcessDraft[OrderReservation, OrderEvent]) -> OrderReservation:
            nonlocal was_overtaken
            is_again, was_overtaken = was_overtaken, True
            if is_again:
                await self._give_back(draft.state)
            self._handler.decide(draft, command)
            order = await self._steps.take(draft)
            if is_again or order.generation > 1:
                await self._give_back(order)
            return order

        return await self._handler.attempt(command.order_id, work)

    @property
    def name(self) -> str:
        """Of the runner's checkpoint."""
        return "order_runner"

    @property
    def watched(self) -> EventFilter:
        """The events of orders, and reservations: some are made one by one."""
        return _WATCHED

    def touch(self, recorded: RecordedEvent) -> Touch | None:
        """The order of an event, or the one that a reservation was made for: who made it was perhaps too late, and died of it."""
        if recorded.stream.category == ORDER_CATEGORY:
            return Touch(recorded.stream.parts[0], is_over=False)
        order_id = process_of(ORDER_CATEGORY, self._codec.decode_metadata(recorded).reference)
        return None if order_id is None else Touch(order_id, is_over=False)

    async def look(self, order_id: str) -> datetime | None:
        """Go on where somebody stopped; a held order is to be looked at again when its time is over."""
        try:
            order = await self.advance(order_id)
        except ProcessNotFoundError:
            return None
        return order.expires_at if order.status is OrderStatus.HELD else None


_ORDER_EVENT_NAMES = frozenset(kind.__name__ for kind in ORDER_EVENT_TYPES)
_WATCHED = EventFilter(categories={ORDER_CATEGORY, INVENTORY_CATEGORY}, types=_ORDER_EVENT_NAMES | {StockReservedEvent.__name__})
