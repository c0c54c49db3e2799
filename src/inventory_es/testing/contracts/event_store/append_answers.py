"""Checks of an append's answer or refusal by the append alone, without any state of the store."""

from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

import attrs

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import AppendResult, StoreCapabilities, StreamWrite
from inventory_es.ports.errors import AppendTooLargeError, ConcurrencyError, EventIdCollisionError
from inventory_es.testing.promise import MismatchError


@attrs.frozen
class Asked:
    """An append as it was sent, for judging its answer after the caller's sequences have changed.

    Attributes:
        writes: the writes as they were sent.
        counts: the number of events of each write at that time.
    """

    writes: Sequence[StreamWrite]
    counts: Sequence[int]

    @classmethod
    def of(cls, writes: Sequence[StreamWrite]) -> "Asked":
        """Note an append before it is sent."""
        return cls(tuple(writes), [len(write.events) for write in writes])


def check_answer(asked: Asked, answer: object, declared: StoreCapabilities) -> None:
    """Refuse an answer that can't belong to this append, whatever is stored.

    Raises:
        MismatchError: naming the fact that is wrong.
    """
    problem = ""
    match answer:
        case AppendResult():
            problem = _result(asked, answer, declared)
        case ConcurrencyError():
            problem = _conflict(asked, answer)
        case EventIdCollisionError():
            problem = _collision(asked, answer)
        case AppendTooLargeError():
            problem = _too_large(asked, answer, declared)
        case Exception():
            pass
        case _:
            problem = f"a {type(answer).__name__}, which is neither an AppendResult nor an Exception"
    if problem:
        raise MismatchError(
            expected="facts of the append that was sent, of the types that the port names",
            got=problem,
            meaning="whoever handles this answer reads another stream, compares with a wrong number, or fails over its type",
        )


def _result(asked: Asked, result: AppendResult, declared: StoreCapabilities) -> str:
    streams = [write.stream for write in asked.writes]
    if not _is_by_stream(result.versions):
        return f"versions is no mapping of stream ids: {result.versions!r}"
    if len(result.versions) != len(streams) or set(result.versions) != set(streams):
        return f"versions of {_texts(result.versions)}, where the append wrote to {_texts(streams)}"
    replayed: object = result.replayed
    if not isinstance(replayed, bool):
        return f"replayed is {replayed!r}"
    if type(result.position) is not int or (result.position < 1 if declared.feed == "total" else result.position != 0):
        return f"position is {result.position!r} in a store with {'a feed' if declared.feed == 'total' else 'no feed'}"
    for write, count in zip(asked.writes, asked.counts, strict=True):
        version = result.versions[write.stream]
        if type(version) is not int:
            return f"version {version!r} of {write.stream}"
        if version < count or not (result.replayed or version == write.expected_version + count):
            raise MismatchError(
                expected=f"version {write.expected_version + count} of {write.stream}, or a conflict",
                got=f"version {version}",
                meaning="the append was taken at another version than it expects: two writers were told that the same version is theirs",
            )
    return ""


def _conflict(asked: Asked, error: ConcurrencyError) -> str:
    if not any(write.stream == error.stream and write.expected_version == error.expected for write in asked.writes):
        return f"stream {error.stream!r} with expected {error.expected!r}, which is no write of this append"
    for name, value in (("expected", error.expected), ("actual", error.actual)):
        if type(value) is not int or value < 0:
            return f"{name} is {value!r}"
    return "" if error.actual != error.expected else f"expected and actual are both {error.actual}"


def _collision(asked: Asked, error: EventIdCollisionError) -> str:
    if not (isinstance(error.event_id, UUID) and isinstance(error.problem, str) and error.problem):
        return f"event_id {error.event_id!r} with problem {error.problem!r}"
    for write in asked.writes:
        if write.stream == error.stream and any(event.event_id == error.event_id for event in write.events):
            return ""
    return f"event_id {error.event_id} in stream {error.stream!r}, where this append has no such event"


def _too_large(asked: Asked, error: AppendTooLargeError, declared: StoreCapabilities) -> str:
    sizes = [event.size for write in asked.writes for event in write.events]
    facts = [(declared.max_append_events, len(sizes)), (declared.max_append_bytes, sum(sizes))]
    facts += [(declared.max_event_bytes, size) for size in sizes]
    if type(error.limit) is not int or type(error.actual) is not int:
        return f"limit is {error.limit!r} and actual {error.actual!r}"
    if (error.limit, error.actual) not in facts or error.actual <= error.limit:
        return f"limit {error.limit} and actual {error.actual}, which is no maximum that is declared and exceeded by this append"
    return "" if isinstance(error.limit_name, str) and error.limit_name else f"limit_name is {error.limit_name!r}"


def _is_by_stream(versions: object) -> bool:
    return isinstance(versions, Mapping) and all(isinstance(stream, StreamId) for stream in versions)


def _texts(streams: Iterable[StreamId]) -> str:
    return ", ".join(sorted(map(str, streams))) or "none"
