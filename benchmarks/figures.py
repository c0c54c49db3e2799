"""Figures of a run's results. Uses only the standard library, because the plots' environment does not have our package."""

import math
import statistics
from collections.abc import Sequence
from typing import Any

Found = dict[str, Any]
"""The results as in ``results.json``."""


def figure(found: Found, contender: str, case: str, name: str = "per_second") -> float | None:
    """Return the median over the rounds; ``None`` if it was not measured."""
    values = each(found, contender, case, name)
    return statistics.median(values) if values else None


def each(found: Found, contender: str, case: str, name: str = "per_second") -> list[float]:
    """Return one value per round."""
    return [measure[name] for measure in found["rounds"].get(contender, {}).get(case, ()) if name in measure]


def alone(found: Found, contender: str, case: str, name: str) -> float | None:
    """Return a figure that only the engine has, measured once."""
    value: float | None = found["alone"].get(contender, {}).get(case, {}).get(name)
    return value


def names(found: Found, *, ours: bool, durable: bool) -> list[str]:
    """Return the contenders of a kind that were measured, in order."""
    kind = [one["name"] for one in found["contenders"] if one["is_ours"] == ours and one["is_durable"] == durable]
    return [name for name in kind if name in found["rounds"]]


def best_durable_peer(found: Found, case: str, *, barring: Sequence[str] = ()) -> tuple[str, float] | None:
    """Return the fastest peer that syncs before it acknowledges, except peers with one of these words in their names."""
    rates = [
        (rate, name)
        for name in names(found, ours=False, durable=True)
        if (rate := figure(found, name, case)) is not None and not any(word in name for word in barring)
    ]
    return (max(rates)[1], max(rates)[0]) if rates else None


AS_IT_COMES = ("cache", "lock")
"""Words in the names of peers that have a cache, or a lock of the host's own."""


def ratio(found: Found, contender: str, case: str, other: str, name: str = "p50_us") -> float | None:
    """Return the ratio of two cases of one contender: the median of the rounds' ratios, so that a slow round counts on both sides."""
    pairs = list(zip(each(found, contender, case, name), each(found, contender, other, name), strict=False))
    return statistics.median(one / two for one, two in pairs) if pairs else None


def spread(values: Sequence[float]) -> float:
    """Return the difference of the slowest and the fastest round, as a share of the median."""
    return (max(values) - min(values)) / statistics.median(values)


def growth(found: Found, contender: str, what: str, name: str) -> list[tuple[int, float]]:
    """Return the sizes, and the cost at each size."""
    prefix = f"W6 {what} "
    cases = found["alone"].get(contender, {})
    return sorted((int(case.removeprefix(prefix)), measure[name]) for case, measure in cases.items() if case.startswith(prefix))


def slope(points: Sequence[tuple[int, float]]) -> float:
    """Return the power of the size with which a cost grows: 0 is flat, 1 in proportion. Least squares on logarithms."""
    xs, ys = [math.log(size) for size, _ in points], [math.log(cost) for _, cost in points]
    return statistics.linear_regression(xs, ys).slope
