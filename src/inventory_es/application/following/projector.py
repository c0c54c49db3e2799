"""The projector: from a batch of the feed to one commit, with its changes, its dead letters and the place of a failure."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime

import attrs

from inventory_es.application.following.projection import DEAD_LETTERS, OnFailure, Projection
from inventory_es.application.following.subscription import EventBatch, mark_of
from inventory_es.domain.errors import HostFunctionError, InventoryError
from inventory_es.ports import Change, EventCodec, EventMark, Put, RecordedEvent
from inventory_es.ports.errors import EventDecodeError
from inventory_es.ports.read_model import to_text

_BEHIND = "waits behind an earlier event of its stream"


@attrs.frozen
class Step:
    """The content of one commit.

    Attributes:
        changes: changes of rows, dead letters included.
        position: every event up to it was applied, or is a dead letter.
        recorded_at: time of the last of these events; ``None`` where there is none.
        error: the failure of the next event; ``None`` without a failure.
        blocked: streams that have dead letters after the commit.
        mark: the last event that was read up to ``position``; ``None`` where there is none.
    """

    changes: Sequence[Change]
    position: int
    recorded_at: datetime | None
    error: str | None
    blocked: frozenset[str]
    mark: EventMark | None


@attrs.frozen
class Projector:
    """Applies a projection to events.

    Attributes:
        projection: the projection.
        codec: decodes events.
        on_failure: policy for an event that can't be decoded or applied.
    """

    projection: Projection
    codec: EventCodec
    on_failure: OnFailure

    def changes_of(self, recorded: Sequence[RecordedEvent]) -> list[Change]:
        """Return the changes of some events of one stream; events of an instant apply together where the projection wants it.

        Raises:
            Exception: whatever the projection raises; ``EventDecodeError``.
        """
        return [change for instant in self.instants(recorded) for change in self._apply(instant)]

    def instants(self, events: Sequence[RecordedEvent]) -> Iterable[Sequence[RecordedEvent]]:
        """Return the events in the portions in which they apply: one by one, or those of an instant together."""
        if not self.projection.by_instant:
            return zip(events)
        return self._instants(events)

    def whole(self, batch: EventBatch) -> tuple[EventBatch, Sequence[RecordedEvent]]:
        """Cut a batch at the end of its last whole instant.

        Returns:
            The batch up to the cut, and the events of an instant that continues behind the batch.
        """
        events = batch.events
        if not (self.projection.by_instant and events and self._goes_on(events[-1])):
            return batch, ()
        first = len(events) - 1
        while first and self._is_one_instant(events[first - 1], events[first]):
            first -= 1
        mark = mark_of(events[first - 1]) if first else None
        return EventBatch(events[:first], events[first].position - 1, batch.is_end, mark), events[first:]

    def step(self, batch: EventBatch, after: int, blocked: frozenset[str], now: datetime, *, refused: Exception | None = None) -> Step:
        """Return the content of the commit for a batch.

        Args:
            batch: events that begin behind ``after``.
            after: position of the rows.
            blocked: streams that have dead letters.
            now: the time, for new dead letters.
            refused: reason why the read model refused the changes of the only portion of the batch.
        """
        changes: list[Change] = []
        if self.projection.newest_only and batch.events and not blocked and refused is None:
            newest = {recorded.stream.text: recorded for recorded in batch.events}
            with suppress(Exception):  # the loop below finds the event that fails
                for recorded in newest.values():
                    changes += self._apply((recorded,))
                return Step(changes, batch.position, batch.events[-1].recorded_at, None, blocked, batch.mark)
            changes.clear()
        done: RecordedEvent | None = None
        for instant in self.instants(batch.events):
            first = instant[0]
            problem = _BEHIND if blocked and first.stream.text in blocked else None
            if problem is None:
                count = len(changes)
                try:
                    changes += self._apply(instant)
                except Exception as failure:  # noqa: BLE001  # the policy is about whatever a host's function raises
                    refused = failure
                if refused is not None:
                    del changes[count:]
                    problem, refused = describe(refused), None
            if problem is not None and self.on_failure != "park" and problem != _BEHIND:
                place = f"event {first.version} of stream {first.stream} at position {first.position}"
                error = f"{place} ({first.event_type}): {problem}"
                if done is None:
                    return Step(changes, after, None, error, blocked, None)
                return Step(changes, done.position, done.recorded_at, error, blocked, mark_of(done))
            if problem is not None:
                blocked |= {first.stream.text}
                changes += [_dead_letter(recorded, problem if recorded is first else _BEHIND, now) for recorded in instant]
            done = instant[-1]
        return Step(changes, batch.position, None if done is None else done.recorded_at, None, blocked, batch.mark)

    def _apply(self, instant: Sequence[RecordedEvent]) -> Iterable[Change]:
        last = instant[-1]
        decoded = [self.codec.decode(recorded) for recorded in instant]
        return _iterable(self.projection, self.projection.apply(decoded if self.projection.by_instant else decoded[0], last))

    def _instants(self, events: Iterable[RecordedEvent]) -> Iterator[Sequence[RecordedEvent]]:
        instant: list[RecordedEvent] = []
        for recorded in events:
            if instant and not self._is_one_instant(instant[-1], recorded):
                yield instant
                instant = []
            instant.append(recorded)
        if instant:
            yield instant

    def _is_one_instant(self, earlier: RecordedEvent, later: RecordedEvent) -> bool:
        return later.version == earlier.version + 1 and later.stream == earlier.stream and self._goes_on(earlier)

    def _goes_on(self, recorded: RecordedEvent) -> bool:
        try:
            return self.codec.decode_metadata(recorded).more
        except EventDecodeError:  # applied alone, as an event without a mark
            return False


def _iterable(projection: Projection, answer: Iterable[Change]) -> Iterable[Change]:
    if hasattr(answer, "__iter__"):
        return answer
    expected = "it gives an iterable of changes, an empty one for none. It is called without await"
    raise HostFunctionError.about(role="projection", function=projection.apply, answer=answer, expected=expected)


def describe(error: Exception) -> str:
    """Return the type of an error, with its message if that is known to hold no payload."""
    return f"{type(error).__name__}: {error.message}" if isinstance(error, InventoryError) else type(error).__name__


def _dead_letter(recorded: RecordedEvent, problem: str, now: datetime) -> Put:
    return Put(
        DEAD_LETTERS.name,
        {
            "position": recorded.position,
            "stream": recorded.stream.text,
            "version": recorded.version,
            "event_type": recorded.event_type,
            "error": problem,
            "parked_at": to_text(now),
        },
    )
