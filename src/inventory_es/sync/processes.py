"""Orders, transfers and what drives them to their end, without ``await``."""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from threading import Lock
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID

from inventory_es.application.following.subscription import Pace, feed_of
from inventory_es.application.following.sweeper import ReservationSweeper as _AsyncSweeper
from inventory_es.application.following.sweeper import SweeperStatus
from inventory_es.application.processes.orders import Items, OrderOutcome
from inventory_es.application.processes.orders import Orders as _AsyncOrders
from inventory_es.application.processes.runner import ProcessRunner as _AsyncRunner
from inventory_es.application.processes.transfers import Goods
from inventory_es.application.processes.transfers import Transfers as _AsyncTransfers
from inventory_es.application.service import InventoryService as _Async
from inventory_es.domain.processes.order.commands import OrderCommand, PlaceOrder
from inventory_es.domain.processes.order.order import OrderReservation
from inventory_es.domain.processes.transfer.commands import TransferCommand
from inventory_es.domain.processes.transfer.transfer import Transfer
from inventory_es.ports import ReadModel, Row
from inventory_es.ports.errors import StoreClosedError
from inventory_es.ports.toolkit.waiting import STATE_LOCK
from inventory_es.sync.ending import END
from inventory_es.sync.service import InventoryService

T = TypeVar("T")


class Orders:
    """The orders of one inventory service, for any number of threads. See :class:`inventory_es.processes.Orders`.

    Args:
        inventory: the service; the caller closes it.
    """

    def __init__(self, inventory: InventoryService) -> None:
        self.inventory: InventoryService = inventory

    def reserve(self, order_id: str | UUID, items: Items, *, ttl: timedelta, owner_id: str | None = None) -> OrderReservation:
        """Hold all items, or none: the order is ``HELD``, or ``REJECTED`` with every shortage."""
        return self._do(lambda orders: orders.reserve(order_id, items, ttl=ttl, owner_id=owner_id))

    def authorise_payment(self, order_id: str | UUID, payment_id: str | UUID) -> OrderReservation:
        """Hold every line for good: the order is ``FIRM``, or ``NEEDS_REFUND``."""
        return self._do(lambda orders: orders.authorise_payment(order_id, payment_id))

    def ship(self, order_id: str | UUID, shipment_id: str | UUID, items: Items | None = None) -> OrderReservation:
        """Ship these items, or everything that has not left yet: the order is ``FIRM`` or ``DONE``."""
        return self._do(lambda orders: orders.ship(order_id, shipment_id, items))

    def cancel(self, order_id: str | UUID) -> OrderReservation:
        """Release everything: the order is ``CANCELLED``, or ``NEEDS_ATTENTION`` where goods have left."""
        return self._do(lambda orders: orders.cancel(order_id))

    def resolve(self, order_id: str | UUID) -> OrderReservation:
        """End an order that needed attention or a refund, once a person has dealt with it."""
        return self._do(lambda orders: orders.resolve(order_id))

    def order(self, order_id: str | UUID) -> OrderReservation:
        """Return the order from its stream; ``NEW`` where nothing was placed."""
        return self._do(lambda orders: orders.order(order_id))

    def advance(self, order_id: str) -> OrderReservation:
        """Take the steps that are due, and let the order lapse if its time is over."""
        return self._do(lambda orders: orders.advance(order_id))

    def reserve_orders(self, orders: Iterable[PlaceOrder], *, concurrency: int = 32) -> Iterator[OrderOutcome]:
        """Reserve any number of orders, ``concurrency`` of them read ahead, and yield the result of each, in the order given."""
        return self.inventory._each(lambda service: _AsyncOrders(service).reserve_orders(orders, concurrency=concurrency))  # noqa: SLF001  # same package

    def execute(self, command: OrderCommand) -> OrderReservation:
        """Execute a command, and take every step that follows."""
        return self._do(lambda orders: orders.execute(command))

    def _do(self, method: Callable[[_AsyncOrders], Awaitable[T]]) -> T:
        return self.inventory._call(lambda service: method(_AsyncOrders(service)))  # noqa: SLF001  # same package


class Transfers:
    """The transfers of one inventory service, for any number of threads. See :class:`inventory_es.processes.Transfers`.

    Args:
        inventory: the service; the caller closes it.
    """

    def __init__(self, inventory: InventoryService) -> None:
        self.inventory: InventoryService = inventory

    def draft(self, transfer_id: str | UUID, goods: Goods, *, source: str | UUID, destination: str | UUID) -> Transfer:
        """Hold these goods at the source for good, or none: the transfer is ``RESERVED`` or ``REJECTED``."""
        return self._do(lambda transfers: transfers.draft(transfer_id, goods, source=source, destination=destination))

    def dispatch(self, transfer_id: str | UUID, *, expected_at: datetime | None = None) -> Transfer:
        """Let the goods leave the source. From then on they belong to the transfer."""
        return self._do(lambda transfers: transfers.dispatch(transfer_id, expected_at=expected_at))

    def receive(self, transfer_id: str | UUID, receipt_id: str | UUID, goods: Goods | None = None) -> Transfer:
        """Receive these goods at the destination, or everything that is still in transit."""
        return self._do(lambda transfers: transfers.receive(transfer_id, receipt_id, goods))

    def take_back(self, transfer_id: str | UUID, return_id: str | UUID, goods: Goods | None = None) -> Transfer:
        """Take these goods back at the source, or everything that is still in transit."""
        return self._do(lambda transfers: transfers.take_back(transfer_id, return_id, goods))

    def write_off(self, transfer_id: str | UUID, loss_id: str | UUID, goods: Goods | None = None) -> Transfer:
        """Write these goods off, or everything that is still in transit."""
        return self._do(lambda transfers: transfers.write_off(transfer_id, loss_id, goods))

    def cancel(self, transfer_id: str | UUID) -> Transfer:
        """Release everything at the source. Raises ``ProcessStateError`` once the goods have left."""
        return self._do(lambda transfers: transfers.cancel(transfer_id))

    def transfer(self, transfer_id: str | UUID) -> Transfer:
        """Return the transfer from its stream; ``NEW`` where nothing was drafted."""
        return self._do(lambda transfers: transfers.transfer(transfer_id))

    def advance(self, transfer_id: str) -> Transfer:
        """Take the steps that are due."""
        return self._do(lambda transfers: transfers.advance(transfer_id))

    def execute(self, command: TransferCommand) -> Transfer:
        """Execute a command once the steps before it are taken, and take every step that follows."""
        return self._do(lambda transfers: transfers.execute(command))

    def _do(self, method: Callable[[_AsyncTransfers], Awaitable[T]]) -> T:
        return self.inventory._call(lambda service: method(_AsyncTransfers(service)))  # noqa: SLF001  # same package


class _Work(Protocol):
    async def run(self) -> None: ...

    def stop(self) -> None: ...


W = TypeVar("W", bound=_Work)


class _InAThread(Generic[W]):
    """A worker that runs in a thread of the host, until it is stopped or the main thread has ended.

    Args:
        inventory: the service that it works on.
        make: makes the asynchronous worker over the open service.
    """

    def __init__(self, inventory: InventoryService, make: Callable[[_Async], W]) -> None:
        self._inventory = inventory
        self._make = make
        self._lock = Lock()
        self._made: tuple[_Async, W] | None = None

    def run(self) -> None:
        """Work or stand by until :meth:`stop`. It also ends with the main thread. For a thread of the host, daemon or not."""
        self._work(lambda worker: worker.run())

    def stop(self) -> None:
        """End :meth:`run` after what is in flight. Idempotent; for any thread, and for signal handlers."""
        self._inventory._running().tell(lambda service: self._of(service).stop())  # noqa: SLF001  # same package

    def _work(self, work: Callable[[W], Awaitable[T]]) -> T:
        with END.stopping(self._stop_at_the_end):
            return self._do(work)

    def _do(self, work: Callable[[W], Awaitable[T]]) -> T:
        return self._inventory._call(lambda service: work(self._of(service)))  # noqa: SLF001  # same package

    def _of(self, service: _Async) -> W:
        with STATE_LOCK:
            if self._made is None or self._made[0] is not service:  # a forked child opens another one
                self._made = service, self._make(service)
            return self._made[1]

    def _stop_at_the_end(self) -> None:
        with suppress(StoreClosedError, RuntimeError):  # the service was closed meanwhile, or its loop: that has ended it
            self.stop()


class ProcessRunner(_InAThread[_AsyncRunner]):
    """Drives orders or transfers to their end, in a thread of the host. See :class:`inventory_es.processes.ProcessRunner`.

    Args:
        processes: the orders or the transfers of a service.
        owner: an opaque text, unique to this runner.
        read_model: has the rows and the checkpoint; those of the service by default.
        patience: time for which a process is left to its caller.
        pace: batch size and pauses.
        lease: the longest time for which a runner that died keeps others waiting.
    """

    def __init__(
        self,
        processes: Orders | Transfers,
        *,
        owner: str,
        read_model: ReadModel | None = None,
        patience: timedelta = timedelta(seconds=10),
        pace: Pace | None = None,
        lease: timedelta = timedelta(seconds=10),
    ) -> None:
        def make(service: _Async) -> _AsyncRunner:
            return _AsyncRunner(
                _AsyncOrders(service) if isinstance(processes, Orders) else _AsyncTransfers(service),
                feed=feed_of(service.store),
                read_model=service.read_model if read_model is None else read_model,
                clock=service.parts.clock,
                owner=owner,
                patience=patience,
                pace=pace,
                lease=lease,
            )

        super().__init__(processes.inventory, make)

    def catch_up(self) -> None:
        """Work until the end of the feed is reached and nothing is due. Stand by while another runner has the lease."""
        self._work(lambda runner: runner.catch_up())

    def waiting(self, *, after: Sequence[str] | None = None, limit: int = 100) -> Sequence[Row]:
        """Return the processes that need a look, earliest first: process id, due time, failures so far, last error."""
        return self._do(lambda runner: runner.waiting(after=after, limit=limit))


class ReservationSweeper(_InAThread[_AsyncSweeper]):
    """Expires reservations when they are due, in a thread of the host.

    See :class:`inventory_es.application.following.sweeper.ReservationSweeper`.

    Args:
        inventory: the service.
        owner: an opaque text, unique to this sweeper.
        read_model: has the rows; those of the service by default.
        pace: rows per page, seconds between two sweeps (``longest_wait``), and pauses.
        lease: the longest time for which a sweeper that died keeps others waiting.
    """

    def __init__(
        self,
        inventory: InventoryService,
        *,
        owner: str,
        read_model: ReadModel | None = None,
        pace: Pace | None = None,
        lease: timedelta = timedelta(seconds=10),
    ) -> None:
        def make(service: _Async) -> _AsyncSweeper:
            rows = service.read_model if read_model is None else read_model
            return _AsyncSweeper(service, read_model=rows, clock=service.parts.clock, owner=owner, pace=pace, lease=lease)

        super().__init__(inventory, make)

    @property
    def status(self) -> SweeperStatus:
        """The state of the sweeper."""
        made: tuple[Any, _AsyncSweeper] | None = self._made
        return SweeperStatus() if made is None else made[1].status
