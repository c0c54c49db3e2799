"""Time, identity and chance from the operating system."""

from inventory_es.adapters.system.chance import chance
from inventory_es.adapters.system.clock import SystemClock
from inventory_es.adapters.system.ids import Uuid7Generator

__all__ = ["SystemClock", "Uuid7Generator", "chance"]
