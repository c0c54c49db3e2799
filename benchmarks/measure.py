"""What one case tells: a rate and how long the calls took."""

import statistics
from collections.abc import Sequence

Measure = dict[str, float]
"""Names with their unit to figures: ``per_second``, ``p50_us``, ``p99_us``, ``calls``, …"""

Measures = dict[str, Measure]
"""By case: ``W1``, ``W3 64 callers``, …"""


def of_calls(waits: Sequence[float], seconds: float) -> Measure:
    """Of calls that took ``waits`` seconds each, all of them done in ``seconds``."""
    return {"per_second": len(waits) / seconds, "calls": len(waits), "p50_us": quantile(waits, 50), "p99_us": quantile(waits, 99)}


def quantile(waits: Sequence[float], percent: int) -> float:
    """In microseconds."""
    if len(waits) < 2:
        return waits[0] * 1e6
    return statistics.quantiles(waits, n=100, method="inclusive")[percent - 1] * 1e6
