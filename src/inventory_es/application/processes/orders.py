"""Orders over many products: placed, paid, shipped, taken back. All or nothing, whatever the store can."""

from collections.abc import Iterable
from datetime import timedelta
from uuid import UUID

from inventory_es.application.processes.draft import ProcessDraft
from inventory_es.application.processes.order_steps import OrderSteps
from inventory_es.application.processes.process_handler import ProcessHandler
from inventory_es.application.service import InventoryService
from inventory_es.domain.processes.orders.commands import (
    AuthorisePayment,
    CancelOrder,
    LapseOrder,
    OrderCommand,
    PlaceOrder,
    ResolveOrder,
    ShipOrder,
)
from inventory_es.domain.processes.orders.decide import ORDERS
from inventory_es.domain.processes.orders.events import OrderEvent
from inventory_es.domain.processes.orders.lines import OrderItem
from inventory_es.domain.processes.orders.reservation import OrderReservation

Items = Iterable[OrderItem | tuple[str, str, int]]
"""What is ordered or shipped: product, store and quantity of each."""


class Orders:
    """The orders of one inventory service, each a process with a stream of its own.

    Every call records what is asked, does to the inventories what follows from it, and gives the order as it stands then. Every
    call may be sent again, for ever: what was done is not done twice. Where it is killed half way, :meth:`advance` goes on,
    which is what :class:`~inventory_es.processes.OrderRunner` does. Every call may raise what the writes of the service raise, and:

    - ``ProcessNotFoundError``: nothing was placed under this id.
    - ``ProcessStateError``: the order is past it, or not there yet.
    - ``ProcessIdReusedError``: the order, payment or shipment id was used for something else.

    Args:
        inventory: open; it stays the caller's to close.
    """

    def __init__(self, inventory: InventoryService) -> None:
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
        lines = tuple(one if isinstance(one, OrderItem) else OrderItem(*one) for one in items)
        return await self.execute(PlaceOrder(order_id=order_id, lines=lines, ttl=ttl, owner_id=owner_id))

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
        lines = None if items is None else tuple(one if isinstance(one, OrderItem) else OrderItem(*one) for one in items)
        return await self.execute(ShipOrder(order_id=order_id, shipment_id=shipment_id, lines=lines))

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
        return (await self._handler.load(str(order_id))).state

    async def advance(self, order_id: str) -> OrderReservation:
        """Go on where somebody stopped: take the steps that are due, and let an order lapse whose time is over."""
        return await self.execute(LapseOrder(order_id=order_id))

    async def execute(self, command: OrderCommand) -> OrderReservation:
        """Execute a command that the caller has made, and take every step that follows."""
        was_overtaken = False

        async def work(draft: ProcessDraft[OrderReservation, OrderEvent]) -> OrderReservation:
            nonlocal was_overtaken
            if was_overtaken and not self._steps.is_atomic and draft.state.step is None and draft.state.status.holds_nothing:
                await self._steps.give_back(draft.state)
            was_overtaken = True
            self._handler.decide(draft, command)
            return await self._steps.take(draft)

        return await self._handler.attempt(command.order_id, work)
