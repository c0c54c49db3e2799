"""Reading figures out of the results of a run. Only the standard library: the plots' environment has nothing of ours."""

import math
import statistics
from collections.abc import Sequence
from typing import Any

Found = dict[str, Any]
"""The results as they stand in ``results.json``."""


def figure(found: Found, contender: str, case: str, name: str = "per_second") -> float | None:
    """The median over the rounds; ``None`` where it was not measured."""
    values = each(found, contender, case, name)
    return statistics.median(values) if values else None


def each(found: Found, contender: str, case: str, name: str = "per_second") -> list[float]:
    """One value a round."""
    return [measure[name] for measure in found["rounds"].get(contender, {}).get(case, ()) if name in measure]


def alone(found: Found, contender: str, case: str, name: str) -> float | None:
    """A figure that only the engine has, measured once."""
    value: float | None = found["alone"].get(contender, {}).get(case, {}).get(name)
    return value


def names(found: Found, *, ours: bool, durable: bool) -> list[str]:
    """The contenders of a kind that were measured, in order."""
    kind = [one["name"] for one in found["contenders"] if one["is_ours"] == ours and one["is_durable"] == durable]
    return [name for name in kind if name in found["rounds"]]


def best_durable_peer(found: Found, case: str, *, barring: Sequence[str] = ()) -> tuple[str, float] | None:
    """The fastest peer that syncs what it acknowledges, but for those with one of these words in their names."""
    rates = [
        (rate, name)
        for name in names(found, ours=False, durable=True)
        if (rate := figure(found, name, case)) is not None and not any(word in name for word in barring)
    ]
    return (max(rates)[1], max(rates)[0]) if rates else None


AS_IT_COMES = ("cache", "lock")
"""What a peer has not that is neither cached nor helped with a lock of the host's own."""


def ratio(found: Found, contender: str, case: str, other: str, name: str = "p50_us") -> float | None:
    """A case to another of the same contender: the median of the rounds' own ratios, so that a slow round counts on both sides."""
    pairs = list(zip(each(found, contender, case, name), each(found, contender, other, name), strict=False))
    return statistics.median(one / two for one, two in pairs) if pairs else None


def spread(values: Sequence[float]) -> float:
    """From the slowest to the fastest round, as a share of the median."""
    return (max(values) - min(values)) / statistics.median(values)


def growth(found: Found, contender: str, what: str, name: str) -> list[tuple[int, float]]:
    """Sizes and what something costs there."""
    prefix = f"W6 {what} "
    cases = found["alone"].get(contender, {})
    return sorted((int(case.removeprefix(prefix)), measure[name]) for case, measure in cases.items() if case.startswith(prefix))


def slope(points: Sequence[tuple[int, float]]) -> float:
    """The power of size that a cost grows with: 0 is flat, 1 in proportion. Least squares on logarithms."""
    xs, ys = [math.log(size) for size, _ in points], [math.log(cost) for _, cost in points]
    return statistics.linear_regression(xs, ys).slope
