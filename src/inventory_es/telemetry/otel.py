"""OpenTelemetry: spans that are linked across the log, and the metrics of the catalogue.

A command's span begins before the command, and its context goes into the metadata of the events, as ``traceparent``. Later work on these
events has spans in the same trace: appends, steps of projections, calls of relays, deliveries. Work on events of several commands is
part of the trace of the first one, and linked to the others.
"""

import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from random import random  # noqa: TID251  # the default of a parameter; a sample guards no secret, and is drawn for every command
from typing import Any

import attrs

from inventory_es.adapters.system import SystemClock
from inventory_es.application.context import CommandContext, command_context
from inventory_es.application.observers import AppendFinished, CommandFinished, CommandStarted, ProjectionAdvanced, PublishFinished
from inventory_es.ports import Clock, NewEvent, RecordedEvent
from inventory_es.ports.event_bus import Delivery
from inventory_es.telemetry import catalogue as c
from inventory_es.telemetry.catalogue import METRICS, Metric
from inventory_es.telemetry.metrics import Metrics, error_of, system_of

try:
    from opentelemetry import metrics, trace
    from opentelemetry.context import Context, get_current
    from opentelemetry.trace import INVALID_SPAN_CONTEXT, Link, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags
except ImportError as _missing:
    _msg = "opentelemetry-api is not installed: pip install 'inventory_es[otel]'"
    raise ImportError(_msg, name=_missing.name) from _missing

__all__ = ["Tracing", "otel_metrics"]

_NAME = "inventory_es"
_TRACEPARENT = re.compile(rb'"traceparent"\s*:\s*"([0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2})"')
_LINKS = 128
"""The most links of a span, as the SDK has it by default."""
_OPEN = 10_000
"""The most commands with an open span. A second observer that replaces the context lets those of the first one never end."""


class Tracing:
    """An observer that makes spans. Give one to ``open_inventory``, and the same one to runners and relays that you make yourself.

    A command is traced if the current span is, or else the ``traceparent`` of its context. Without either, ``sample`` draws before the SDK
    is called, because a span that the SDK draws costs many times more. Leave the SDK's sampler as it is, based on the parent.

    Args:
        provider: of tracers; the global one by default.
        sample: the part of commands without a parent that is traced, from 0 to 1.
        chance: a number from 0 up to, not including, 1.
        clock: for the times of spans.

    Raises:
        ValueError: ``sample`` out of range.
    """

    def __init__(
        self,
        provider: trace.TracerProvider | None = None,
        *,
        sample: float = 1.0,
        chance: Callable[[], float] = random,
        clock: Clock | None = None,
    ) -> None:
        if not 0 <= sample <= 1:
            msg = f"sample must be a number from 0 to 1, not {sample}"
            raise ValueError(msg)
        self._tracer = trace.get_tracer(_NAME, tracer_provider=provider)
        self._sample = sample
        self._chance = chance
        self._clock = SystemClock() if clock is None else clock
        self._commands: OrderedDict[str, Span] = OrderedDict()

    def command_started(self, record: CommandStarted) -> CommandContext | None:
        """Begin the span of a command, if it is traced, and put it into the context of the command."""
        command, context = record
        if context.traceparent is None and not get_current():  # an empty context has no span: most commands that are not traced end here
            if self._chance() >= self._sample:
                return None
            parent = INVALID_SPAN_CONTEXT
        else:
            parent = trace.get_current_span().get_span_context()
            if not parent.is_valid and context.traceparent is not None:
                parent = _parse(context.traceparent)
            if not (parent.trace_flags.sampled if parent.is_valid else self._chance() < self._sample):
                return None
        span = self._tracer.start_span(
            type(command).__name__,
            _within(parent),
            SpanKind.INTERNAL,
            {
                c.COMMAND: type(command).__name__,
                c.COMMAND_ID: command.command_id,
                c.PRODUCT: command.inventory_id.product_id,
                c.STORE: command.inventory_id.store_id,
            },
        )
        if not span.is_recording():
            return None
        text = _format(span.get_span_context())
        self._commands[text] = span
        if len(self._commands) > _OPEN:
            self._commands.popitem(last=False)
        return attrs.evolve(context, traceparent=text)

    def command_finished(self, record: CommandFinished) -> None:
        """End the span of a command."""
        traceparent = record.context.traceparent if self._commands else None  # most often no span is open
        span = None if traceparent is None else self._commands.pop(traceparent, None)
        if span is None:
            return
        known = {
            c.QUANTITY: record.quantity,
            c.OUTCOME: record.outcome,
            c.ATTEMPTS: record.attempts,
            c.BATCH_SIZE: record.batch_size,
            c.VERSION: record.version,
            c.CORRELATION: record.context.correlation_id,
            c.ERROR_TYPE: record.error,
        }
        span.set_attributes({key: value for key, value in known.items() if value is not None})
        if record.outcome == "failed":
            span.set_status(Status(StatusCode.ERROR))
        span.end()

    def append_finished(self, record: AppendFinished) -> None:
        """Make the span of a commit that carried traced commands."""
        batch = {c.DB_BATCH_SIZE: record.groups} if record.groups > 1 else {}  # as the conventions have it
        attributes = {c.DB_SYSTEM: system_of(record.store), c.DB_OPERATION: "append", c.EVENTS: record.events, **batch}
        self._add_span("append", SpanKind.CLIENT, record.new_events, record.seconds, record.error, attributes)

    def projection_advanced(self, record: ProjectionAdvanced) -> None:
        """Make the span of a step that applied events of traced commands."""
        attributes = {c.PROJECTION: record.projection, c.POSITION: record.position, c.EVENTS: record.events}
        error = None if record.error is None else "projection_failed"
        self._add_span(f"project {record.projection}", SpanKind.CONSUMER, record.recorded, record.seconds, error, attributes)

    def publish_finished(self, record: PublishFinished) -> None:
        """Make the span of a call to the bus with events of traced commands."""
        attributes = _messaging(record.bus, "publish", "send") | {
            c.MESSAGING_DESTINATION: record.relay,
            c.MESSAGING_BATCH_SIZE: len(record.recorded),
        }
        self._add_span(f"publish {record.relay}", SpanKind.PRODUCER, record.recorded, record.seconds, record.error, attributes)

    @contextmanager
    def delivery(self, delivery: Delivery, *, group: str, bus: str) -> Iterator[CommandContext]:
        """Trace the handling of a delivery by the block. Commands in it are caused by its event, and are part of its trace.

        Args:
            delivery: what is handled.
            group: of the consumer.
            bus: the messaging system, such as ``inventory_es.file``.
        """
        event = delivery.event
        context = {"causation_id": str(event.event_id)}
        parents = _traces((event,))
        if not parents:
            with command_context(**context) as inside:
                yield inside
            return
        attributes = _messaging(bus, "process", "process") | {
            c.MESSAGING_GROUP: group,
            c.MESSAGING_ID: str(event.event_id),
            c.STREAM: event.stream.text,
            c.VERSION: event.version,
        }
        span = self._tracer.start_span(f"process {group}", _within(parents[0]), SpanKind.CONSUMER, attributes)
        with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            try:
                with command_context(traceparent=_format(span.get_span_context()), **context) as inside:
                    yield inside
            except BaseException as problem:
                _fail(span, error_of(problem))
                raise

    def _add_span(
        self,
        name: str,
        kind: SpanKind,
        events: Sequence[NewEvent | RecordedEvent],
        seconds: float,
        error: str | None,
        attributes: Mapping[str, Any],
    ) -> None:
        parents = _traces(events)
        if not parents:
            return
        end = int(self._clock.now().timestamp() * 1_000_000) * 1_000
        links = [Link(one) for one in parents[1 : _LINKS + 1]]
        start = end - int(seconds * 1_000_000_000)
        span = self._tracer.start_span(name, _within(parents[0]), kind, attributes, links, start)
        if error is not None:
            _fail(span, error)
        span.end(end)


def _fail(span: Span, error: str) -> None:
    span.set_attribute(c.ERROR_TYPE, error)
    span.set_status(Status(StatusCode.ERROR))


def _messaging(bus: str, operation: str, kind: str) -> dict[str, Any]:
    return {c.MESSAGING_SYSTEM: system_of(bus), c.MESSAGING_OPERATION: operation, c.MESSAGING_TYPE: kind}


def _traces(events: Sequence[NewEvent | RecordedEvent]) -> list[SpanContext]:
    """Return the sampled trace contexts of events, each once, in their order."""
    metadata = b"\n".join([event.metadata for event in events])
    found = _TRACEPARENT.findall(metadata) if b'"traceparent"' in metadata else ()  # one search for all, since each costs a lot to begin
    parsed = [_parse(one.decode()) for one in dict.fromkeys(found)]
    return [one for one in parsed if one.is_valid and one.trace_flags.sampled]


def _parse(traceparent: str) -> SpanContext:
    _, trace_id, span_id, flags = traceparent.split("-")
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))


def _format(context: SpanContext) -> str:
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def _within(parent: SpanContext) -> Context:
    """Return the context of a child of ``parent``, or of a root."""
    return trace.set_span_in_context(trace.NonRecordingSpan(parent), Context()) if parent.is_valid else Context()


class _Instruments:
    def __init__(self, meter: metrics.Meter) -> None:
        self._meter = meter
        self._instrument = lru_cache(maxsize=None)(self._make)

    def bind(self, metric: Metric, values: Sequence[str], /) -> Callable[[float], object]:
        attributes = {key: value for key, value in zip(metric.attributes, values, strict=True) if value}
        take = self._instrument(metric.name)
        return lambda value: take(value, attributes)

    def _make(self, name: str) -> Callable[[float, Mapping[str, str]], object]:
        metric = METRICS[name]
        match metric.kind:
            case "counter":
                return self._meter.create_counter(name, metric.unit, metric.description).add
            case "gauge":
                return self._meter.create_gauge(name, metric.unit, metric.description).set
            case "histogram":
                bounds = list(metric.bounds)
                return self._meter.create_histogram(
                    name, metric.unit, metric.description, explicit_bucket_boundaries_advisory=bounds
                ).record


def otel_metrics(provider: metrics.MeterProvider | None = None, *, clock: Clock | None = None) -> Metrics:
    """Return an observer whose metrics go to OpenTelemetry.

    Args:
        provider: of meters; the global one by default.
        clock: as :class:`~inventory_es.telemetry.Metrics`.
    """
    return Metrics(_Instruments(metrics.get_meter(_NAME, meter_provider=provider)), clock=clock)
