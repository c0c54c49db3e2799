"""The linearizability checker: examples by hand, and every small history against a referee that tries all orders."""

import random
from collections.abc import Iterator, Sequence
from itertools import permutations

import pytest

from inventory_es.testing.contracts.event_store.linearizability import Appended, Conflicted, Observed, Operation, Unknown, find_violation

Log = tuple[str, ...]


def append(start: int, end: int | None, expected: int, events: str, outcome: Appended | Conflicted | Unknown) -> Operation:
    return Operation("x", start, end, expected, tuple(events), outcome)


def read(start: int, end: int, version: int) -> Operation:
    return Operation("x", start, end, 0, (), Observed(version))


# ── the referee: tries every order that respects time, and every subset of the unknown ──────────────────────────────────


def referee(operations: Sequence[Operation], log: Log) -> bool:
    """Return True if some order of the operations explains every answer and the log. Exponential, and obviously right."""
    for taken in subsets([o for o in operations if isinstance(o.outcome, Unknown)]):
        happened = [o for o in operations if not isinstance(o.outcome, Unknown)] + taken
        if any(in_time(order) and explains(order, log) for order in permutations(happened)):
            return True
    return False


def subsets(operations: list[Operation]) -> Iterator[list[Operation]]:
    for mask in range(1 << len(operations)):
        yield [operation for number, operation in enumerate(operations) if mask >> number & 1]


def in_time(order: Sequence[Operation]) -> bool:
    """Return True if no operation precedes one that had ended before it began."""
    for number, later in enumerate(order):
        if any(later.end is not None and later.end < earlier.start for earlier in order[:number]):
            return False
    return True


def explains(order: Sequence[Operation], log: Log) -> bool:
    """Return True if a store of one stream, run in this order, gives the same answers and the same log."""
    stored: list[str] = []
    for operation in order:
        events = list(map(str, operation.events))
        if not events:
            if operation.outcome != Observed(len(stored)):
                return False
            continue
        start = next((at for at in range(len(stored)) if stored[at : at + len(events)] == events), None)
        answer: Appended | Conflicted
        if start is not None:
            answer = Appended(start + len(events), replayed=True)
        elif operation.expected != len(stored):
            answer = Conflicted(len(stored))
        else:
            stored += events
            answer = Appended(len(stored))
        took_effect = answer == Appended(len(stored)) and start is None
        if operation.outcome != answer and not (isinstance(operation.outcome, Unknown) and took_effect):
            return False
    return tuple(stored) == log


# ── by hand ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

GOOD = {
    "nothing": ([], ""),
    "one after the other": ([append(1, 2, 0, "ab", Appended(2)), append(3, 4, 2, "c", Appended(3)), read(5, 6, 3)], "abc"),
    "at once, one loses": ([append(1, 9, 0, "a", Appended(1)), append(2, 8, 0, "b", Conflicted(1))], "a"),
    "a read at once with an append sees before or after": (
        [append(1, 9, 0, "a", Appended(1)), read(2, 3, 0), read(4, 5, 1)],
        "a",
    ),
    "cancelled and there": ([append(1, None, 0, "a", Unknown()), append(2, 3, 1, "b", Appended(2))], "ab"),
    "cancelled and not there": ([append(1, None, 0, "a", Unknown()), append(2, 3, 0, "b", Appended(1))], "b"),
    "cancelled, then sent again": (
        [append(1, None, 0, "a", Unknown()), append(2, 3, 0, "a", Appended(1, replayed=True))],
        "a",
    ),
    "sent again late": (
        [append(1, 2, 0, "a", Appended(1)), append(3, 4, 1, "b", Appended(2)), append(5, 6, 7, "a", Appended(1, replayed=True))],
        "ab",
    ),
}

BAD = {
    "an acknowledged append is lost": ([append(1, 2, 0, "a", Appended(1))], ""),
    "an event that nobody appended": ([append(1, 2, 0, "a", Appended(1))], "az"),
    "half an append": ([append(1, 2, 0, "ab", Appended(2)), append(3, 4, 1, "c", Appended(2))], "ac"),
    "two winners": ([append(1, 9, 0, "a", Appended(1)), append(2, 8, 0, "b", Appended(1))], "ab"),
    "refused, and there": ([append(1, 2, 0, "a", Conflicted(1)), append(3, 4, 0, "b", Appended(1))], "ab"),
    "a conflict with the expected version": ([append(1, 2, 0, "a", Appended(1)), append(3, 4, 1, "b", Conflicted(1))], "a"),
    "a conflict with a version that never was": ([append(1, 2, 0, "ab", Appended(2)), append(1, 2, 0, "c", Conflicted(1))], "ab"),
    "a conflict with a version that is over": (
        [append(1, 2, 0, "a", Appended(1)), append(3, 4, 1, "b", Appended(2)), append(5, 6, 0, "c", Conflicted(1))],
        "ab",
    ),
    "a read of the past": ([append(1, 2, 0, "a", Appended(1)), read(3, 4, 0)], "a"),
    "a read of the future": ([read(1, 2, 1), append(3, 4, 0, "a", Appended(1))], "a"),
    "time runs backwards between reads": ([append(1, 9, 0, "a", Appended(1)), read(2, 3, 1), read(4, 5, 0)], "a"),
    "an answer before its cause": (
        [append(1, 2, 1, "b", Appended(2)), append(3, 4, 0, "a", Appended(1))],
        "ab",
    ),
    "replayed before it was written": ([append(1, 2, 0, "a", Appended(1, replayed=True)), append(3, 4, 0, "a", Appended(1))], "a"),
    "replayed and never written": ([append(1, 2, 0, "a", Appended(1, replayed=True))], "a"),
    "written twice": ([append(1, 2, 0, "a", Appended(1)), append(3, 4, 1, "a", Appended(2))], "aa"),
    "answered as new twice": ([append(1, 2, 0, "a", Appended(1)), append(3, 4, 0, "a", Appended(1))], "a"),
    "the wrong version answered": ([append(1, 2, 0, "a", Appended(2))], "a"),
    "stored already, and refused": ([append(1, 2, 0, "a", Appended(1)), append(3, 4, 0, "a", Conflicted(1))], "a"),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_good_history_passes(name: str) -> None:
    operations, log = GOOD[name]
    assert find_violation(operations, log) is None
    assert referee(operations, tuple(log))


@pytest.mark.parametrize("name", BAD)
def test_a_bad_history_is_told(name: str) -> None:
    operations, log = BAD[name]
    violation = find_violation(operations, log)
    assert violation is not None
    assert violation.problem
    assert not referee(operations, tuple(log))


# ── by chance ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def true_history(chance: random.Random) -> tuple[list[Operation], list[str]]:
    """Return the answers of a correct store to random calls that overlap."""
    log: list[str] = []
    operations: list[Operation] = []
    sent: list[tuple[str, ...]] = []
    for number in range(chance.randint(1, 5)):
        instant = 10 * number + 5
        start, end = instant - chance.randint(1, 25), instant + chance.randint(1, 25)
        if chance.random() < 0.25:
            operations.append(read(start, end, len(log)))
            continue
        is_again = bool(sent) and chance.random() < 0.25
        events = chance.choice(sent) if is_again else tuple(f"{number}{letter}" for letter in "ab"[: chance.randint(1, 2)])
        sent.append(events)
        expected = len(log) if chance.random() < 0.6 else chance.randint(0, 4)
        at = next((at for at in range(len(log)) if tuple(log[at : at + len(events)]) == events), None)
        outcome: Appended | Conflicted | Unknown
        if at is not None:
            outcome = Appended(at + len(events), replayed=True)
        elif expected != len(log):
            outcome = Conflicted(len(log))
        else:
            log += events
            outcome = Appended(len(log))
        if chance.random() < 0.15:
            outcome = Unknown()
        operations.append(Operation("x", start, None if isinstance(outcome, Unknown) else end, expected, events, outcome))
    return operations, log


def bend(chance: random.Random, operations: list[Operation], log: list[str]) -> None:
    """Falsify one thing, perhaps."""
    at = chance.randrange(len(operations))
    old = operations[at]
    match chance.randint(0, 4):
        case 0 if log:
            log.pop(chance.randrange(len(log)))
        case 1 if len(log) > 1:
            log[0], log[-1] = log[-1], log[0]
        case 2 if old.end is not None:
            shift = chance.randint(-40, 40)
            operations[at] = Operation("x", old.start + shift, old.end + shift, old.expected, old.events, old.outcome)
        case 3 if old.events and not isinstance(old.outcome, Unknown):
            choices = (Appended(chance.randint(1, 4)), Conflicted(chance.randint(0, 3)), Appended(1, replayed=True))
            outcome: Appended | Conflicted = chance.choice(choices)
            operations[at] = Operation("x", old.start, old.end, old.expected, old.events, outcome)
        case 4 if not old.events:
            operations[at] = read(old.start, old.end or old.start, chance.randint(0, 3))
        case _:
            chance.random()


def test_a_right_store_is_never_accused() -> None:
    for seed in range(6_000):
        operations, log = true_history(random.Random(seed))
        assert find_violation(operations, log) is None, f"seed {seed}: {operations} {log}"


def test_the_checker_agrees_with_the_referee() -> None:
    verdicts = {True: 0, False: 0}
    for seed in range(6_000):
        chance = random.Random(seed)
        operations, log = true_history(chance)
        bend(chance, operations, log)
        is_right = referee(operations, tuple(log))
        verdicts[is_right] += 1
        assert (find_violation(operations, log) is None) == is_right, f"seed {seed}: {operations} {log}"
    assert min(verdicts.values()) > 500, verdicts
