"""A writer that reports every step before and after it is taken, so that its work is known even if it is killed."""

import time
from collections.abc import Awaitable, Callable, Sequence

from inventory_es.ports import EventFeed, EventStore, GroupCommit, StreamWrite
from inventory_es.ports.errors import ConcurrencyError, StoreUnavailableError
from inventory_es.testing.contracts.core.event_labels import EventLabels, event_id, stream_id
from inventory_es.testing.contracts.event_store.linearizability import Appended, Conflicted, Operation, Unknown
from inventory_es.testing.contracts.processes.other_process import Step

STREAM = "x"
_AWAY = 10
"""The most appends of a writer that may end with StoreUnavailableError."""


async def write_rounds(store: EventStore, writer: str, rounds: int, tell: Callable[[Step], None], *, size: int = 2) -> None:
    """Append ``rounds`` batches to the stream ``x``, each after the version of the last conflict or answer, and report every step.

    Steps are plain data; :func:`operations` reads them. Their times are of the monotonic clock that all processes share.
    """
    labels = EventLabels()
    version = attempt = away = 0
    for number in range(rounds):
        batch = [f"{writer}n{number}e{place}" for place in range(size)]
        while True:
            attempt += 1
            tell({"writer": writer, "asked": attempt, "at": time.monotonic_ns(), "expected": version, "labels": batch})
            write = StreamWrite(stream_id(STREAM), version, labels.events(" ".join(batch)))
            try:
                result = await store.append([write])
            except StoreUnavailableError:  # the append waited too long for others, and nothing was written; other cases try the answer
                away += 1
                if away > _AWAY:
                    raise
            except ConcurrencyError as error:
                version = error.actual
                tell({"writer": writer, "answered": attempt, "at": time.monotonic_ns(), "actual": version})
            else:
                version = result.versions[stream_id(STREAM)]
                answer = {"version": version, "replayed": result.replayed}
                tell({"writer": writer, "answered": attempt, "at": time.monotonic_ns(), **answer})
                break


def operations(steps: Sequence[Step]) -> list[Operation]:
    """Return the history in the steps; an append without an answer has an unknown outcome."""
    answers = {(step["writer"], step["answered"]): step for step in steps if "answered" in step}
    return [_operation(step, answers.get((step["writer"], step["asked"]))) for step in steps if "asked" in step]


def _operation(asked: Step, answer: Step | None) -> Operation:
    outcome: Appended | Conflicted | Unknown
    if answer is None:
        outcome = Unknown()
    elif "actual" in answer:
        outcome = Conflicted(answer["actual"])
    else:
        outcome = Appended(answer["version"], replayed=answer["replayed"])
    ids = tuple(event_id(label) for label in asked["labels"])
    return Operation(asked["writer"], asked["at"], answer["at"] if answer else None, asked["expected"], ids, outcome)


def uses(store: EventStore) -> dict[str, Callable[[], Awaitable[object]]]:
    """Return a call of each method of a store, by its name."""
    writes = [StreamWrite(stream_id("inherited"), 0, EventLabels().events("a"))]
    ways: dict[str, Callable[[], Awaitable[object]]] = {
        "append": lambda: store.append(writes),
        "read_stream": lambda: store.read_stream(stream_id(STREAM), limit=1),
        "read_stream_backwards": lambda: store.read_stream_backwards(stream_id(STREAM), limit=1),
        "find_events": lambda: store.find_events(stream_id(STREAM), [event_id("a")]),
    }
    if isinstance(store, EventFeed):
        ways |= {"read_all": lambda: store.read_all(after=0, limit=1), "head": store.head}
    if isinstance(store, GroupCommit):
        ways["append_group"] = lambda: store.append_group([writes])
    return ways
