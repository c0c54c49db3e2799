"""How many events arrive, second by second."""

from collections import Counter

_STEPS = "▁▂▃▄▅▆▇█"
_SECONDS = 30


class EventRate:
    """Arrivals of the last half minute.

    Args:
        now: the time at which counting begins, in seconds of any clock that never goes back.
    """

    def __init__(self, now: float) -> None:
        self._began = now
        self._counts: Counter[int] = Counter()

    def add(self, count: int, now: float) -> None:
        """So many have arrived now."""
        self._counts[int(now)] += count
        for second in [one for one in self._counts if one < int(now) - _SECONDS]:
            del self._counts[second]

    def per_second(self, now: float) -> float:
        """Over the last five whole seconds, or the time since counting began."""
        seconds = min(5, int(now) - int(self._began))
        return sum(self._counts[int(now) - back] for back in range(1, seconds + 1)) / seconds if seconds else 0.0

    def sparkline(self, now: float) -> str:
        """One character for each of the last 30 whole seconds, the newest last; blank where nothing arrived."""
        counts = [self._counts[int(now) - back] for back in range(_SECONDS, 0, -1)]
        most = max(counts) or 1
        return "".join(_STEPS[(count * (len(_STEPS) - 1)) // most] if count else " " for count in counts)
