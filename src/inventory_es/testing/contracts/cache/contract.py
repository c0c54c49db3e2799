"""The contract of the cache."""

from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import ClassVar, Literal

from inventory_es.application.queries.cached_answers import CachedAnswers
from inventory_es.ports import Cache, Clock
from inventory_es.testing.clock import ManualClock
from inventory_es.testing.contracts.cache.cached_answers import AnswerCases
from inventory_es.testing.contracts.cache.expiry import ExpiryCases
from inventory_es.testing.contracts.cache.failures import TroubleCases
from inventory_es.testing.contracts.cache.forks import ForkCases
from inventory_es.testing.contracts.cache.harness import CacheHarness
from inventory_es.testing.contracts.cache.interruption import InterruptionCases
from inventory_es.testing.contracts.cache.programs import ProgramCases
from inventory_es.testing.contracts.cache.values import KeyCases, ValueCases
from inventory_es.testing.contracts.core.contract import Contract, Run
from inventory_es.testing.site import Site


class CacheContract(
    ValueCases, KeyCases, ExpiryCases, ProgramCases, InterruptionCases, TroubleCases, AnswerCases, ForkCases, Contract, ABC
):
    """The promises of a cache, CA-01 to CA-35.

    A subclass opens the cache, and declares its properties::

        class TestMyCache(CacheContract):
            capacity = 4

            @asynccontextmanager
            async def open_cache(self, site, *, clock):
                yield MyCache(site.path, clock=clock, max_entries=4)

    One flight per key (CA-15, CA-16) and cache transparency (CA-19) are promises of the cache together with the layer above the port.

    Attributes:
        capacity: the number of entries that the cache of ``open_cache`` holds, 3 to 1,000; ``None`` where it has no such bound.
        is_durable: True if entries survive closing and opening the site again.
        multi_process: True if several instances may have one site open at once, as the caches of several processes do.
        survives_fork: True if a process that has the cache open may fork. Both processes go on, the child through a cache that it opens
            itself. The handle that the child inherited is closed.
        when_down: the answer of ``get`` while the backend is away: ``raise`` CacheUnavailableError, or a ``miss``.
        patience_for_marks: the most seconds until there is a change mark, and until it shows a change. For a cache with
            :class:`~inventory_es.ports.cache.ChangeMarks`.
    """

    kind: ClassVar[str] = "cache"
    capacity: int | None = None
    is_durable: bool = False
    multi_process: bool = False
    survives_fork: bool = False
    when_down: Literal["raise", "miss"] = "raise"
    patience_for_marks: float = 5.0

    @abstractmethod
    def open_cache(self, site: Site, *, clock: ManualClock) -> AbstractAsyncContextManager[Cache]:
        """Open a cache whose data lives at ``site`` and whose time comes from ``clock``."""

    def answers(self, cache: Cache, clock: Clock) -> CachedAnswers:
        """Return the layer between the queries and the cache. Hook, for a host that replaces it."""
        return CachedAnswers(cache, clock=clock)

    async def let_time_pass(self, clock: ManualClock, by: timedelta) -> None:
        """Make entries older. Hook, for a backend whose own time can't be injected."""
        clock.advance(by)

    @property
    def keeps_own_time(self) -> bool:
        """True if entries age by the backend's own time. No case may then depend on less than half a second."""
        return type(self).let_time_pass is not CacheContract.let_time_pass

    async def raw(self, site: Site, key: str, junk: bytes) -> bool:  # noqa: ARG002  # what a host's hook needs
        """Put bytes that no cache wrote where the entry of ``key`` is stored. Hook; returns False where that is not possible."""
        return False

    async def kill(self, site: Site) -> bool:  # noqa: ARG002  # what a host's hook needs
        """Take the backend away from an opened cache. Hook; returns False where that is not possible."""
        return False

    def harness(self, run: Run) -> CacheHarness:
        """Return the harness of one run."""
        return CacheHarness(self, run)
