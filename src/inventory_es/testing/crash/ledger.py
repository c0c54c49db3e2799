"""The oracle: decides whether a log may be so, given the appends that were sent, their answers, and what readers were shown.

Every acknowledged append is in the log, in order, at the position of its answer. An append without an answer is wholly there or wholly
absent. A refused append is absent. Nothing else is there. Events that a reader was shown stay.
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
        writes: the writes that were sent.
        answer: the store's answer; ``unknown`` while there is none.
        result: the result, if the append was acknowledged.
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
        """Note that the store wrote nothing, by its own answer."""
        self.answer = "refused"

    def stands_at(self, log: Log, place: int) -> bool:
        """Return True if the log has this whole append from ``place`` on."""
        return tuple(event[1:] for event in log[place : place + len(self._sent)]) == self._sent

    @property
    def size(self) -> int:
        """The number of events."""
        return len(self._sent)

    def __str__(self) -> str:
        writes = ", ".join(f"{write.stream} {write.expected_version}+{len(write.events)}" for write in self.writes)
        return f"append ({writes}), {self.answer}"


@attrs.define(eq=False)
class Ledger:
    """Every append of one run, in the order of sending, and the longest log that a reader was shown."""

    attempts: list[Attempt] = attrs.field(factory=list[Attempt])
    shown: Log = ()

    def show(self, log: Log) -> str | None:
        """Note the log that a reader saw, and return what is wrong with the log."""
        problem = self.problem(log)
        if problem is None:
            self.shown = log
        return problem

    def problem(self, log: Log) -> str | None:
        """Return what is wrong with a log; ``None`` if nothing is."""
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
