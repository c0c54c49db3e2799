"""From a batch of the feed to one commit: the changes of its events, what is parked, and where a failure is."""

from collections.abc import Sequence
from datetime import datetime

import attrs

from inventory_es.application.projection import PARKED, Envelope, OnFailure, Projection
from inventory_es.application.subscription import EventBatch
from inventory_es.domain.errors import InventoryError
from inventory_es.ports import Change, Checkpoint, EventCodec, Put, RecordedEvent
from inventory_es.ports.read_model import to_text
from inventory_es.ports.row_rules import check_commit

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

    def changes_of(self, recorded: RecordedEvent, *, is_checked: bool = False) -> list[Change]:
        """The changes of one event.

        Raises:
            Exception: whatever the projection raises; ``EventDecodeError``; ``ValueError`` where changes are checked and fit no table.
        """
        envelope = Envelope(recorded.stream, recorded.version, recorded.position, recorded.recorded_at)
        changes = list(self.projection.apply(self.codec.decode(recorded), envelope))
        if is_checked:
            check_commit({table.name: table for table in self.projection.tables}, changes, Checkpoint(), Checkpoint())
        return changes

    def step(self, batch: EventBatch, after: int, parked: frozenset[str], now: datetime, *, is_checked: bool = False) -> Step:
        """What to commit for a batch that begins after this position, with these streams parked."""
        changes: list[Change] = []
        done, recorded_at = after, None
        for recorded in batch.events:
            problem = _BEHIND if recorded.stream.text in parked else None
            if problem is None:
                try:
                    changes += self.changes_of(recorded, is_checked=is_checked)
                except Exception as error:  # noqa: BLE001  # what a host's function raises is what the policy is about
                    problem = describe(error)
            if problem is not None and self.on_failure != "park" and problem != _BEHIND:
                place = f"event {recorded.version} of stream {recorded.stream} at position {recorded.position}"
                return Step(changes, done, recorded_at, f"{place} ({recorded.event_type}): {problem}", parked)
            if problem is not None:
                parked |= {recorded.stream.text}
                changes.append(_park(recorded, problem, now))
            done, recorded_at = recorded.position, recorded.recorded_at
        return Step(changes, batch.position, recorded_at, None, parked)


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
