"""The measures of one case: a rate, and the times of the calls."""

import statistics
from collections.abc import Sequence

Measure = dict[str, float]
"""Figures by name and unit: ``per_second``, ``p50_us``, ``p99_us``, ``calls``, …"""

Measures = dict[str, Measure]
"""Measures by case: ``W1``, ``W3 64 callers``, …"""


def of_calls(waits: Sequence[float], seconds: float) -> Measure:
    """Return the measures of calls that took ``waits`` seconds each, and ``seconds`` together."""
    return {"per_second": len(waits) / seconds, "calls": len(waits), "p50_us": quantile(waits, 50), "p99_us": quantile(waits, 99)}


def quantile(waits: Sequence[float], percent: int) -> float:
    """Return a quantile in microseconds."""
    if len(waits) < 2:
        return waits[0] * 1e6
    return statistics.quantiles(waits, n=100, method="inclusive")[percent - 1] * 1e6
