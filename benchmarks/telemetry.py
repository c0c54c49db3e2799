"""The cost of telemetry on the hot product, by paired runs in turns: ``python -m benchmarks.telemetry [--stores file] [--rounds 20]``.

In each round, each kind of telemetry has a sale of its own: 64 callers reserve one unit each of one product. The sales go on by turns of
some milliseconds, in an order drawn anew for each turn, so that what else the machine does meets all of them. The figures are processor
time of the process, the writer's thread included, as the median of the turns of a round. The cost of a kind is the median, over the
rounds, of its ratios to no telemetry.
"""

import argparse
import gc
import io
import logging
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from statistics import median, quantiles

import anyio
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from prometheus_client import CollectorRegistry

from benchmarks.engine.callers import in_tasks
from benchmarks.engine.commands import PLENTY, TTL
from benchmarks.engine.store_url import url_of
from inventory_es import InventoryService, open_inventory
from inventory_es.telemetry.logs import CommandLog, JsonFormatter
from inventory_es.telemetry.otel import Tracing, otel_metrics
from inventory_es.telemetry.prometheus import prometheus_metrics

CALLERS = 64
TURN = 320
"""The commands of a turn."""
OFF = "off"


class _Dropped(SpanExporter):
    """An exporter that takes spans and drops them, because a network is not what is measured."""

    def export(self, _spans: object) -> SpanExportResult:
        return SpanExportResult.SUCCESS


def _tracing(sample: float) -> Tracing:
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(_Dropped(), max_queue_size=100_000))
    return Tracing(provider, sample=sample)


def _lines() -> CommandLog:
    logger = logging.getLogger("inventory_es.benchmark")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    handler = logging.StreamHandler(io.StringIO())
    handler.setFormatter(JsonFormatter())
    logger.handlers = [handler]
    return CommandLog(logger)


KINDS: Mapping[str, Callable[[], Sequence[object]]] = {
    OFF: tuple,
    "off, again": tuple,
    "metrics": lambda: [prometheus_metrics(CollectorRegistry())],
    "metrics, 1 % traced": lambda: [prometheus_metrics(CollectorRegistry()), _tracing(0.01)],
    "every command traced": lambda: [_tracing(1.0)],
    "a line of JSON per command": lambda: [_lines()],
    "metrics of OpenTelemetry": lambda: [otel_metrics(MeterProvider([InMemoryMetricReader()]))],
}
"""The observers by the name of their kind. ``off, again`` has none either: its ratio shows the noise."""


async def measure(store: str, kinds: Sequence[str], commands: int, chance: Random) -> Mapping[str, float]:
    """Return the microseconds of processor time per command of each kind: the medians of its turns in one round."""
    turns: dict[str, list[float]] = {kind: [] for kind in kinds}
    async with AsyncExitStack() as opened:
        inventories: dict[str, InventoryService] = {}
        for kind in kinds:
            folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
            inventories[kind] = await opened.enter_async_context(open_inventory(url_of(store, folder), observers=KINDS[kind]()))
            await inventories[kind].add_stock("hot", "main", PLENTY)
            await _sell(inventories[kind])
        gc.collect()
        for _ in range(commands // TURN):
            for kind in chance.sample(kinds, len(kinds)):
                before = time.process_time()
                await _sell(inventories[kind])
                turns[kind].append((time.process_time() - before) / TURN * 1e6)
    return {kind: median(one) for kind, one in turns.items()}


async def _sell(inventory: InventoryService) -> None:
    await in_tasks(CALLERS, TURN, lambda _: inventory.reserve("hot", "main", 1, ttl=TTL), patience=60)


def row(store: str, kind: str, found: Mapping[str, Sequence[float]]) -> str:
    """Return the line of a table for one kind: microseconds, and the middle and the quartiles of its ratios."""
    ratios = [(one / off - 1) * 100 for one, off in zip(found[kind], found[OFF], strict=True)]
    low, middle, high = quantiles(ratios, n=4, method="inclusive")
    return f"| {store} | {kind} | {median(found[kind]):.1f} µs | {middle:+.1f} % | {low:+.1f} … {high:+.1f} % |"


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.telemetry", description="Measure the cost of telemetry.")
    parser.add_argument("--stores", nargs="+", choices=["memory", "file", "sqlite"], default=["memory", "file", "sqlite"])
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--commands", type=int, default=6_400)
    given = parser.parse_args()
    kinds = list(dict.fromkeys((OFF, *given.kinds)))
    print("| Store | Telemetry | Processor time per command | Cost | Quartiles |\n|---|---|---:|---:|---:|")
    for store in given.stores:
        rounds = [anyio.run(measure, store, kinds, given.commands, Random(number)) for number in range(given.rounds)]
        found = {kind: [one[kind] for one in rounds] for kind in kinds}
        for kind in kinds:
            print(row(store, kind, found), flush=True)


if __name__ == "__main__":
    main()
