"""Telemetry: observers that feed OpenTelemetry, Prometheus and structured logs.

Nothing optional is imported here. ``inventory_es.telemetry.otel`` needs the extra ``otel``, ``inventory_es.telemetry.prometheus`` the
extra ``prometheus``, and ``inventory_es.telemetry.logs`` nothing.
"""

from inventory_es.telemetry.catalogue import LOGS, METRICS, SPANS, Log, Metric, Span
from inventory_es.telemetry.metrics import Metrics

__all__ = ["LOGS", "METRICS", "SPANS", "Log", "Metric", "Metrics", "Span"]
