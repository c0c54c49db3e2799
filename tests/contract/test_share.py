"""The cases of a contract that is dealt out run on both event loops together, and each of them on both with ``--deep``."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from inventory_es.adapters.memory import MemoryCache
from inventory_es.ports import Cache
from inventory_es.testing import CacheContract, ManualClock, Site
from inventory_es.testing.contracts.core.contract import Run
from inventory_es.testing.contracts.core.runner import cases_of, run
from tests.contract.share import ShareOfRuns

RUNS: list[tuple[str, str, int]] = []


class Dealt(ShareOfRuns, CacheContract):
    @asynccontextmanager
    async def open_cache(self, site: Site, *, clock: ManualClock) -> AsyncIterator[Cache]:
        yield MemoryCache(clock=clock)

    def harness(self, run: Run) -> Any:
        RUNS.append((run.promise.id, run.backend, run.seed))
        return super().harness(run)


@pytest.fixture
def runs() -> list[tuple[str, str, int]]:
    RUNS.clear()
    return RUNS


def test_each_case_has_one_run_and_both_event_loops_have_some(runs: list[tuple[str, str, int]]) -> None:
    only = {f"CA-{number:02}" for number in range(1, 11)}
    assert {result.verdict for result in run(Dealt(), only)} <= {"kept", "not declared"}
    assert len(runs) == len(cases_of(Dealt, only))
    assert {loop for _, loop, _ in runs} == {"asyncio", "trio"}
    assert {seed for _, _, seed in runs} == {0}


def test_a_deep_case_has_all_its_runs(runs: list[tuple[str, str, int]]) -> None:
    case = Dealt()
    case.is_deep = True
    (result,) = run(case, {"CA-01"})
    assert runs == [("CA-01", loop, seed) for loop in ("asyncio", "trio") for seed in range(result.promise.seeds + 1)]
