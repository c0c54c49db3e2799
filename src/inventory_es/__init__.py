"""Event-sourced inventory that never oversells.

Start with :func:`open_inventory`; without ``await``, with :mod:`inventory_es.sync`. The rest is found by path:
:mod:`inventory_es.commands`, :mod:`inventory_es.events`, :mod:`inventory_es.errors`, :mod:`inventory_es.ports`,
:mod:`inventory_es.adapters`, :mod:`inventory_es.testing`.
"""

import importlib
import logging
import typing

if typing.TYPE_CHECKING:
    from inventory_es.application.commands.handler_settings import HandlerSettings
    from inventory_es.application.context import CommandContext, command_context
    from inventory_es.application.results import (
        CommandResult,
        Explanation,
        HistoryEntry,
        Reservation,
        ReservationState,
        StockLevel,
    )
    from inventory_es.application.service import InventoryService
    from inventory_es.domain.errors import (
        CommandsRejectedError,
        ConflictError,
        FaultError,
        InsufficientStockError,
        InventoryError,
        PolicyRejectedError,
        RejectionError,
        ReservationExpiredError,
        ReservationIdTakenError,
    )
    from inventory_es.domain.identifiers import InventoryId, ReservationRef
    from inventory_es.domain.inventory import Inventory, StockView
    from inventory_es.domain.quantity import StockQuantity
    from inventory_es.domain.reasons import AddReason, AdjustReason, CommitReason, Purpose, ReleaseReason, Remainder, Shortfall
    from inventory_es.domain.stream_id import StreamId
    from inventory_es.ports.errors import AppendOutcomeUnknownError, ConcurrencyError, StoreUnavailableError
    from inventory_es.ports.records import NewEvent, RecordedEvent, StreamWrite
    from inventory_es.wiring import open_inventory

__version__ = "0.1.0"

__all__ = [
    "AddReason",
    "AdjustReason",
    "AppendOutcomeUnknownError",
    "CommandContext",
    "CommandResult",
    "CommandsRejectedError",
    "CommitReason",
    "ConcurrencyError",
    "ConflictError",
    "Explanation",
    "FaultError",
    "HandlerSettings",
    "HistoryEntry",
    "InsufficientStockError",
    "Inventory",
    "InventoryError",
    "InventoryId",
    "InventoryService",
    "NewEvent",
    "PolicyRejectedError",
    "Purpose",
    "RecordedEvent",
    "RejectionError",
    "ReleaseReason",
    "Remainder",
    "Reservation",
    "ReservationExpiredError",
    "ReservationIdTakenError",
    "ReservationRef",
    "ReservationState",
    "Shortfall",
    "StockLevel",
    "StockQuantity",
    "StockView",
    "StoreUnavailableError",
    "StreamId",
    "StreamWrite",
    "command_context",
    "open_inventory",
]

_HOMES = {
    "application.context": (
        "CommandContext",
        "command_context",
    ),
    "application.commands.handler_settings": ("HandlerSettings",),
    "application.results": (
        "CommandResult",
        "Explanation",
        "HistoryEntry",
        "Reservation",
        "ReservationState",
        "StockLevel",
    ),
    "application.service": ("InventoryService",),
    "domain.errors": (
        "CommandsRejectedError",
        "ConflictError",
        "FaultError",
        "InsufficientStockError",
        "InventoryError",
        "PolicyRejectedError",
        "RejectionError",
        "ReservationExpiredError",
        "ReservationIdTakenError",
    ),
    "domain.identifiers": (
        "InventoryId",
        "ReservationRef",
    ),
    "domain.inventory": ("Inventory", "StockView"),
    "domain.quantity": ("StockQuantity",),
    "domain.reasons": (
        "AddReason",
        "AdjustReason",
        "CommitReason",
        "Purpose",
        "ReleaseReason",
        "Remainder",
        "Shortfall",
    ),
    "domain.stream_id": ("StreamId",),
    "ports.errors": (
        "AppendOutcomeUnknownError",
        "ConcurrencyError",
        "StoreUnavailableError",
    ),
    "ports.records": (
        "NewEvent",
        "RecordedEvent",
        "StreamWrite",
    ),
    "wiring": ("open_inventory",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


if not typing.TYPE_CHECKING:  # a checker that saw it would take any name

    def __getattr__(name: str) -> object:
        """Import a name when it is asked for the first time (PEP 562). So the door itself is light, and only users of a name pay for it."""
        home = _HOME_OF.get(name)
        if home is None:
            msg = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(msg)
        value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{home}"), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


logging.getLogger(__name__).addHandler(logging.NullHandler())
