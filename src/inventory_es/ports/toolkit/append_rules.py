"""Rules of an append that every event store shares: misuse, replays and conflicts.

Pure functions. An adapter calls :func:`check_append`, then :func:`find_earlier_append`, then :func:`check_versions`. During the last two
calls, nobody else can write.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from operator import attrgetter
from typing import NoReturn
from uuid import UUID

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.errors import AppendTooLargeError, ConcurrencyError, EventIdCollisionError, UnsupportedCapabilityError
from inventory_es.ports.event_store import StoreCapabilities
from inventory_es.ports.records import AppendResult, NewEvent, RecordedEvent, StreamWrite

_id_of = attrgetter("event_id")


def check_append(writes: Sequence[StreamWrite], capabilities: StoreCapabilities, *, store: str) -> None:
    """Refuse an append that the store could accept in no state.

    Args:
        writes: the append.
        capabilities: of the store, with its maxima.
        store: the store's name, for messages.

    Raises:
        ValueError: no writes, a write without events, two writes to one stream, one event id twice, an expected version that
            is negative or no int.
        UnsupportedCapabilityError: several streams, and the store can't.
        AppendTooLargeError: over a maximum of ``capabilities``.
    """
    if not writes:
        _misuse("an append needs at least one write")
    sizes: list[int] = []
    for write in writes:
        if not isinstance(write, StreamWrite) or not isinstance(write.stream, StreamId):
            _misuse("an append is a sequence of StreamWrite, each to a StreamId")
        if type(write.expected_version) is not int or write.expected_version < 0:
            _misuse("expected_version must be an int of 0 or more; 0 means that the stream must not exist yet")
        if not write.events:
            _misuse("a write needs at least one event")
        for event in write.events:
            if not isinstance(event, NewEvent):
                _misuse("a write holds events of type NewEvent")
            sizes.append(len(event.data) + len(event.metadata))
    total_events = len(sizes)
    if len(writes) > 1 and len({write.stream for write in writes}) < len(writes):
        _misuse("an append has at most one write for a stream: put the events into one write")
    if total_events > 1 and len({event.event_id for write in writes for event in write.events}) < total_events:
        _misuse("an event id stands twice in one append: an event id is used once")
    if len(writes) > 1 and not capabilities.multi_stream:
        raise UnsupportedCapabilityError(store=store, capability="multi_stream", way_out="append to one stream at a time")
    total = sum(sizes)
    if total_events > capabilities.max_append_events or total > min(capabilities.max_event_bytes, capabilities.max_append_bytes):
        _check_maximum("events", total_events, capabilities.max_append_events)
        _check_maximum("event bytes", max(sizes), capabilities.max_event_bytes)
        _check_maximum("bytes", total, capabilities.max_append_bytes)


def check_stream(stream: object) -> None:
    """Refuse a stream that is no stream id.

    Raises:
        ValueError: not a :class:`StreamId`.
    """
    if not isinstance(stream, StreamId):
        _misuse("a stream is named by a StreamId")


def check_page(*, limit: int, after: int = 0, before: int | None = None) -> None:
    """Refuse bounds of a page that are out of range.

    Raises:
        ValueError: ``limit`` below 1, ``after`` below 0, ``before`` below 1, or no ints.
    """
    if type(limit) is not int or limit < 1:
        _misuse("limit must be an int of 1 or more")
    if type(after) is not int or after < 0:
        _misuse("after must be an int of 0 or more")
    if before is not None and (type(before) is not int or before < 1):
        _misuse("before must be an int of 1 or more, or None for the end")


def find_earlier_append(
    writes: Sequence[StreamWrite],
    find: Callable[[StreamId, Sequence[UUID]], Sequence[RecordedEvent]],
) -> AppendResult | None:
    """Return the result of this append if it was stored before: the idempotency rule.

    The append was stored if all its event ids are stored: in each stream contiguous, in order and with the same identity. The identity is
    stream, type, schema version and data. The append is new if none of its ids is stored. Anything else is a collision; duplicates are
    never ignored.

    Args:
        writes: as accepted by :func:`check_append`.
        find: returns the events of a stream that have one of the given ids, by version.

    Returns:
        The original result with ``replayed=True``, or ``None`` for a new append.

    Raises:
        EventIdCollisionError: only some of the ids are stored, or elsewhere in their stream, or with another identity.
    """
    found: list[Sequence[RecordedEvent]] = []
    is_new = True
    for write in writes:
        events = find(write.stream, list(map(_id_of, write.events)))
        is_new = is_new and not events
        found.append(events)
    if is_new:
        return None
    for write, recorded in zip(writes, found, strict=True):
        if len(recorded) != len(write.events):
            known = next(events for events in found if events)[0]
            raise EventIdCollisionError(
                stream=known.stream, event_id=known.event_id, problem="is stored, yet not all others of its append are"
            )
        _check_same(write, recorded)
    return AppendResult(
        position=max(recorded[-1].position for recorded in found),
        versions={write.stream: recorded[-1].version for write, recorded in zip(writes, found, strict=True)},
        replayed=True,
    )


def check_versions(writes: Sequence[StreamWrite], version_of: Callable[[StreamId], int]) -> None:
    """Refuse an append unless every stream has its expected version.

    Raises:
        ConcurrencyError: one has another version; the error names the first.
    """
    for write in writes:
        actual = version_of(write.stream)
        if actual != write.expected_version:
            raise ConcurrencyError(stream=write.stream, expected=write.expected_version, actual=actual)


def _check_same(write: StreamWrite, recorded: Sequence[RecordedEvent]) -> None:
    by_id = {event.event_id: event for event in recorded}
    in_order = [by_id[event.event_id] for event in write.events]
    for event, earlier in zip(write.events, in_order, strict=True):
        if not earlier.has_identity_of(event, write.stream):
            problem = "is stored with another type, schema version or data"
            raise EventIdCollisionError(stream=write.stream, event_id=event.event_id, problem=problem)
    for one, following in pairwise(in_order):
        if following.version != one.version + 1:
            problem = "is stored, yet not right after the event that precedes it in this append"
            raise EventIdCollisionError(stream=write.stream, event_id=following.event_id, problem=problem)


def _check_maximum(name: str, actual: int, limit: int) -> None:
    if actual > limit:
        raise AppendTooLargeError(limit_name=name, limit=limit, actual=actual)


def _misuse(problem: str) -> NoReturn:
    raise ValueError(problem)
