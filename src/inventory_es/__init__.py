"""Event-sourced inventory that never oversells.

Start with :func:`open_inventory`; without ``await``, with :mod:`inventory_es.sync`. The rest is found by path:
:mod:`inventory_es.commands`, :mod:`inventory_es.events`, :mod:`inventory_es.errors`, :mod:`inventory_es.ports`,
:mod:`inventory_es.adapters`, :mod:`inventory_es.testing`.
"""

import logging

from inventory_es.application.context import CommandContext, command_context
from inventory_es.application.handler_settings import HandlerSettings
from inventory_es.application.results import (
    CommandResult,
    Explanation,
    HistoryEntry,
    Reservation,
    ReservationState,
    StockLevel,
)
from inventory_es.application.service import InventoryService
from inventory_es.domain.errors import ConflictError, FaultError, InventoryError, RejectionError
from inventory_es.domain.identifiers import InventoryId, ReservationRef
from inventory_es.domain.inventory import Inventory
from inventory_es.domain.quantity import StockQuantity
from inventory_es.domain.reasons import AddReason, AdjustReason, CommitReason, Purpose, ReleaseReason, Remainder, Shortfall
from inventory_es.domain.rejections import (
    CommandsRejectedError,
    InsufficientStockError,
    PolicyRejectedError,
    ReservationExpiredError,
    ReservationIdTakenError,
)
from inventory_es.domain.stock_view import StockView
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.errors import AppendOutcomeUnknownError, ConcurrencyError, StoreUnavailableError
from inventory_es.ports.records import NewEvent, RecordedEvent, StreamWrite
from inventory_es.wiring import open_inventory

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

logging.getLogger(__name__).addHandler(logging.NullHandler())
