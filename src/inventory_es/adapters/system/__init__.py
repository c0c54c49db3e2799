"""Time and identity from the operating system: :class:`SystemClock` and :class:`Uuid7Generator`."""

from inventory_es.adapters.system.clock import SystemClock
from inventory_es.adapters.system.ids import Uuid7Generator

__all__ = ["SystemClock", "Uuid7Generator"]
