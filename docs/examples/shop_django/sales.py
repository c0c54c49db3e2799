"""The sales of each product, counted from the events of the stock: exactly once, whenever this process dies."""

import logging

import anyio
from django.db import OperationalError, close_old_connections, connection, transaction
from django.db.models import F

from inventory_es.adapters.serialization import JsonEventCodec
from inventory_es.errors import EventBusUnavailableError
from inventory_es.events import StockCommittedEvent
from inventory_es.inbox import handled
from inventory_es.ports import Delivery, EventBus, RecordedEvent

from .models import ProductSales

GROUP = "sales"
PAUSE = 1.0
"""Seconds until what is away is tried again."""

_codec = JsonEventCodec()
_log = logging.getLogger(__name__)


def count(recorded: RecordedEvent) -> None:
    """Count the units of a sale in the table. An event that comes again changes nothing."""
    event = _codec.decode(recorded)
    assert isinstance(event, StockCommittedEvent)
    try:
        # The note of the inbox and the change: both, or neither. Errors of the driver become Django's.
        with transaction.atomic(), connection.wrap_database_errors:
            if not handled(connection.connection, GROUP, recorded.stream, recorded.version):
                sales, _ = ProductSales.objects.get_or_create(product_id=event.product_id)
                sales.units = F("units") + event.quantity
                sales.save()
    finally:
        close_old_connections()  # as the end of a request does


async def count_sales(bus: EventBus) -> None:
    """Count every sale that the bus delivers, without end. Of several processes, one works."""
    while True:
        try:
            async with bus.subscribe(GROUP, types={StockCommittedEvent.__name__}) as deliveries:
                async for delivery in deliveries:
                    await answer(delivery)
        except EventBusUnavailableError as away:  # or another process has this group
            _log.info("sales_wait_for_the_bus", exc_info=away)
            await anyio.sleep(PAUSE)


async def answer(delivery: Delivery) -> None:
    """Count one delivery, and answer it after the commit. Wait for a database that is away."""
    while True:
        try:
            # In a worker thread: Django's ORM refuses the thread of an event loop.
            await anyio.to_thread.run_sync(count, delivery.event)
        except OperationalError as away:
            _log.warning("sales_wait_for_the_database", exc_info=away)
            await anyio.sleep(PAUSE)
        except Exception as problem:  # noqa: BLE001  # logged and reported, whatever it is
            _log.exception("sale_not_counted")
            await delivery.nack(f"{type(problem).__name__}: {problem}")  # again, and at last a dead letter
            return
        else:
            await delivery.ack()
            return
