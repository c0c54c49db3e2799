"""The oracle: what a log may hold, given what was asked, what was answered and what was shown.

Every acknowledged append is there, at the place that it was told, in order. One without an answer is wholly there or wholly
absent. A refused one is absent. Nothing else is there. What a reader was shown stays.
"""

from collections.abc import Sequence
from typing import Literal
from uuid import UUID

import attrs

from inventory_es.ports.records import AppendResult, StreamWrite
from inventory_es.testing.crash.subject import Log

Answer = Literal["acknowledged", "unknown", "refused"]


@attrs.define(eq=False)
class Attempt:
    """One append that was sent to the store.

    Attributes:
        writes: what was sent.
        answer: what came back; ``unknown`` while nothing has.
        result: of an acknowledged one.
    """

    writes: Sequence[StreamWrite]
    answer: Answer = "unknown"
    result: AppendResult | None = None
    _sent: tuple[tuple[str, int, UUID, bytes], ...] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._sent = tuple(
            (write.stream.text, version, event.event_id, event.data)
            for write in self.writes
            for version, event in enumerate(write.events, write.expected_version + 1)
        )

    def acknowledge(self, result: AppendResult) -> None:
        """Note that the append succeeded."""
        self.answer, self.result = "acknowledged", result

    def refuse(self) -> None:
        """Note that the store said that nothing was written."""
        self.answer = "refused"

    def stands_at(self, log: Log, place: int) -> bool:
        """Whether the log has this append from there on, whole."""
        return tuple(event[1:] for event in log[place : place + len(self._sent)]) == self._sent

    @property
    def size(self) -> int:
        """How many events it has."""
        return len(self._sent)

    def __str__(self) -> str:
        writes = ", ".join(f"{write.stream} {write.expected_version}+{len(write.events)}" for write in self.writes)
        return f"append ({writes}), {self.answer}"


@attrs.define(eq=False)
class Ledger:
    """Every append of one run, in the order in which they were sent, and the most that a reader was shown."""

    attempts: list[Attempt] = attrs.field(factory=list[Attempt])
    shown: Log = ()

    def show(self, log: Log) -> str | None:
        """Note what a reader saw, and say what is wrong with it."""
        problem = self.problem(log)
        if problem is None:
            self.shown = log
        return problem

    def problem(self, log: Log) -> str | None:
        """What is wrong with a log; ``None`` if it may be so."""
        if log[: len(self.shown)] != self.shown:
            return f"a reader was shown {_short(self.shown)}; now the log is {_short(log)}"
        place = 0
        for attempt in self.attempts:
            if attempt.answer != "refused" and attempt.stands_at(log, place):
                place += attempt.size
                if attempt.result is not None and attempt.result.position != log[place - 1].position:
                    return f"{attempt} was told position {attempt.result.position} and has {log[place - 1].position}"
            elif attempt.answer == "acknowledged":
                return f"{attempt} is not there where it belongs, after event {place} of {_short(log)}"
        if place != len(log):
            return f"after event {place} stands what belongs there in no way: {_short(log)}"
        positions = [event.position for event in log]
        return None if positions == sorted(set(positions)) else f"positions don't increase: {positions}"


def _short(log: Log) -> str:
    return " ".join(f"{event.stream}@{event.version}" for event in log) or "empty"
