"""A worker of Celery over the Django project, whose children are killed once they have reserved: ``python -m tests.hosts.celery_worker``.

It sends tasks to itself first, and uses the stock before it forks. A child that has reserved dies before its task is acknowledged, so each
task is delivered again. The one that comes again finds its reservation, and ends.
"""

import os
import signal
from typing import Any

from docs.examples.shop_django.tasks import app, reserve
from inventory_es import Reservation
from inventory_es.sync import InventoryService

CARTS = ("cart-1", "cart-2", "cart-1")


def main() -> None:
    from docs.examples.shop_django.stock import inventory  # it reads the settings, which are chosen by the tasks

    whole = InventoryService.reserve

    def dying_reserve(service: InventoryService, *arguments: Any, **more: Any) -> Reservation:
        held = whole(service, *arguments, **more)
        if not held.replayed:
            os.kill(os.getpid(), signal.SIGKILL)
        return held

    InventoryService.reserve = dying_reserve  # type: ignore[assignment, method-assign]  # the child that dies is made here
    inventory.add_stock("espresso-1kg", "berlin", 10)
    for cart in CARTS:
        reserve.delay("espresso-1kg", "berlin", 2, cart)
    app.worker_main(["worker", "--concurrency", "2", "--loglevel", "INFO"])


if __name__ == "__main__":
    main()
