"""Prometheus: the metrics of the catalogue in a registry of ``prometheus_client``.

With several worker processes, set ``PROMETHEUS_MULTIPROC_DIR`` to an empty folder before the first import of ``prometheus_client``, and
collect with its ``MultiProcessCollector``, as its documentation says. The metrics need nothing more.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, pairwise
from math import inf
from os import environ
from threading import Lock

from inventory_es.ports import Clock
from inventory_es.telemetry.catalogue import METRICS, Metric
from inventory_es.telemetry.metrics import Metrics

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
    from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
    from prometheus_client.registry import Collector
    from prometheus_client.utils import floatToGoString
except ImportError as _missing:
    _msg = "prometheus_client is not installed: pip install 'inventory_es[prometheus]'"
    raise ImportError(_msg, name=_missing.name) from _missing

__all__ = ["prometheus_metrics", "prometheus_name"]

_WAITING = 256
"""So many observations are counted together."""


def prometheus_name(metric: Metric) -> str:
    """Return the name of a metric in Prometheus, without the ``_total`` of a counter and the suffixes of a histogram."""
    return metric.name.replace(".", "_") + ("_seconds" if metric.unit == "s" else "")


class _Buckets:
    """The observations of a histogram with certain labels, in plain numbers. A counter has no bounds, and uses the total.

    Observations wait until there are many of them, or a scrape comes: counted together, they cost a third.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds, self._lock = bounds, Lock()
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0
        self._waiting: list[float] = []

    def adder(self) -> Callable[[float], None]:
        """Return the function that takes an observation."""
        waiting, count = self._waiting, self._count

        def add(value: float) -> None:
            waiting.append(value)
            if len(waiting) >= _WAITING:
                count()

        return add

    def read(self) -> tuple[Sequence[int], float]:
        """Return how many observations each bucket has, and their total."""
        self._count()
        return tuple(self._counts), self._total

    def _count(self) -> None:
        with self._lock:
            values = self._waiting[:]
            del self._waiting[: len(values)]  # others may have added behind them
            values.sort()
            ends = [bisect_right(values, bound) for bound in self._bounds] + [len(values)]
            for bucket, (start, end) in enumerate(pairwise([0, *ends])):
                self._counts[bucket] += end - start
            self._total += sum(values)


class _Plain(Collector):
    """A counter or a histogram that a scrape reads from plain numbers: an observation costs a tenth of that of the library."""

    def __init__(self, metric: Metric, labels: Sequence[str]) -> None:
        self._metric, self._labels = metric, labels
        self._les = [floatToGoString(bound) for bound in (*metric.bounds, inf)]  # type: ignore[no-untyped-call]  # as the library has it
        self._children: dict[tuple[str, ...], _Buckets] = {}
        if not labels:
            self.bind(())  # shown as 0 from the start

    def bind(self, values: tuple[str, ...]) -> Callable[[float], object]:
        return self._children.setdefault(values, _Buckets(self._metric.bounds)).adder()

    def describe(self) -> Iterable[CounterMetricFamily | HistogramMetricFamily]:
        family = HistogramMetricFamily if self._metric.kind == "histogram" else CounterMetricFamily
        yield family(prometheus_name(self._metric), self._metric.description, labels=self._labels)

    def collect(self) -> Iterable[CounterMetricFamily | HistogramMetricFamily]:
        for family in self.describe():
            for values, child in tuple(self._children.items()):
                counts, total = child.read()
                if isinstance(family, CounterMetricFamily):
                    family.add_metric(values, total)
                else:
                    buckets = list(zip(self._les, map(float, accumulate(counts)), strict=True))
                    family.add_metric(values, buckets, total)
            yield family


class _Instruments:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._families = {one.name: _family(one, registry) for one in METRICS.values()}

    def bind(self, metric: Metric, values: Sequence[str], /) -> Callable[[float], object]:
        family = self._families[metric.name]
        if isinstance(family, _Plain):
            return family.bind(tuple(values))
        child = family.labels(*values) if values else family
        match child:
            case Counter():
                return child.inc
            case Gauge():
                return child.set
            case _:
                return child.observe


def _family(metric: Metric, registry: CollectorRegistry) -> Counter | Gauge | Histogram | _Plain:
    name = prometheus_name(metric)
    labels = [one.removeprefix("inventory_es.").replace(".", "_") for one in metric.attributes]
    several = "PROMETHEUS_MULTIPROC_DIR" in environ
    match metric.kind:
        case "gauge":
            return Gauge(name, metric.description, labels, registry=registry, multiprocess_mode=metric.several)
        case "counter" if several:
            return Counter(name, metric.description, labels, registry=registry)
        case "histogram" if several:
            return Histogram(name, metric.description, labels, registry=registry, buckets=metric.bounds)
        case _:
            plain = _Plain(metric, labels)
            registry.register(plain)
            return plain


def prometheus_metrics(registry: CollectorRegistry | None = None, *, clock: Clock | None = None) -> Metrics:
    """Return an observer whose metrics are in a registry. A registry takes one of them.

    Args:
        registry: the default registry of ``prometheus_client`` by default.
        clock: as :class:`Metrics`.

    Raises:
        ValueError: the registry has these metrics already.
    """
    return Metrics(_Instruments(REGISTRY if registry is None else registry), clock=clock)
