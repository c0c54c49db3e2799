"""Follow the events of the stock.

python -m shop_django.manage follow             everything
python -m shop_django.manage follow stock       the read models, the relay to the bus, and the sweeper
python -m shop_django.manage follow sales       this project's own tables, from the bus
"""

import signal
from argparse import ArgumentParser
from typing import Any

import anyio
from django.conf import settings
from django.core.management.base import BaseCommand

from inventory_es import open_inventory
from inventory_es.adapters.file import open_file_event_bus
from inventory_es.adapters.system import SystemClock, Uuid7Generator
from inventory_es.application.following.sweeper import ReservationSweeper
from inventory_es.ports import EventBus

from ...sales import count_sales  # noqa: TID252  # wherever the reader puts the folder


async def follow_stock(bus: EventBus) -> None:
    """Keep the read models, the bus and due reservations up to date. Of several processes, one leads."""
    async with (
        open_inventory(settings.STOCK_STORE, read_models=settings.STOCK_READ_MODELS, bus=bus) as inventory,
        anyio.create_task_group() as tasks,
    ):
        clock, owner = SystemClock(), Uuid7Generator().new_id()
        sweeper = ReservationSweeper(inventory, read_model=inventory.read_model, clock=clock, owner=owner)
        tasks.start_soon(sweeper.run)
        await inventory.followers.run(on_failure="park")


PARTS = {"stock": [follow_stock], "sales": [count_sales], "all": [follow_stock, count_sales]}


async def follow_until_told(part: str) -> None:
    """Follow the events until SIGTERM or SIGINT."""
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with (
            open_file_event_bus(settings.STOCK_BUS, clock=SystemClock()) as bus,
            anyio.create_task_group() as tasks,
        ):
            for follow in PARTS[part]:
                tasks.start_soon(follow, bus)
            async for _ in signals:
                break
            tasks.cancel_scope.cancel()


class Command(BaseCommand):
    """The command ``follow``."""

    help = "Follow the events of the stock until SIGTERM."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the part to run."""
        parser.add_argument("part", nargs="?", choices=PARTS, default="all")

    def handle(self, *, part: str, **_options: Any) -> None:
        """Run in an event loop: a process of its own has no requests to answer."""
        anyio.run(follow_until_told, part)
