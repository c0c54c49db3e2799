"""The share of a contract's runs that every change is tested by, where a run is expensive. ``pytest --deep`` has them all."""

from typing import Any
from zlib import crc32

from inventory_es.testing.contracts.core.contract import Contract
from inventory_es.testing.promise import CaseBody, Promise

_OF_ASYNCIO = {"test_eb_31_the_only_consumer"}
"""Cases of what asyncio alone can do."""


class ShareOfRuns(Contract):
    """A contract whose cases take turns: each runs on one of the event loops, under the plain schedule.

    For adapters that work in threads or on a server: the loops and the schedules are tried in full on the adapters that run on a loop.
    """

    is_deep = False
    """True to run every case on every event loop and under every schedule: the option ``--deep``."""

    def run_case(self, promise: Promise, body: CaseBody) -> None:
        case: Any = body
        loops, seeds = self.backends, self.seeds
        if not self.is_deep:
            loop = "asyncio" if case.__name__ in _OF_ASYNCIO else loops[crc32(case.__name__.encode()) % len(loops)]
            self.backends, self.seeds = (loop,), (0,)
        try:
            super().run_case(promise, body)
        finally:
            self.backends, self.seeds = loops, seeds
