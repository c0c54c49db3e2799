"""Metrics in a registry of prometheus_client, of one process and of several."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio
import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.parser import text_string_to_metric_families

from inventory_es import InsufficientStockError, open_inventory
from inventory_es.adapters.memory import MemoryCache, MemoryEventBus, MemoryEventStore
from inventory_es.application.context import CommandContext
from inventory_es.application.following.projection import Projection, ProjectionStatus
from inventory_es.application.guards import CircuitBreaker, Retry, guarded
from inventory_es.application.observers import CommandFinished
from inventory_es.domain.identifiers import InventoryId
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import Change, ProjectionId, RecordedEvent, Table
from inventory_es.ports.errors import StoreUnavailableError
from inventory_es.telemetry import METRICS, prometheus
from inventory_es.telemetry.prometheus import prometheus_metrics, prometheus_name
from inventory_es.testing import ManualClock

HOUR = timedelta(hours=1)


def samples(registry: CollectorRegistry) -> Mapping[str, float]:
    """Every sample of a scrape, by its name and labels."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for one in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(one.labels.items()))
            found[f"{one.name}{{{labels}}}" if labels else one.name] = one.value
    return found


async def sell(inventory: Any, orders: int) -> None:
    for _ in range(orders):
        with suppress(InsufficientStockError):
            await inventory.reserve("espresso", "berlin", 1, ttl=HOUR)


def test_commands_and_appends_are_measured(backend: str) -> None:
    async def body() -> Mapping[str, float]:
        registry = CollectorRegistry()
        async with open_inventory("memory:", observers=[prometheus_metrics(registry)]) as inventory:
            await inventory.add_stock("espresso", "berlin", 2)
            await sell(inventory, 5)
        return samples(registry)

    found = anyio.run(body, backend=backend)
    duration = "inventory_es_command_duration_seconds"
    assert found[f"{duration}_count{{command=ReserveStock,outcome=accepted}}"] == 2
    assert found[f"{duration}_count{{command=ReserveStock,outcome=rejected}}"] == 3
    assert found[f"{duration}_bucket{{command=AddStock,le=+Inf,outcome=accepted}}"] == 1
    assert 0 < found[f"{duration}_sum{{command=ReserveStock,outcome=accepted}}"] < 10
    assert found["inventory_es_command_errors_total{command=ReserveStock,error_type=insufficient_stock}"] == 3
    assert found["db_client_operation_duration_seconds_count{db_operation_name=append,db_system_name=inventory_es.memory,error_type=}"] == 3
    assert (found["inventory_es_append_batch_size_sum"], found["inventory_es_append_conflicts_total"]) == (3, 0)
    assert (found["inventory_es_append_groups_count"], found["inventory_es_append_groups_sum"]) == (3, 3)


def finished(seconds: float) -> CommandFinished:
    """The record of an accepted command that took so long."""
    stream, context = InventoryId("espresso", "berlin").stream, CommandContext()
    return CommandFinished("AddStock", "c1", stream, "accepted", None, seconds, 1, 1, 1, 1, 0, context)


@given(seconds=st.lists(st.floats(0, 100) | st.sampled_from(METRICS["inventory_es.command.duration"].bounds), max_size=700))
def test_observations_are_counted_as_the_library_counts_them(seconds: Sequence[float]) -> None:
    """They are counted some hundred at once, and what is left when a scrape comes: twice here, in the middle and at the end."""
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    metrics, metric = prometheus_metrics(ours), METRICS["inventory_es.command.duration"]
    labels = {"command": "AddStock", "outcome": "accepted"}
    histogram = Histogram(prometheus_name(metric), metric.description, list(labels), registry=theirs, buckets=metric.bounds)
    for number, one in enumerate(seconds, 1):
        metrics.command_finished(finished(one))
        histogram.labels(**labels).observe(one)
        if number in (len(seconds) // 2, len(seconds)):
            expected = {name: value for name, value in samples(theirs).items() if "_created" not in name}
            assert {name: pytest.approx(value) for name, value in samples(ours).items() if name in expected} == expected


def test_no_observation_of_a_thread_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads count often, and give way after a few instructions, so that they meet."""
    monkeypatch.setattr(prometheus, "_WAITING", 2)
    every = sys.getswitchinterval()
    registry = CollectorRegistry()
    metrics = prometheus_metrics(registry)

    def observe() -> None:
        for _ in range(5_000):
            metrics.command_finished(finished(1.0))

    def scrape() -> None:
        for _ in range(50):
            samples(registry)

    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(5) as threads:
            for one in [threads.submit(each) for each in (observe, observe, scrape, observe, observe)]:
                one.result()
    finally:
        sys.setswitchinterval(every)
    found = samples(registry)
    for suffix in ("count", "sum"):
        assert found[f"inventory_es_command_duration_seconds_{suffix}{{command=AddStock,outcome=accepted}}"] == 20_000


def test_batches_and_waiting_commands_are_counted(backend: str) -> None:
    async def body() -> Mapping[str, float]:
        registry = CollectorRegistry()
        async with open_inventory("memory:", observers=[prometheus_metrics(registry)]) as inventory:
            await inventory.add_stock("espresso", "berlin", 9)
            async with anyio.create_task_group() as tasks:
                for _ in range(4):
                    tasks.start_soon(sell, inventory, 1)
        return samples(registry)

    found = anyio.run(body, backend=backend)
    assert found["inventory_es_lane_waiting_total"] == 0 + 1 + 2
    batches = {bound: found[f"inventory_es_append_batch_size_bucket{{le={bound}}}"] for bound in ("1.0", "2.0", "4.0")}
    assert batches == {"1.0": 2, "2.0": 2, "4.0": 3}


def test_a_conflict_and_its_retry_are_counted(backend: str) -> None:
    async def body() -> Mapping[str, float]:
        registry, store = CollectorRegistry(), MemoryEventStore()
        async with open_inventory(store, observers=[prometheus_metrics(registry)]) as inventory, open_inventory(store) as other:
            await inventory.add_stock("espresso", "berlin", 1)
            await other.add_stock("espresso", "berlin", 1)
            await inventory.reserve("espresso", "berlin", 1, ttl=HOUR)
        return samples(registry)

    found = anyio.run(body, backend=backend)
    assert found["inventory_es_append_conflicts_total"] == 1
    assert found["inventory_es_command_retries_total{command=ReserveStock}"] == 1


def test_followers_cache_and_bus_are_measured(backend: str) -> None:
    def fail(_event: object, _envelope: object) -> list[Change]:
        raise ZeroDivisionError

    async def body() -> Mapping[str, float]:
        registry, clock = CollectorRegistry(), ManualClock()
        metrics, bus = prometheus_metrics(registry, clock=clock), MemoryEventBus(clock=clock)
        picky = Projection(projection_id=ProjectionId("picky", 1), tables=(Table("rows", {"key": int}, ("key",)),), apply=fail)
        async with (
            open_inventory(
                "memory:",
                read_models="memory:",
                clock=clock,
                cache=MemoryCache(clock=clock),
                bus=bus,
                projections=[picky],
                observers=[metrics],
            ) as inventory,
            bus.subscribe("mailer") as deliveries,
        ):
            await inventory.add_stock("espresso", "berlin", 2)
            await sell(inventory, 2)
            clock.advance(2 * HOUR)
            metrics.show_projections(await inventory.followers.status())
            before = samples(registry)
            assert before["inventory_es_projection_lag_seconds{projection=ledger v1}"] == 7200
            assert before["inventory_es_projection_backlog{projection=ledger v1}"] == 3
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(lambda: inventory.followers.run(on_failure="park"))
                async for delivery in deliveries:
                    with suppress(ZeroDivisionError), metrics.delivery(delivery, group="mailer", bus="inventory_es.memory"):
                        if delivery.event.version == 2:
                            raise ZeroDivisionError
                    await delivery.ack()
                    if delivery.event.version == 3:
                        break
                for _ in range(2):
                    await inventory.queries.stock("espresso", "berlin", wait_for_position=3)
                inventory.followers.stop()
            await inventory.followers.catch_up(on_failure="park")
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(lambda: metrics.watch(inventory))
                with anyio.fail_after(5):
                    while "inventory_es_reservations_open" not in samples(registry):
                        await anyio.lowlevel.checkpoint()
                    while samples(registry)["inventory_es_reservations_open"] == 0:
                        await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
        return samples(registry)

    found = anyio.run(body, backend=backend)
    assert found["inventory_es_projection_events_total{projection=ledger v1}"] == 3
    assert found["inventory_es_event_lag_seconds_bucket{consumer=ledger v1,le=3600.0}"] == 0
    assert found["inventory_es_event_lag_seconds_bucket{consumer=ledger v1,le=+Inf}"] >= 1
    assert found["inventory_es_event_lag_seconds_sum{consumer=mailer}"] == 3 * 7200
    assert found["inventory_es_projection_lag_seconds{projection=ledger v1}"] == 0
    assert found["inventory_es_dead_letters{consumer=picky v1}"] == 3
    assert found["inventory_es_projection_stopped{projection=picky v1}"] == 0
    sent = "{error_type=,messaging_destination_name=relay,messaging_operation_name=publish,messaging_system=inventory_es.memory}"
    assert found[f"messaging_client_sent_messages_total{sent}"] == 3
    handled = "messaging_consumer_group_name=mailer,messaging_operation_name=process,messaging_system=inventory_es.memory"
    assert found[f"messaging_process_duration_seconds_count{{error_type=,{handled}}}"] == 2
    assert found[f"messaging_process_duration_seconds_count{{error_type=ZeroDivisionError,{handled}}}"] == 1
    assert found["inventory_es_cache_reads_total{cache=MemoryCache,result=hit}"] >= 1
    assert found["inventory_es_cache_reads_total{cache=MemoryCache,result=miss}"] >= 1
    assert (found["inventory_es_reservations_open"], found["inventory_es_reservations_due"]) == (2, 2)


def test_a_version_that_is_gone_has_no_lag_any_more() -> None:
    registry = CollectorRegistry()
    metrics = prometheus_metrics(registry)
    old, new = ProjectionId("ledger", 1), ProjectionId("ledger", 2)
    behind = ProjectionStatus(
        projection_id=old, state="stopped", position=3, error="x", owner=None, lag_events=4, lag_seconds=9.5, active=old, dead_letters=2
    )
    metrics.show_projections([behind])
    names = ("projection_lag_seconds{projection", "projection_backlog{projection", "projection_stopped{projection", "dead_letters{consumer")
    found = samples(registry)
    assert [found[f"inventory_es_{name}=ledger v1}}"] for name in names] == [9.5, 4, 1, 2]
    metrics.show_projections([attrs.evolve(behind, projection_id=new, active=new)])
    found = samples(registry)
    assert [found[f"inventory_es_{name}=ledger v1}}"] for name in names] == [0, 0, 0, 0]
    assert [found[f"inventory_es_{name}=ledger v2}}"] for name in names] == [9.5, 4, 1, 2]


def test_open_reservations_are_counted_up_to_a_limit(backend: str) -> None:
    async def body() -> Mapping[str, float]:
        registry = CollectorRegistry()
        metrics = prometheus_metrics(registry)
        async with open_inventory("memory:", read_models="memory:") as inventory:
            await inventory.add_stock("espresso", "berlin", 9)
            await sell(inventory, 9)
            await inventory.followers.catch_up(on_failure="stop")
            await metrics.show_reservations(inventory, most=7)
        return samples(registry)

    assert anyio.run(body, backend=backend)["inventory_es_reservations_open"] == 7


def test_guards_are_measured(backend: str) -> None:
    class Away(MemoryEventStore):
        async def find_events(self, stream: StreamId, event_ids: Sequence[UUID], /) -> Sequence[RecordedEvent]:
            raise StoreUnavailableError(store="shop", reason="it is away")

    async def body() -> Mapping[str, float]:
        registry = CollectorRegistry()
        metrics = prometheus_metrics(registry)
        breaker = CircuitBreaker("shop", threshold=2, observers=[metrics])
        retry = Retry(waits=(0.0, 0.0), observers=[metrics])
        store = guarded(Away(), retry, breaker)
        with suppress(StoreUnavailableError):
            await store.find_events(InventoryId("espresso", "berlin").stream, ())
        return samples(registry)

    found = anyio.run(body, backend=backend)
    assert [found[f"inventory_es_breaker_state{{breaker=shop,state={one}}}"] for one in ("closed", "half_open", "open")] == [0, 0, 1]
    assert found["inventory_es_call_retries_total{error_type=store_unavailable,operation=find_events,port=Away}"] == 1


def test_a_registry_has_every_metric_of_the_catalogue_with_a_description() -> None:
    registry = CollectorRegistry()
    prometheus_metrics(registry)
    families = {one.name: one for one in registry.collect()}
    assert {one: families[prometheus_name(metric)].documentation for one, metric in METRICS.items()} == {
        one: metric.description for one, metric in METRICS.items()
    }
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        prometheus_metrics(registry)


WORKER = """
import sys
from contextlib import suppress
from datetime import timedelta

from prometheus_client import CollectorRegistry

from inventory_es import InsufficientStockError
from inventory_es.sync import open_inventory
from inventory_es.telemetry.prometheus import prometheus_metrics

metrics = prometheus_metrics(CollectorRegistry())
with open_inventory(f"sqlite:{sys.argv[1]}", observers=[metrics]) as inventory:
    for _ in range(6):
        with suppress(InsufficientStockError):
            inventory.reserve("espresso", "berlin", 1, ttl=timedelta(hours=1))
print("sold")
"""


def test_several_worker_processes_are_scraped_together(tmp_path: Path) -> None:
    folder, database = tmp_path / "metrics", tmp_path / "stock.db"
    folder.mkdir()

    async def add() -> None:
        async with open_inventory(f"sqlite:{database}") as inventory:
            await inventory.add_stock("espresso", "berlin", 7)

    anyio.run(add)
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(folder)}
    command = [sys.executable, "-c", WORKER, str(database)]
    workers = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [worker.communicate(timeout=60)[0] for worker in workers] == ["sold\n"] * 2
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(folder))  # type: ignore[no-untyped-call]  # as the library has it
    found = samples(registry)
    duration = "inventory_es_command_duration_seconds_count"
    assert found[f"{duration}{{command=ReserveStock,outcome=accepted}}"] == 7
    assert found[f"{duration}{{command=ReserveStock,outcome=rejected}}"] == 5
    assert found["inventory_es_command_errors_total{command=ReserveStock,error_type=insufficient_stock}"] == 5


def test_a_missing_extra_is_named() -> None:
    script = "import sys; sys.modules['prometheus_client'] = None; import inventory_es.telemetry.prometheus"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "ImportError: prometheus_client is not installed: pip install 'inventory_es[prometheus]'" in run.stderr
