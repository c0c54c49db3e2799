"""Time, identity and chance from the operating system."""

import os
import random
import time
import weakref
from array import array
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from threading import Lock

__all__ = ["SystemClock", "Uuid7Generator", "chance"]

_VARIANT = 0b10 << 62
_CHANCE_BITS = 62
_CHANCE_MASK = (1 << _CHANCE_BITS) - 1
_CHANCE_BYTES = 10
_STEPS_BYTES = 1_024
_NANOSECONDS = 1_000_000

_COUNTS_SLEEP: int | None = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))
_steady: Callable[[], float] = time.monotonic if _COUNTS_SLEEP is None else partial(time.clock_gettime, _COUNTS_SLEEP)
"""Seconds on a clock that nobody sets. On Linux the monotonic clock stands still while the machine sleeps; the boot-time clock does not."""

_generator = random.SystemRandom()


class SystemClock:
    """A :class:`~inventory_es.ports.SteadyClock`: the wall clock of this machine, in UTC. It may step when the machine's time is set."""

    def __init__(self) -> None:
        self._began = time.time() - _steady()

    def now(self) -> datetime:
        """Return the time now: aware, in UTC, to the microsecond."""
        return datetime.now(UTC)

    def jump(self) -> float:
        """Return by how many seconds the wall clock was set since this object was made: ahead above zero, back below.

        Sleep of the machine is no jump where the operating system counts sleep (Linux, macOS, Windows).
        """
        return time.time() - _steady() - self._began


class Uuid7Generator:
    """An :class:`~inventory_es.ports.IdGenerator` of UUID version 7 texts (RFC 9562): 48 bits of Unix milliseconds, 74 of chance.

    Every id is greater than all earlier ids of the same generator, also within one millisecond and when the clock steps back. In these
    cases the previous id is counted up by a random step (RFC 9562, section 6.2, method 2). Threads may share one generator. A forked
    child draws new chance.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._milliseconds = 0
        self._head = ""
        self._chance = 0
        self._steps: list[int] = []
        if hasattr(os, "register_at_fork"):
            renew = weakref.WeakMethod(self._renew)
            os.register_at_fork(after_in_child=lambda: _call(renew))

    def new_id(self) -> str:
        """Return a canonical lower-case UUID text of 36 characters."""
        with self._lock:
            milliseconds = max(time.time_ns() // _NANOSECONDS, self._milliseconds)
            if self._head and milliseconds == self._milliseconds:
                if not self._steps:  # drawn together: asking the system for a few bytes costs as much as for many
                    self._steps = array("I", os.urandom(_STEPS_BYTES)).tolist()
                self._chance += 1 + self._steps.pop()
                milliseconds += self._chance >> _CHANCE_BITS
            if (
                not self._head or milliseconds > self._milliseconds
            ):  # all ids of one millisecond share 12 bits of chance; the other 62 are counted up
                chance = int.from_bytes(os.urandom(_CHANCE_BYTES))
                self._milliseconds = milliseconds
                self._head = f"{milliseconds >> 16:08x}-{milliseconds & 0xFFFF:04x}-7{chance >> 68:03x}"
                self._chance = chance & _CHANCE_MASK
            tail = (_VARIANT | self._chance).to_bytes(8).hex()
            return f"{self._head}-{tail[:4]}-{tail[4:]}"

    def _renew(self) -> None:
        self._lock = Lock()
        self._steps = []
        self._head = ""  # the next id draws new chance


def chance() -> float:
    """Return a random number from 0 up to, not including, 1: for jitter."""
    return _generator.random()


def _call(method: weakref.WeakMethod[Callable[[], None]]) -> None:
    if (alive := method()) is not None:
        alive()
