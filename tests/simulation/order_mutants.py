"""Order processes that are each one edit away from a correct one. The simulation must find every one of them."""

from collections.abc import Callable

from inventory_es.application.processes.orders import OrderHandler, OrderSession
from inventory_es.application.service import InventoryService
from inventory_es.domain.processes.lines import OrderLine
from inventory_es.domain.processes.order import steps
from inventory_es.domain.processes.order.events import OrderConfirmedEvent, OrderEvent, OrderHeldEvent
from inventory_es.domain.processes.order.order import OrderReservation
from inventory_es.errors import RejectionError, ReservationNotFoundError
from inventory_es.processes import Orders


class _ForgetsWhatItIntends(OrderHandler):
    """An order process that takes steps before they are recorded."""

    async def take_steps(self, session: OrderSession) -> OrderSession:
        while session.state.step is not None:
            event = await self._one_by_one(session.state)
            self._conclude(session, event, self._time_of_step(session))
        await self.append(session)
        return session


class _HoldsWhatItCan(OrderHandler):
    """An order process that leaves out lines that fall short."""

    is_atomic = False

    async def _reserve(self, order: OrderReservation) -> OrderEvent:
        for line in order.lines:
            try:
                await self._inventory.execute(steps.reserve(order, line, 1))
            except RejectionError:
                continue
        return OrderHeldEvent(order.order_id, self.time_of(await self.load(order.order_id)) + order.ttl)


class _ReleasesNothing(OrderHandler):
    """An order process that reports a refusal, but leaves the order's reservations to expire."""

    async def _release(self, order: OrderReservation) -> OrderEvent:
        return steps.released(order)


class _StopsAtTheFirst(OrderHandler):
    """An order process whose compensation ends at the first line that was never reserved."""

    async def _release(self, order: OrderReservation) -> OrderEvent:
        for _, command in steps.releases(order):
            try:
                await self._inventory.execute(command)
            except ReservationNotFoundError:
                break
        return steps.released(order)


class _ConfirmsWhatLapsed(OrderHandler):
    """An order process that takes an ended reservation for confirmed."""

    async def _confirmed_generation(self, order: OrderReservation, line: OrderLine) -> int | None:
        return await super()._confirmed_generation(order, line) or 1


class _ForgetsGenerations(OrderHandler):
    """An order process that ships from lapsed reservations after a late payment."""

    async def _confirm(self, order: OrderReservation) -> OrderEvent:
        outcome = await super()._confirm(order)
        if isinstance(outcome, OrderConfirmedEvent):
            return OrderConfirmedEvent(order.order_id, (1,) * len(order.lines))
        return outcome


class _LeavesItToOthers(OrderHandler):
    """An order process that leaves its reservations once another runner has overtaken it."""

    async def give_back(self, order: OrderReservation) -> None:
        return


def _with(kind: type[OrderHandler]) -> Callable[[InventoryService], Orders]:
    def open_orders(inventory: InventoryService) -> Orders:
        orders = Orders(inventory)
        is_atomic = kind.__dict__.get("is_atomic", orders._handler.is_atomic)
        orders._handler = kind(inventory)
        orders._handler.is_atomic = is_atomic
        return orders

    return open_orders


MUTANTS: dict[str, Callable[[InventoryService], Orders]] = {
    kind.__name__.strip("_"): _with(kind)
    for kind in (
        _ForgetsWhatItIntends,
        _HoldsWhatItCan,
        _ReleasesNothing,
        _StopsAtTheFirst,
        _ConfirmsWhatLapsed,
        _ForgetsGenerations,
        _LeavesItToOthers,
    )
}
