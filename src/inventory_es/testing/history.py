"""What a case did to an adapter, in order, in the words of the failure report."""

import attrs

SHOWN = 10
_LONGEST = 120


@attrs.define(eq=False)
class Entry:
    """One operation.

    Attributes:
        number: its place among the operations of the run, starting at 1.
        operation: what was asked (``append x@0 [a b c]``).
        outcome: what came back (``3``, ``ConcurrencyError(actual=3)``); ``None`` while it runs.
    """

    number: int
    operation: str
    outcome: str | None = None

    def __str__(self) -> str:
        outcome = f" -> {_cut(self.outcome)}" if self.outcome is not None else " (never ended)"
        return f"#{self.number} {_cut(self.operation)}{outcome}"


@attrs.define
class History:
    """The operations of one run, as they began."""

    entries: list[Entry] = attrs.field(factory=list[Entry])
    _now: int = 0

    def begin(self, operation: str) -> Entry:
        """Note that an operation begins."""
        entry = Entry(len(self.entries) + 1, operation)
        self.entries.append(entry)
        return entry

    def tick(self) -> int:
        """A time within the run: every call gives a later one."""
        self._now += 1
        return self._now

    def __str__(self) -> str:
        left_out = len(self.entries) - SHOWN
        shown = " · ".join(str(entry) for entry in self.entries[-SHOWN:])
        return f"({left_out} earlier) · {shown}" if left_out > 0 else shown


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
