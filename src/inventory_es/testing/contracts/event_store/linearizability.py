"""The linearizability of a history of appends and reads of one stream, checked in one sweep: the final log is the witness.

In general the problem is NP-complete (Gibbons and Korach, 1997). Here it is not. The final log fixes the order of the appends that took
effect, and a conflict or a read names the version that it saw. So every operation has its place in one sequence:

    reads and conflicts at version 0, the append 0 -> a, reads and conflicts at version a, the append a -> b, …

Only time remains: each operation needs an instant between its start and its end, and the instants must follow the sequence.
The sweep gives each operation the earliest instant that is left. If that is after its end, no choice of instants exists.

A history of several streams is linearizable if that of each stream is (Herlihy and Wing, 1990: locality).
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from math import inf
from typing import NamedTuple

import attrs


@attrs.frozen
class Appended:
    """The append succeeded.

    Attributes:
        version: the answered version of the stream after the append's own events.
        replayed: True if the answer says that an earlier append stored the events.
    """

    version: int
    replayed: bool = attrs.field(default=False, kw_only=True)


@attrs.frozen
class Conflicted:
    """The append was refused, because the stream had another version.

    Attributes:
        actual: the version that the stream had.
    """

    actual: int


@attrs.frozen
class Observed:
    """A read saw the whole stream.

    Attributes:
        version: the version that it saw.
    """

    version: int


@attrs.frozen
class Unknown:
    """The outcome is not known: the append was cancelled, or its process died. It took effect at some time after its start, or never."""


@attrs.frozen
class Operation:
    """One operation on a stream, as its caller sees it.

    Attributes:
        name: the name of the stream, or of the caller; for the report.
        start: the time of the call, by a clock that all operations of the history share.
        end: the time of the answer; ``None`` where none came.
        expected: the version that an append expected.
        events: the ids of an append's events; empty for a read.
        outcome: the answer.
    """

    name: str
    start: int
    end: int | None
    expected: int
    events: tuple[Hashable, ...]
    outcome: Appended | Conflicted | Observed | Unknown


@attrs.frozen
class Violation:
    """The reason why a history is not linearizable.

    Attributes:
        operation: the operation that can't have happened; ``None`` where the log itself is wrong.
        problem: the reason, in words.
    """

    operation: Operation | None
    problem: str


class _Slot(NamedTuple):
    after: int
    """The version that the append leaves."""
    operation: Operation


def find_violation(operations: Iterable[Operation], log: Sequence[Hashable]) -> Violation | None:
    """Check a history of one stream against the log that it left.

    Args:
        operations: every append that was ever sent to the stream. Reads are optional, and make the check stricter. Each append's event ids
            are its own; an append that was sent again has the same ids.
        log: the event ids of the stream after all operations ended, by version.

    Returns:
        ``None`` for a linearizable history, else the violation.
    """
    everything = list(operations)
    slots, violation = _slots(everything, log)
    if violation is not None:
        return violation
    watchers: dict[int, list[Operation]] = {}
    replays: list[tuple[int, Operation]] = []
    holders = {id(slot.operation) for slot in slots}
    ends = {slot.operation.events: slot.after for slot in slots}
    for operation in everything:
        match operation.outcome:
            case Observed(version):
                watchers.setdefault(version, []).append(operation)
            case Conflicted(version):
                if operation.expected == version:
                    return Violation(operation, f"was refused, although the stream had version {version} as expected")
                if version >= ends.get(operation.events, version + 1):
                    return Violation(operation, "was refused as a conflict, although its events were stored already")
                watchers.setdefault(version, []).append(operation)
            case Appended(version, replayed=replayed) if id(operation) not in holders:
                if ends.get(operation.events) != version:
                    return Violation(operation, f"was answered with version {version}, and its events are not there in the log")
                if not replayed:
                    return Violation(operation, "was answered as new, although another append had written its events")
                replays.append((version, operation))
            case _:
                continue
    return _sweep(slots, watchers, replays)


def _slots(operations: Sequence[Operation], log: Sequence[Hashable]) -> tuple[list[_Slot], Violation | None]:
    """Return the append that wrote each part of the log, in its order."""
    if len(set(log)) != len(log):
        return [], Violation(None, "the log has an event twice")
    writers = _writers(operations)
    slots: list[_Slot] = []
    version = 0
    while version < len(log):
        attempts = writers.get(log[version], ())
        if not attempts:
            return [], Violation(None, f"nobody appended the event at version {version + 1}")
        writer = next((attempt for attempt in attempts if attempt.expected == version), attempts[0])
        after = version + len(writer.events)
        if tuple(log[version:after]) != writer.events:
            return [], Violation(writer, f"its events are not whole, adjacent and in order from version {version + 1}")
        if writer.expected != version:
            return [], Violation(writer, f"expected version {writer.expected} and was written after version {version}")
        if isinstance(writer.outcome, Appended) and writer.outcome.version != after:
            return [], Violation(writer, f"was answered with version {writer.outcome.version} and left version {after}")
        slots.append(_Slot(after, writer))
        version = after
    return slots, None


def _writers(operations: Sequence[Operation]) -> Mapping[Hashable, Sequence[Operation]]:
    """Return by first event id the appends that may have written it: the acknowledged one, then those of unknown outcome, by time."""
    writers: dict[Hashable, list[Operation]] = {}
    for operation in sorted(operations, key=lambda o: (isinstance(o.outcome, Unknown), o.start)):
        match operation.outcome:
            case Appended(replayed=False) | Unknown() if operation.events:
                writers.setdefault(operation.events[0], []).append(operation)
            case _:
                continue
    return writers


def _sweep(
    slots: Sequence[_Slot], watchers: Mapping[int, Sequence[Operation]], replays: Sequence[tuple[int, Operation]]
) -> Violation | None:
    versions = {0, *(slot.after for slot in slots)}
    reached: dict[int, float] = {}
    now: float = -inf
    for version, append in [(0, None), *slots]:
        if append is not None:
            now = max(now, append.start)
            if append.end is not None and now > append.end:
                return Violation(append, "was answered before something that must have happened earlier was asked")
        reached[version] = now
        instants = [now]
        for watcher in watchers.get(version, ()):
            instant = max(now, watcher.start)
            if watcher.end is not None and instant > watcher.end:
                return Violation(watcher, f"saw version {version}, which did not exist yet")
            instants.append(instant)
        now = max(instants)
    for version, operations in watchers.items():
        if version not in versions:
            return Violation(operations[0], f"saw version {version}, which the stream never had")
    for version, replay in replays:
        if replay.end is not None and reached[version] > replay.end:
            return Violation(replay, "was answered as replayed before the original was written")
    return None
