"""The tasks of Celery: ``celery -A shop_django.tasks worker``. Each child of the pool opens its own store."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import django
from celery import Celery, Task
from django.conf import settings

from inventory_es.errors import InventoryError

os.environ.setdefault("DJANGO_SETTINGS_MODULE", f"{__package__}.settings")
django.setup()

from .stock import inventory  # noqa: E402  # it reads the settings

PAUSE = 1.0
"""Seconds until what is away is tried again."""

app = Celery("shop_django", broker=settings.TASKS_BROKER)
app.conf.update(
    task_acks_late=True,  # a task whose process dies is delivered again …
    task_reject_on_worker_lost=True,  # … by the same worker, if only a child of it has died
    task_ignore_result=True,
)
if settings.TASKS_BROKER.startswith("filesystem:"):  # in place of a real broker, to try it
    folder = Path(settings.TASKS_FOLDER).absolute()
    folder.mkdir(exist_ok=True)
    app.conf.broker_transport_options = {
        "data_folder_in": folder,
        "data_folder_out": folder,
        "control_folder": folder,
        "polling_interval": 0.1,
    }


@app.task(bind=True, max_retries=None)
def reserve(task: "Task[Any, Any]", product_id: str, store_id: str, quantity: int, cart: str) -> None:
    """Hold units for a cart. The cart is the id of the reservation, so a repeated task changes nothing."""
    try:
        inventory.reserve(product_id, store_id, quantity, ttl=timedelta(minutes=15), reservation_id=cart)
    except InventoryError as problem:
        if not problem.retryable:
            raise
        raise task.retry(exc=problem, countdown=PAUSE) from problem
