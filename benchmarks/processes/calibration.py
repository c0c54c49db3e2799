"""Costs on this machine, measured with one process, so that the model can predict several."""

import os
import statistics
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio

from benchmarks.engine.callers import in_tasks
from benchmarks.engine.commands import PLENTY, TTL
from benchmarks.engine.history import additions, new_events
from benchmarks.engine.store_url import url_of
from benchmarks.processes.model import BUSY_POLLS, Costs
from inventory_es import ConcurrencyError, InventoryId, StreamWrite, open_inventory
from inventory_es.ports import EventStore, GroupCommit

ROUNDS = 40
MANY = 128


async def calibrate(store: str, folder: Path, seconds: float) -> Costs:
    """Return medians. The cost of a command without its commit comes from 64 callers of one product, less the commit's share."""
    url = url_of(store, folder)
    async with open_inventory(url) as inventory, open_inventory(url) as other:
        one, two = Writing(inventory.store), Writing(other.store)
        lone = await _median(one.append)
        many = await _median(lambda: one.append(MANY))
        write = max(0.0, (many - lone) / (MANY - 1))
        check = await _median(one.conflict)
        foreign = await _foreign(one, two, lone)
        read = await _median(one.read_tail)
        await inventory.add_stock("hot", "main", PLENTY)
        measure = await in_tasks(64, 1_000_000, lambda _: inventory.reserve("hot", "main", 1, ttl=TTL), patience=seconds)
    commit = max(0.0, lone - write - check)
    decide = max(1e-6, 1 / measure["per_second"] - (commit + check) / 64 - write)
    polls = BUSY_POLLS if store == "sqlite" else ()
    cores = os.cpu_count() or 1
    return Costs(
        decide=decide, commit=commit, write=write, check=check, foreign=foreign, read=read, polls=polls, turns=not polls, cores=cores
    )


async def _foreign(one: "Writing", two: "Writing", lone: float) -> float:
    """Return the extra cost of an append after many appends of another handle, compared with one after its own."""
    seconds: list[float] = []
    for _ in range(ROUNDS):
        await two.append(MANY)
        started = time.perf_counter()
        await one.append()
        seconds.append(time.perf_counter() - started)
    return max(0.0, (statistics.median(seconds) - lone) / MANY)


class Writing:
    """A writer of appends straight to a store, each to a stream of its own.

    Args:
        store: the store.
    """

    _streams = 0

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self._last: StreamWrite | None = None

    async def append(self, appends: int = 1) -> None:
        """Make a number of appends of one event each, in one commit."""
        groups = [[self._write()] for _ in range(appends)]
        assert isinstance(self._store, GroupCommit)
        await self._store.append_group(groups)

    async def conflict(self) -> None:
        """Make an append that is refused."""
        write = self._write(version=5)
        try:
            await self._store.append([write])
        except ConcurrencyError:
            return
        msg = "a wrong version was taken"
        raise RuntimeError(msg)

    async def read_tail(self) -> None:
        """Read the one event of a stream."""
        assert self._last is not None
        await self._store.read_stream(self._last.stream, after=0, limit=100)

    def _write(self, *, version: int = 0) -> StreamWrite:
        Writing._streams += 1
        inventory_id = InventoryId(f"calibration-{Writing._streams}", "main")
        write = StreamWrite(inventory_id.stream, version, new_events(additions(inventory_id), 1))
        if version == 0:
            self._last = write
        return write


async def _median(call: Callable[[], Awaitable[Any]]) -> float:
    seconds: list[float] = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        await call()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


async def stock(store: str, folder: Path, products: int) -> None:
    """Add products ``p0``, ``p1``, … with plenty of stock."""
    async with open_inventory(url_of(store, folder)) as inventory, anyio.create_task_group() as group:
        for number in range(products):
            group.start_soon(inventory.add_stock, f"p{number}", "main", PLENTY)
