"""The same service without ``await``: for Django, Flask, scripts and notebooks.

Every method of :class:`inventory_es.InventoryService` is here under the same name, with the same parameters, results and
errors. The threads of the host do the work themselves: there is no event loop and no thread behind it. Commands of different threads on
one product meet in its lane and share commits. Nothing is opened before the first call, and a forked child opens its own. It also works
where an event loop is running already, as in a notebook; that loop stands still during a call.

An asynchronous store of another package gets an event loop in one background thread, which serves any number of threads. A synchronous
one, with the methods of :class:`inventory_es.adapters.threads.SyncEventStore`, is taken as it is.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from inventory_es.sync.followers import Followers
from inventory_es.sync.queries import StockQueries
from inventory_es.sync.service import InventoryService, open_inventory

if TYPE_CHECKING:
    from inventory_es.sync.processes import Orders, ProcessRunner, ReservationSweeper, Transfers

__all__ = ["Followers", "InventoryService", "Orders", "ProcessRunner", "ReservationSweeper", "StockQueries", "Transfers", "open_inventory"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module("inventory_es.sync.processes"), name)  # when it is used: few hosts need processes
