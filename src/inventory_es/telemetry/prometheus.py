"""Prometheus: the metrics of the catalogue in a registry of ``prometheus_client``.

With several worker processes, set ``PROMETHEUS_MULTIPROC_DIR`` to an empty folder before the first import of ``prometheus_client``, and
collect with its ``MultiProcessCollector``, as its documentation says. The metrics need nothing more.
"""

from collections.abc import Callable, Sequence

from inventory_es.ports import Clock
from inventory_es.telemetry.catalogue import METRICS, Metric
from inventory_es.telemetry.metrics import Metrics

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
except ImportError as missing:
    msg = "prometheus_client is not installed: pip install 'inventory_es[prometheus]'"
    raise ImportError(msg, name=missing.name) from missing

__all__ = ["prometheus_metrics", "prometheus_name"]


def prometheus_name(metric: Metric) -> str:
    """Return the name of a metric in Prometheus, without the ``_total`` of a counter and the suffixes of a histogram."""
    return metric.name.replace(".", "_") + ("_seconds" if metric.unit == "s" else "")


class _Instruments:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._families = {one.name: _family(one, registry) for one in METRICS.values()}

    def bind(self, metric: Metric, values: Sequence[str], /) -> Callable[[float], object]:
        """Return the function that takes a value."""
        family = self._families[metric.name]
        child = family.labels(*values) if values else family
        match child:
            case Counter():
                return child.inc
            case Gauge():
                return child.set
            case Histogram():
                return child.observe


def _family(metric: Metric, registry: CollectorRegistry) -> Counter | Gauge | Histogram:
    name = prometheus_name(metric)
    labels = [one.removeprefix("inventory_es.").replace(".", "_") for one in metric.attributes]
    match metric.kind:
        case "counter":
            return Counter(name, metric.description, labels, registry=registry)
        case "gauge":
            return Gauge(name, metric.description, labels, registry=registry, multiprocess_mode=metric.several)
        case "histogram":
            return Histogram(name, metric.description, labels, registry=registry, buckets=metric.bounds)


def prometheus_metrics(registry: CollectorRegistry | None = None, *, clock: Clock | None = None) -> Metrics:
    """Return an observer whose metrics are in a registry. A registry takes one of them.

    Args:
        registry: the default registry of ``prometheus_client`` by default.
        clock: as :class:`Metrics`.

    Raises:
        ValueError: the registry has these metrics already.
    """
    return Metrics(_Instruments(REGISTRY if registry is None else registry), clock=clock)
