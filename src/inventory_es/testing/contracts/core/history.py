"""The operations of a case, in order, in the words of the failure report."""

from collections import deque
from collections.abc import Iterator, Sequence

import attrs

_SHOWN_FIRST = 3
_SHOWN_LAST = 9
_KEPT_FIRST = 200
_KEPT_LAST = 2_000
_LONGEST = 120
_LONGEST_ROUND = 4
_FEWEST_ROUNDS = 3


@attrs.define(eq=False)
class Entry:
    """One operation.

    Attributes:
        number: its number among the operations of the run, starting at 1.
        operation: the call (``append x@0 [a b c]``).
        outcome: the answer (``3``, ``ConcurrencyError(actual=3)``); ``None`` while it runs.
    """

    number: int
    operation: str
    outcome: str | None = None

    @property
    def text(self) -> str:
        """The operation and its answer, without the number."""
        outcome = f" -> {_cut(self.outcome)}" if self.outcome is not None else " (never ended)"
        return f"{_cut(self.operation)}{outcome}"

    def __str__(self) -> str:
        return f"#{self.number} {self.text}"


@attrs.define
class History:
    """The operations of one run, in the order in which they began. Only the first and the last ones are kept."""

    _first: list[Entry] = attrs.field(factory=list[Entry])
    _last: deque[Entry] = attrs.field(factory=lambda: deque[Entry](maxlen=_KEPT_LAST))
    _count: int = 0
    _now: int = 0

    @property
    def entries(self) -> Sequence[Entry]:
        """The operations that are kept."""
        return [*self._first, *self._last]

    def begin(self, operation: str) -> Entry:
        """Note that an operation begins."""
        self._count += 1
        entry = Entry(self._count, operation)
        if self._count <= _KEPT_FIRST:
            self._first.append(entry)
        else:
            self._last.append(entry)
        return entry

    def tick(self) -> int:
        """Return a time within the run, later than at every call before."""
        self._now += 1
        return self._now

    def __str__(self) -> str:
        runs = [*_runs(self._first), *_runs(self._last)] if self._is_cut else [*_runs(self.entries)]
        shown = [*runs[:_SHOWN_FIRST], *runs[-_SHOWN_LAST:]] if len(runs) > _SHOWN_FIRST + _SHOWN_LAST else runs
        texts: list[str] = []
        before = 0
        for run in shown:
            if run.first > before + 1:
                texts.append(f"… {run.first - before - 1:,} more …")
            texts.append(str(run))
            before = run.last
        return " · ".join(texts)

    @property
    def _is_cut(self) -> bool:
        return self._count > _KEPT_FIRST + _KEPT_LAST


@attrs.frozen
class _Run:
    """Equal rounds of operations that are shown as one."""

    entries: Sequence[Entry]
    times: int

    @property
    def first(self) -> int:
        return self.entries[0].number

    @property
    def last(self) -> int:
        return self.first + len(self.entries) * self.times - 1

    def __str__(self) -> str:
        if self.times == 1:
            return str(self.entries[0])
        texts = " · ".join(entry.text for entry in self.entries)
        shown = texts if len(self.entries) == 1 else f"({texts})"
        return f"#{self.first}–#{self.last} {shown} ({self.times} times)"


def _runs(entries: Sequence[Entry]) -> Iterator[_Run]:
    """Fold equal operations, and short equal rounds of them, as a polling loop makes them."""
    known = [*entries]
    keys = [(entry.operation, entry.outcome if entry.outcome is not None else entry.number) for entry in known]
    at = 0
    while at < len(known):
        length, times = max((_rounds(keys, at, length) for length in range(1, _LONGEST_ROUND + 1)), key=lambda found: found[0] * found[1])
        yield _Run(known[at : at + length], times)
        at += length * times


def _rounds(keys: Sequence[object], at: int, length: int) -> tuple[int, int]:
    """Return the length of a round and the number of equal rounds that follow each other; (1, 1) where they are too few."""
    times = 1
    while keys[at : at + length] == keys[at + times * length : at + (times + 1) * length]:
        times += 1
    return (length, times) if times >= _FEWEST_ROUNDS else (1, 1)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
