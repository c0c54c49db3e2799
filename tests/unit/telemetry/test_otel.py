"""Spans and metrics in the SDK of OpenTelemetry, with its exporters in memory."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

import anyio
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, StatusCode, TraceFlags, use_span

from inventory_es import InsufficientStockError, command_context, open_inventory
from inventory_es.adapters.memory import MemoryEventBus, MemoryEventStore
from inventory_es.commands import AddStock
from inventory_es.domain.identifiers import InventoryId
from inventory_es.errors import StoreUnavailableError
from inventory_es.telemetry import METRICS, SPANS
from inventory_es.telemetry.otel import Tracing, otel_metrics
from inventory_es.testing import ManualClock

HOUR = timedelta(hours=1)
TRACE = f"00-{'a' * 32}-{'b' * 16}-01"


class Spans:
    """A provider, and the spans that it has exported."""

    def __init__(self) -> None:
        self.provider = TracerProvider()
        self._exporter = InMemorySpanExporter()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    def named(self, name: str) -> Sequence[ReadableSpan]:
        return [one for one in self._exporter.get_finished_spans() if one.name == name]

    def __len__(self) -> int:
        return len(self._exporter.get_finished_spans())


def context_of(span: ReadableSpan) -> SpanContext:
    context = span.get_span_context()
    assert isinstance(context, SpanContext)
    return context


def attributes_of(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def text_of(span: ReadableSpan) -> str:
    return f"00-{context_of(span).trace_id:032x}-{context_of(span).span_id:016x}-{context_of(span).trace_flags:02x}"


def test_a_command_and_its_append_are_one_trace_that_its_events_record(backend: str) -> None:
    spans = Spans()

    async def body() -> Sequence[str]:
        async with open_inventory("memory:", observers=[Tracing(spans.provider)]) as inventory:
            with command_context(correlation_id="order-7"):
                await inventory.add_stock("espresso", "berlin", 3, command_id="delivery-1")
            return [entry.metadata.extra["traceparent"] async for entry in inventory.history("espresso", "berlin")]

    recorded = anyio.run(body, backend=backend)
    (command,), (append,) = spans.named("AddStock"), spans.named("append")
    assert recorded == [text_of(command)]
    assert (command.parent, command.kind, append.kind) == (None, SpanKind.INTERNAL, SpanKind.CLIENT)
    assert append.parent is not None
    assert append.parent.span_id == context_of(command).span_id
    assert context_of(append).trace_id == context_of(command).trace_id
    assert attributes_of(command) == {
        "inventory_es.command": "AddStock",
        "inventory_es.command.id": "delivery-1",
        "inventory_es.product.id": "espresso",
        "inventory_es.store.id": "berlin",
        "inventory_es.quantity": 3,
        "inventory_es.outcome": "accepted",
        "inventory_es.attempts": 1,
        "inventory_es.batch.size": 1,
        "inventory_es.version": 1,
        "inventory_es.correlation.id": "order-7",
    }
    assert attributes_of(append) == {"db.system.name": "inventory_es.memory", "db.operation.name": "append", "inventory_es.events": 1}
    assert append.start_time is not None
    assert append.end_time is not None
    assert append.start_time <= append.end_time


def test_a_request_is_the_parent_of_its_commands(backend: str) -> None:
    spans = Spans()

    async def body() -> None:
        async with open_inventory("memory:", observers=[Tracing(spans.provider, sample=0.0)]) as inventory:
            await inventory.add_stock("espresso", "berlin", 3)  # no parent, and none is drawn
            with command_context(traceparent=TRACE):
                await inventory.add_stock("grinder", "berlin", 3)
            with spans.provider.get_tracer("host").start_as_current_span("request"):
                await inventory.add_stock("kettle", "berlin", 3)

    anyio.run(body, backend=backend)
    remote, local = spans.named("AddStock")
    (request,) = spans.named("request")
    assert remote.parent is not None
    assert local.parent is not None
    assert f"{remote.parent.trace_id:x}-{remote.parent.span_id:x}" == f"{'a' * 32}-{'b' * 16}"
    assert local.parent.span_id == context_of(request).span_id


def test_a_request_that_is_not_sampled_has_no_spans_and_costs_no_metadata(backend: str) -> None:
    spans = Spans()

    async def body() -> Sequence[Mapping[str, Any]]:
        async with open_inventory("memory:", observers=[Tracing(spans.provider)]) as inventory:
            with use_span(NonRecordingSpan(SpanContext(1, 2, is_remote=True, trace_flags=TraceFlags(0)))):
                await inventory.add_stock("espresso", "berlin", 3)
            with command_context(traceparent=f"{TRACE[:-1]}0"):
                await inventory.add_stock("espresso", "berlin", 3)
            return [entry.metadata.extra async for entry in inventory.history("espresso", "berlin")]

    assert anyio.run(body, backend=backend) == [{}, {"traceparent": f"{TRACE[:-1]}0"}]
    assert len(spans) == 0


def test_the_sample_is_drawn_before_the_sdk(backend: str) -> None:
    spans = Spans()
    draws = iter([0.24, 0.25, 0.9, 0.0])

    async def body() -> None:
        async with open_inventory("memory:", observers=[Tracing(spans.provider, sample=0.25, chance=lambda: next(draws))]) as inventory:
            for product in ("a", "b", "c", "d"):
                await inventory.add_stock(product, "berlin", 1)

    anyio.run(body, backend=backend)
    assert [attributes_of(one)["inventory_es.product.id"] for one in spans.named("AddStock")] == ["a", "d"]
    with pytest.raises(ValueError, match=r"sample must be a number from 0 to 1, not 1\.5"):
        Tracing(sample=1.5)


def test_commands_of_one_commit_are_linked_to_it(backend: str) -> None:
    spans = Spans()

    async def body() -> None:
        async with open_inventory("memory:", observers=[Tracing(spans.provider)]) as inventory:
            place = InventoryId("espresso", "berlin")
            await inventory.execute_all([AddStock(inventory_id=place, command_id=f"delivery-{one}", quantity=1) for one in range(3)])

    anyio.run(body, backend=backend)
    commands, (append,) = spans.named("AddStock"), spans.named("append")
    assert append.parent is not None
    assert {append.parent.span_id, *(link.context.span_id for link in append.links)} == {context_of(one).span_id for one in commands}
    assert len(append.links) == 2
    assert {attributes_of(one)["inventory_es.command.id"] for one in commands} == {"delivery-0", "delivery-1", "delivery-2"}


def test_a_rejection_is_an_answer_and_a_fault_is_an_error(backend: str) -> None:
    spans = Spans()

    class Away(MemoryEventStore):
        async def append(self, writes: Any, /) -> Any:
            raise StoreUnavailableError(store="shop", reason="it is away")

    async def body() -> None:
        tracing = Tracing(spans.provider)
        async with open_inventory("memory:", observers=[tracing]) as inventory:
            with suppress(InsufficientStockError):
                await inventory.reserve("espresso", "berlin", 1, ttl=HOUR)
        async with open_inventory(Away(), observers=[tracing]) as inventory:
            with suppress(StoreUnavailableError):
                await inventory.add_stock("espresso", "berlin", 1)

    anyio.run(body, backend=backend)
    (rejected,), (failed,) = spans.named("ReserveStock"), spans.named("AddStock")
    assert (rejected.status.status_code, attributes_of(rejected)["error.type"]) == (StatusCode.UNSET, "insufficient_stock")
    assert (failed.status.status_code, attributes_of(failed)["error.type"]) == (StatusCode.ERROR, "store_unavailable")
    appends = spans.named("append")
    assert {one.status.status_code for one in appends} == {StatusCode.ERROR}
    assert {attributes_of(one)["error.type"] for one in appends} == {"store_unavailable"}


def test_a_trace_goes_through_the_log_to_projections_the_bus_and_its_consumers(backend: str) -> None:
    spans = Spans()

    async def body() -> None:
        clock = ManualClock()
        tracing, bus = Tracing(spans.provider, sample=0.0), MemoryEventBus(clock=clock)
        async with (
            open_inventory("memory:", read_models="memory:", clock=clock, bus=bus, observers=[tracing]) as inventory,
            bus.subscribe("mailer") as deliveries,
        ):
            with spans.provider.get_tracer("host").start_as_current_span("request"):
                await inventory.add_stock("espresso", "berlin", 3)
            await inventory.add_stock("untraced", "berlin", 3)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(lambda: inventory.followers.run(on_failure="stop"))
                async for delivery in deliveries:
                    is_last = delivery.event.stream.parts[0] == "untraced"
                    with suppress(ZeroDivisionError), tracing.delivery(delivery, group="mailer", bus="inventory_es.memory") as context:
                        assert context.causation_id == str(delivery.event.event_id)
                        await inventory.add_stock(f"sample of {delivery.event.stream.parts[0]}", "berlin", 1)
                        if not is_last:
                            raise ZeroDivisionError
                    await delivery.ack()
                    if is_last:
                        break
                inventory.followers.stop()
            await inventory.followers.catch_up(on_failure="stop")

    anyio.run(body, backend=backend)
    (request,), (publish,), (process,) = spans.named("request"), spans.named("publish relay")[:1], spans.named("process mailer")
    first, caused = spans.named("AddStock")
    steps = spans.named("project ledger v1")
    assert {context_of(one).trace_id for one in (first, publish, process, caused, *steps)} == {context_of(request).trace_id}
    assert (first.parent and first.parent.span_id) == context_of(request).span_id
    for one in (publish, process, steps[0]):
        assert (one.parent and one.parent.span_id) == context_of(first).span_id
    assert (caused.parent and caused.parent.span_id) == context_of(process).span_id
    assert (publish.kind, process.kind, steps[0].kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER, SpanKind.CONSUMER)
    assert attributes_of(publish) | {"messaging.batch.message_count": 0} == {
        "messaging.system": "inventory_es.memory",
        "messaging.operation.name": "publish",
        "messaging.operation.type": "send",
        "messaging.destination.name": "relay",
        "messaging.batch.message_count": 0,
    }
    assert (process.status.status_code, attributes_of(process)["error.type"]) == (StatusCode.ERROR, "ZeroDivisionError")
    assert attributes_of(process)["inventory_es.stream"] == "inventory-espresso-berlin"
    known = {key for span in SPANS.values() for key in span.attributes}
    assert {key for one in (first, publish, process, caused, *steps) for key in attributes_of(one)} <= known


def points(reader: InMemoryMetricReader) -> Mapping[str, tuple[Any, Sequence[Any]]]:
    """The metrics of a collection with their data points, by name."""
    data = reader.get_metrics_data()
    assert data is not None
    return {
        one.name: (one, list(one.data.data_points))
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for one in scope.metrics
    }


def test_metrics_have_the_names_units_and_bounds_of_the_catalogue(backend: str) -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])

    async def body() -> None:
        async with open_inventory("memory:", read_models="memory:", observers=[metrics := otel_metrics(provider)]) as inventory:
            await inventory.add_stock("espresso", "berlin", 1)
            for _ in range(2):
                with suppress(InsufficientStockError):
                    await inventory.reserve("espresso", "berlin", 1, ttl=HOUR)
            await inventory.followers.catch_up(on_failure="stop")
            metrics.show_projections(await inventory.followers.status())
            await metrics.show_reservations(inventory)

    anyio.run(body, backend=backend)
    found = points(reader)
    for name, (one, _) in found.items():
        assert (one.unit, one.description) == (METRICS[name].unit, METRICS[name].description)
    by_outcome: dict[object, HistogramDataPoint] = {
        one.attributes["inventory_es.outcome"]: one for one in found["inventory_es.command.duration"][1]
    }
    assert {outcome: one.count for outcome, one in by_outcome.items()} == {"accepted": 1, "rejected": 1}
    assert tuple(by_outcome["rejected"].explicit_bounds) == METRICS["inventory_es.command.duration"].bounds
    (error,) = found["inventory_es.command.errors"][1]
    assert (error.value, dict(error.attributes)) == (1, {"inventory_es.command": "ReserveStock", "error.type": "insufficient_stock"})
    (call,) = found["db.client.operation.duration"][1]
    assert dict(call.attributes) == {"db.system.name": "inventory_es.memory", "db.operation.name": "append"}
    assert {one.attributes["inventory_es.projection"]: one.value for one in found["inventory_es.projection.lag"][1]}["ledger v1"] == 0
    assert [one.value for one in found["inventory_es.reservations.open"][1]] == [1]
    provider.shutdown()


def test_without_an_sdk_nothing_is_recorded(backend: str) -> None:
    async def body() -> Sequence[Mapping[str, Any]]:
        async with open_inventory("memory:", observers=[Tracing(), otel_metrics()]) as inventory:
            await inventory.add_stock("espresso", "berlin", 1)
            return [entry.metadata.extra async for entry in inventory.history("espresso", "berlin")]

    assert anyio.run(body, backend=backend) == [{}]


def test_a_missing_extra_is_named() -> None:
    script = "import sys; sys.modules['opentelemetry'] = None; import inventory_es.telemetry.otel"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "ImportError: opentelemetry-api is not installed: pip install 'inventory_es[otel]'" in run.stderr


def test_a_second_observer_leaves_a_bounded_number_of_open_spans(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inventory_es.telemetry.otel._OPEN", 3)
    first, second = Spans(), Spans()
    tracing = Tracing(first.provider)

    async def body() -> None:
        async with open_inventory("memory:", observers=[tracing, Tracing(second.provider)]) as inventory:
            for _ in range(5):
                await inventory.add_stock("espresso", "berlin", 1)

    anyio.run(body, backend=backend)
    assert len(second.named("AddStock")) == 5
    assert len(tracing._commands) == 3
