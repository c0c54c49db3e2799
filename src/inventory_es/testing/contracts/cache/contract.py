"""The contract of the cache."""

from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import ClassVar, Literal

from inventory_es.application.queries.answer_cache import AnswerCache
from inventory_es.ports import Cache, Clock
from inventory_es.testing.clock import ManualClock
from inventory_es.testing.contracts.cache.cached_answers import AnswerCases
from inventory_es.testing.contracts.cache.expiry import ExpiryCases
from inventory_es.testing.contracts.cache.failures import TroubleCases
from inventory_es.testing.contracts.cache.forks import ForkCases
from inventory_es.testing.contracts.cache.harness import CacheHarness
from inventory_es.testing.contracts.cache.interruption import InterruptionCases
from inventory_es.testing.contracts.cache.keys import KeyCases
from inventory_es.testing.contracts.cache.programs import ProgramCases
from inventory_es.testing.contracts.cache.values import ValueCases
from inventory_es.testing.contracts.core.contract import Contract, Run
from inventory_es.testing.site import Site


class CacheContract(
    ValueCases, KeyCases, ExpiryCases, ProgramCases, InterruptionCases, TroubleCases, AnswerCases, ForkCases, Contract, ABC
):
    """The promises of a cache, CA-01 to CA-34.

    A subclass says how to open the cache, and what it declares::

        class TestMyCache(CacheContract):
            capacity = 4

            @asynccontextmanager
            async def open_cache(self, site, *, clock):
                yield MyCache(site.path, clock=clock, max_entries=4)

    One flight per key (CA-15, CA-16) and cache transparency (CA-19) are kept together with what stands above the port.

    Attributes:
        capacity: how many entries the cache that ``open_cache`` opens holds, 3 to 1,000; ``None`` where it has no such bound.
        is_durable: whether entries survive closing and opening the site again.
        multi_process: whether several instances may have one site open at once, as the caches of several processes do.
        survives_fork: whether a process that has it open may fork: both go on, the child through a cache that it opens itself, and the
            handle that it inherited is closed.
        when_down: what ``get`` does while the backend is away: ``raise`` CacheUnavailableError, or a ``miss``.
    """

    kind: ClassVar[str] = "cache"
    capacity: int | None = None
    is_durable: bool = False
    multi_process: bool = False
    survives_fork: bool = False
    when_down: Literal["raise", "miss"] = "raise"

    @abstractmethod
    def open_cache(self, site: Site, *, clock: ManualClock) -> AbstractAsyncContextManager[Cache]:
        """Open a cache whose data lives at ``site`` and whose time comes from ``clock``."""

    def answers(self, cache: Cache, clock: Clock) -> AnswerCache:
        """Hook: what stands between the queries and the cache. For who replaces it."""
        return AnswerCache(cache, clock=clock)

    async def let_time_pass(self, clock: ManualClock, by: timedelta) -> None:
        """Hook: make entries older. For a backend with a time of its own that can't be injected."""
        clock.advance(by)

    @property
    def keeps_own_time(self) -> bool:
        """True if entries grow older by the backend's own time, so that no case may depend on less than half a second."""
        return type(self).let_time_pass is not CacheContract.let_time_pass

    async def raw(self, site: Site, key: str, junk: bytes) -> bool:  # noqa: ARG002  # what a host's hook needs
        """Hook: put bytes that no cache wrote where the entry of ``key`` is stored; whether that is possible."""
        return False

    async def kill(self, site: Site) -> bool:  # noqa: ARG002  # what a host's hook needs
        """Hook: take the backend away from an opened cache; whether that is possible."""
        return False

    def harness(self, run: Run) -> CacheHarness:
        """The harness of one run."""
        return CacheHarness(self, run)
