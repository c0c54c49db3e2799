"""Start the service.

python -m shop_service.run               everything in one process; the stock is in sqlite:shop.db
python -m shop_service.run api           the API alone, with --workers N in N processes
python -m shop_service.run followers     what follows the events: read models, relay, sweeper, processes

The environment says where things are, each by a URL: SHOP_STORE, SHOP_READ_MODELS, SHOP_BUS (for the relay),
SHOP_CACHE. SHOP_GATEWAY=yes says that all requests come from the gateway, and SHOP_TOKEN_SECRET verifies tokens
for it.
"""

import argparse
import logging
import os
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import cast

import anyio
import uvicorn
from fastapi import FastAPI

from inventory_es import InventoryService, open_inventory
from inventory_es.adapters.system import SystemClock, Uuid7Generator
from inventory_es.application.following.sweeper import ReservationSweeper
from inventory_es.ports import EventFeed
from inventory_es.processes import Orders, ProcessRunner, Transfers

from .app import create_app
from .edge import Edge
from .tokens import tokens

FOLLOW = "SHOP_FOLLOW"
GATEWAY = "SHOP_GATEWAY"
_log = logging.getLogger("shop_service")


def opened() -> InventoryService:
    """Return the service that the environment describes. Nothing is opened before ``async with``."""
    return open_inventory(
        os.environ.get("SHOP_STORE", "sqlite:shop.db"),
        read_models=os.environ.get("SHOP_READ_MODELS", "sqlite:shop-queries.db"),
        bus=os.environ.get("SHOP_BUS"),
        cache=os.environ.get("SHOP_CACHE"),
    )


async def follow(inventory: InventoryService) -> None:
    """Run everything that follows the events. Any number of processes may: one leads, others stand by."""
    feed, rows = cast(EventFeed, inventory.store), inventory.read_model
    clock, owner = SystemClock(), Uuid7Generator().new_id()
    sweeper = ReservationSweeper(inventory, read_model=rows, clock=clock, owner=owner)
    async with anyio.create_task_group() as tasks:
        for kind in (Orders(inventory), Transfers(inventory)):
            tasks.start_soon(ProcessRunner(kind, feed=feed, read_model=rows, clock=clock, owner=owner).run)
        tasks.start_soon(sweeper.run)
        await inventory.followers.run(on_failure="park")


async def follow_or_log(inventory: InventoryService) -> None:
    """Follow within the API, which goes on without followers: their health is an answer of its own."""
    try:
        await follow(inventory)
    except Exception:  # noqa: BLE001  # logged, whatever it is
        _log.exception("followers_ended")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None, None]:
    """Keep the service open while the server runs, with followers where no other process has them."""
    async with opened() as inventory, anyio.create_task_group() as tasks:
        app.state.inventory = inventory
        if os.environ.get(FOLLOW) == "yes":
            tasks.start_soon(follow_or_log, inventory)
        yield
        tasks.cancel_scope.cancel()


def asgi() -> Edge:
    """Return the application as a server calls it."""
    app = create_app(lifespan)
    app.include_router(tokens)
    return Edge(app, behind_gateway=os.environ.get(GATEWAY) == "yes")


async def follow_until_told() -> None:
    """Follow the events until SIGTERM or SIGINT."""
    async with opened() as inventory, anyio.create_task_group() as tasks:
        tasks.start_soon(follow, inventory)
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for _ in signals:
                break
        tasks.cancel_scope.cancel()


def main() -> None:
    """Start what the command line names."""
    parser = argparse.ArgumentParser(prog="python -m shop_service.run")
    parser.add_argument("part", nargs="?", choices=["all", "api", "followers"], default="all")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--workers", type=int, default=1, help="processes of the API")
    given = parser.parse_args()
    if given.part == "followers":
        anyio.run(follow_until_told)
        return
    os.environ[FOLLOW] = "yes" if given.part == "all" else "no"  # workers are processes of their own
    uvicorn.run(
        f"{__package__}.run:asgi",
        factory=True,
        host=given.host,
        port=given.port,
        workers=given.workers,
        timeout_graceful_shutdown=5,
        timeout_worker_healthcheck=30,  # a worker that is slow to start must not be killed
        server_header=False,
    )


if __name__ == "__main__":
    main()
