"""Event classes of all processes."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from inventory_es.domain.processes.order.events import ORDER_CATEGORY, ORDER_EVENT_TYPES
from inventory_es.domain.processes.transfer.events import TRANSFER_CATEGORY, TRANSFER_EVENT_TYPES

PROCESS_EVENT_TYPES: Mapping[type[Any], str] = MappingProxyType(
    dict.fromkeys(ORDER_EVENT_TYPES, ORDER_CATEGORY) | dict.fromkeys(TRANSFER_EVENT_TYPES, TRANSFER_CATEGORY)
)
"""Each event class with the category of its streams. Its first field is the id of its process."""
