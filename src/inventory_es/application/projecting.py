"""From a batch of the feed to one commit: the changes of its events, what is parked, and where a failure is."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime

import attrs

from inventory_es.application.projection import PARKED, OnFailure, Projection
from inventory_es.application.subscription import EventBatch
from inventory_es.domain.errors import HostFunctionError, InventoryError
from inventory_es.ports import Change, EventCodec, Put, RecordedEvent
from inventory_es.ports.read_model import to_text

_BEHIND = "waits behind an earlier event of its stream"


@attrs.frozen
class Step:
    """What one commit does.

    Attributes:
        changes: of rows, those of parked events included.
        position: everything up to it is dealt with.
        recorded_at: of the last event dealt with; ``None`` where there was none.
        error: what stands at the next event; ``None`` where nothing does.
        parked: streams that have parked events from now on.
    """

    changes: Sequence[Change]
    position: int
    recorded_at: datetime | None
    error: str | None
    parked: frozenset[str]


@attrs.frozen
class Projector:
    """Applies a projection to events.

    Attributes:
        projection: what to apply.
        codec: how events are read.
        on_failure: what becomes of an event that can't be decoded or applied.
    """

    projection: Projection
    codec: EventCodec
    on_failure: OnFailure

    def changes_of(self, recorded: RecordedEvent) -> list[Change]:
        """The changes of one event.

        Raises:
            Exception: whatever the projection raises; ``EventDecodeError``.
        """
        return list(_iterable(self.projection, self.projection.apply(self.codec.decode(recorded), recorded)))

    def step(self, batch: EventBatch, after: int, parked: frozenset[str], now: datetime, *, refused: Exception | None = None) -> Step:
        """What to commit for a batch that begins after this position.

        Args:
            batch: what to deal with.
            after: where the rows are.
            parked: streams that have parked events.
            now: the time, for events that are parked.
            refused: why the read model did not take the changes of the only event of the batch.
        """
        changes: list[Change] = []
        apply, decode = self.projection.apply, self.codec.decode
        if self.projection.newest_only and batch.events and not parked and refused is None:
            newest = {recorded.stream.text: recorded for recorded in batch.events}
            with suppress(Exception):  # whose it is comes out below, event by event
                for recorded in newest.values():
                    changes += _iterable(self.projection, apply(decode(recorded), recorded))
                return Step(changes, batch.position, batch.events[-1].recorded_at, None, parked)
            changes.clear()
        done: RecordedEvent | None = None
        for recorded in batch.events:
            problem = _BEHIND if parked and recorded.stream.text in parked else None
            if problem is None:
                count = len(changes)
                try:
                    changes += _iterable(self.projection, apply(decode(recorded), recorded))
                except Exception as error:  # noqa: BLE001  # what a host's function raises is what the policy is about
                    refused = error
                if refused is not None:
                    del changes[count:]
                    problem, refused = describe(refused), None
            if problem is not None and self.on_failure != "park" and problem != _BEHIND:
                place = f"event {recorded.version} of stream {recorded.stream} at position {recorded.position}"
                position, recorded_at = (after, None) if done is None else (done.position, done.recorded_at)
                return Step(changes, position, recorded_at, f"{place} ({recorded.event_type}): {problem}", parked)
            if problem is not None:
                parked |= {recorded.stream.text}
                changes.append(_park(recorded, problem, now))
            done = recorded
        return Step(changes, batch.position, None if done is None else done.recorded_at, None, parked)


def _iterable(projection: Projection, answer: Iterable[Change]) -> Iterable[Change]:
    if hasattr(answer, "__iter__"):
        return answer
    expected = "it gives an iterable of changes, an empty one for none. It is called without await"
    raise HostFunctionError.about(role="projection", function=projection.apply, answer=answer, expected=expected)


def describe(error: Exception) -> str:
    """The error's type, and what it says where it is known to hold no payload."""
    return f"{type(error).__name__}: {error.message}" if isinstance(error, InventoryError) else type(error).__name__


def _park(recorded: RecordedEvent, problem: str, now: datetime) -> Put:
    return Put(
        PARKED.name,
        {
            "position": recorded.position,
            "stream": recorded.stream.text,
            "version": recorded.version,
            "event_type": recorded.event_type,
            "error": problem,
            "parked_at": to_text(now),
        },
    )
