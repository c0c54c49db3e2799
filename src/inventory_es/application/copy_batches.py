"""How a run of the feed is written to another store: as few appends as keep the order of positions."""

from collections.abc import Iterator, Sequence

from inventory_es.ports import NewEvent, RecordedEvent, StoreCapabilities, StreamWrite
from inventory_es.ports.errors import AppendTooLargeError, CorruptStoreError

MOST_BYTES = 8 << 20
"""In one commit, unless a single event is larger."""

Append = list[StreamWrite]


def copy_batches(events: Sequence[RecordedEvent], capabilities: StoreCapabilities) -> Iterator[list[Append]]:
    """Commits of appends of writes that leave the events in the order in which they come.

    A store numbers an append write by write. So a stream that comes back after others begins another append.

    Args:
        events: a run of the feed.
        capabilities: of the store that is to take them.

    Raises:
        AppendTooLargeError: an event is larger than what that store takes.
        CorruptStoreError: an event is none that any store takes.
    """
    most_bytes = min(MOST_BYTES, capabilities.max_append_bytes)
    commit: list[Append] = []
    commit_bytes = append_events = append_bytes = 0
    written: dict[str, list[NewEvent]] = {}
    last = ""
    for event in events:
        size = event.size
        if size > capabilities.max_event_bytes:
            what = f"bytes in event {event.version} of stream {event.stream}:"
            raise AppendTooLargeError(limit_name=what, limit=capabilities.max_event_bytes, actual=size)
        if commit and commit_bytes + size > most_bytes:
            yield commit
            commit, commit_bytes, written = [], 0, {}
        name = event.stream.text
        is_next = name != last and (name in written or not capabilities.multi_stream)
        is_full = append_events == capabilities.max_append_events or append_bytes + size > capabilities.max_append_bytes
        if not written or is_next or is_full:
            commit.append([])
            append_events = append_bytes = 0
            written = {}
        if name not in written:
            written[name] = []
            commit[-1].append(StreamWrite(event.stream, event.version - 1, written[name]))
        written[name].append(_new(event))
        last = name
        commit_bytes += size
        append_events += 1
        append_bytes += size
    if commit:
        yield commit


def _new(event: RecordedEvent) -> NewEvent:
    try:
        return NewEvent(event.event_id, event.event_type, event.schema_version, event.recorded_at, event.data, event.metadata)
    except ValueError as problem:
        place = f"stream {event.stream}, version {event.version}"
        raise CorruptStoreError(store="source", place=place, problem=str(problem)) from problem
