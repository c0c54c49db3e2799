"""Ids from time and chance: UUID version 7, increasing within a process."""

import os
import sys
import time
import weakref
from array import array
from collections.abc import Callable
from threading import Lock

_VERSION = 0x7 << 76
_VARIANT = 0b10 << 62
_CHANCE_BITS = 74
_CHANCE_BYTES = 10
_LOW_BITS = 62
_LOW_MASK = (1 << _LOW_BITS) - 1
_STEPS_BYTES = 1_024
_NANOSECONDS = 1_000_000


class Uuid7Generator:
    """An :class:`~inventory_es.ports.IdGenerator` of UUID version 7 texts (RFC 9562): 48 bits of Unix milliseconds, 74 of chance.

    Every id is greater than the ones before it from the same generator, also within one millisecond and when the clock steps
    back: the previous id is then counted up by a random step (RFC 9562, section 6.2, method 2). Threads may share one, and a
    forked child draws its chance anew.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._milliseconds = 0
        self._chance = 0
        self._steps: list[int] = []
        if sys.platform != "win32":
            renew = weakref.WeakMethod(self._renew)
            os.register_at_fork(after_in_child=lambda: _call(renew))

    def new_id(self) -> str:
        """A canonical lower-case UUID text of 36 characters."""
        with self._lock:
            milliseconds = time.time_ns() // _NANOSECONDS
            if milliseconds > self._milliseconds:
                self._milliseconds, self._chance = milliseconds, _draw()
            else:
                if not self._steps:  # drawn together: asking the system for a few bytes costs as much as for many
                    self._steps = array("I", os.urandom(_STEPS_BYTES)).tolist()
                self._chance += 1 + self._steps.pop()
                if self._chance >> _CHANCE_BITS:
                    self._milliseconds, self._chance = self._milliseconds + 1, _draw()
            return _write(self._milliseconds, self._chance)

    def _renew(self) -> None:
        self._lock = Lock()
        self._steps = []
        self._chance = _draw()


def _draw() -> int:
    return int.from_bytes(os.urandom(_CHANCE_BYTES)) >> (_CHANCE_BYTES * 8 - _CHANCE_BITS)


def _write(milliseconds: int, chance: int) -> str:
    text = (milliseconds << 80 | _VERSION | (chance >> _LOW_BITS) << 64 | _VARIANT | chance & _LOW_MASK).to_bytes(16).hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _call(method: weakref.WeakMethod[Callable[[], None]]) -> None:
    if (alive := method()) is not None:
        alive()
