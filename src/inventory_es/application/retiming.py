"""Retiming: sets back the times of events that a clock in the future recorded."""

from copy import copy
from datetime import datetime, timedelta
from typing import Any, Self

import attrs

from inventory_es.domain.events import EVENT_TYPES, ReservationExtendedEvent
from inventory_es.domain.processes.event_types import PROCESS_EVENT_TYPES
from inventory_es.ports import EventCodec, RecordedEvent

_LEAST = timedelta(microseconds=1)

_TYPES = {kind.__name__: kind for kind in (*EVENT_TYPES, *PROCESS_EVENT_TYPES) if "expires_at" in attrs.fields_dict(kind)}
"""By wire name, the events that hold an instant computed from the time of the event."""


class Retiming:
    """Sets back the times of events that a clock ahead recorded, and the ends of reservations that follow from them.

    Apply it to every event once, in the order of the feed.

    Args:
        codec: reads and writes the payloads of reservations and orders.
        after: events that were recorded later than this instant are set back. Choose an instant that no right clock has reached.
        by: time by which the clock was ahead; above zero.

    Raises:
        ValueError: ``after`` is not an aware datetime in UTC, or ``by`` is not above zero.
    """

    def __init__(self, codec: EventCodec, *, after: datetime, by: timedelta) -> None:
        if after.utcoffset() != timedelta(0):
            msg = "after must be an aware datetime in UTC"
            raise ValueError(msg)
        if by <= timedelta(0):
            msg = "the times are set back by more than zero"
            raise ValueError(msg)
        self._codec = codec
        self._after = after
        self._by = by
        self._last: dict[str, datetime] = {}
        self._ends: dict[tuple[str, str], datetime] = {}

    def fork(self) -> Self:
        """Return a copy that goes on from here independently, to read a part of the feed twice."""
        other = copy(self)
        vars(other).update(_last=dict(self._last), _ends=dict(self._ends))
        return other

    def apply(self, recorded: RecordedEvent) -> RecordedEvent:
        """Return the next event of the feed as it would have been with a right clock.

        Raises:
            ValueError: its time would come before that of the event before it, or is still later than ``after``.
            EventDecodeError: its payload can't be decoded.
        """
        name, at, data = recorded.stream.text, recorded.recorded_at, recorded.data
        if at > self._after:
            at -= self._by
            self._check(recorded, at)
            kind = _TYPES.get(recorded.event_type)
            if kind is not None:
                data = self._codec.encode(self._with_ends(name, self._codec.decode(recorded))).data
        self._last[name] = at
        return RecordedEvent(
            recorded.stream,
            recorded.version,
            recorded.position,
            recorded.event_id,
            recorded.event_type,
            recorded.schema_version,
            at,
            data,
            recorded.metadata,
        )

    def _check(self, recorded: RecordedEvent, at: datetime) -> None:
        place = f"event {recorded.version} of stream {recorded.stream}, recorded at {recorded.recorded_at.isoformat()}"
        last = self._last.get(recorded.stream.text)
        if at > self._after:
            msg = f"{place}, would still be later than {self._after.isoformat()}: set the times back by more"
            raise ValueError(msg)
        if last is not None and at < last:
            most = recorded.recorded_at - last
            msg = f"{place}, would come before the event before it: set the times back by {most} at most"
            raise ValueError(msg)

    def _with_ends(self, stream: str, event: Any) -> Any:
        """Return ``event`` with the ends that a right clock would have given it.

        An end that is not later than ``after`` is from a right clock. An extension without effect still moves the end by a microsecond,
        since no event of a stream can be left out.
        """
        changes: dict[str, datetime] = {}
        end = event.expires_at
        if end is not None and end > self._after:
            end -= self._by
        if isinstance(event, ReservationExtendedEvent):
            changes["previous_expires_at"] = previous = self._ends.get((stream, event.reservation_id), event.previous_expires_at)
            if end is not None:
                end = max(end, previous + _LEAST)
        if end is not None and hasattr(event, "reservation_id"):
            self._ends[stream, event.reservation_id] = end
        return attrs.evolve(event, expires_at=end, **changes)
