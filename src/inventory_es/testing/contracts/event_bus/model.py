"""A model of the events that each group still has to get. Each delivery of the bus under test must be allowed by the model.

A group has one queue per stream. The first unanswered event of a stream is due. While it is out, no event of the stream may come. No
later event may come before it was acknowledged or given up. The model allows what cannot be known: a publish that was cut off, an event
that was published twice, one repeat of an acknowledged event.
"""

from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import NoReturn
from uuid import UUID

import attrs

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import BusCapabilities, DeadLetter, Delivery, RecordedEvent
from inventory_es.testing.contracts.core.difference import difference
from inventory_es.testing.contracts.core.event_labels import EventLabels, stream_name
from inventory_es.testing.promise import MismatchError


@attrs.define(eq=False)
class Due:
    """One publication of an event, for one group.

    Attributes:
        is_certain: True if the group must get it.
        letter: the dead letter that it was, where it is delivered again.
        deliveries: the number of its deliveries.
        untold: the number of cancelled receives that may have taken it, each of which may count as a delivery.
    """

    event: RecordedEvent
    is_certain: bool = True
    letter: "_Dead | None" = None
    deliveries: int = 0
    untold: int = 0


@attrs.define(eq=False)
class Handed:
    """A delivery as the model saw it.

    Attributes:
        group: the group that got it.
        consumer: the consumer that has it, by identity.
        due: its publication; ``None`` for a repeat of an acknowledged event.
        is_open: True if its answer still counts.
    """

    delivery: Delivery
    group: "GroupModel"
    consumer: object
    due: Due | None
    attempt: int
    is_open: bool = True


@attrs.define(eq=False)
class _Dead:
    due: Due
    reason: str | None
    rank: int


@attrs.define(eq=False)
class _Lane:
    """One stream of one group.

    Attributes:
        waiting: the unanswered events, in order.
        revived: dead letters that are delivered again.
        out: the unanswered delivery.
        repeats: by event that is done, how often it may still come again.
        missed: events of a publish that was cut off and has not published them, because a later event came.
    """

    waiting: list[Due] = attrs.field(factory=list[Due])
    revived: list[Due] = attrs.field(factory=list[Due])
    out: Handed | None = None
    repeats: dict[UUID, int] = attrs.field(factory=dict[UUID, int])
    missed: set[UUID] = attrs.field(factory=set[UUID])

    def candidates(self) -> list[Due]:
        """Return the events that may come next: up to the first certain one, and dead letters that are delivered again."""
        found: list[Due] = []
        for due in self.waiting:
            found.append(due)
            if self.must_come(due) or (due.is_certain and due.deliveries):
                break
        return found + self.revived

    def must_come(self, due: Due) -> bool:
        """Return True if the group must get the event. Of an event that was published twice, one publication is enough."""
        if due.letter is not None or not due.is_certain:
            return due.is_certain
        if due.event.event_id in self.repeats:
            return False
        before = self.waiting[: self.waiting.index(due)] if due in self.waiting else []
        return not any(each.is_certain and each.event.event_id == due.event.event_id for each in before)

    def is_repeat(self, delivery: Delivery) -> bool:
        """Return True if the delivery can only be a repeat: of an event that was published again, with another attempt."""
        due = next((each for each in self.candidates() if each.event.event_id == delivery.event.event_id), None)
        return due is not None and not due.deliveries and delivery.attempt > 1 and self.repeats.get(delivery.event.event_id, 0) > 0

    def pick(self, event_id: UUID) -> Due | None:
        """Remove the event from those that wait, with the uncertain ones before it."""
        due = next((each for each in self.candidates() if each.event.event_id == event_id), None)
        if due in self.revived:
            self.revived.remove(due)
        elif due is not None:
            at = self.waiting.index(due)
            for skipped in self.waiting[:at]:
                if skipped.is_certain or skipped.deliveries or skipped.event.event_id in self.repeats:
                    self.done(skipped, repeats=2)
                else:
                    self.missed.add(skipped.event.event_id)
            del self.waiting[: at + 1]
        return due

    def done(self, due: Due, *, repeats: int = 1) -> None:
        """Note that an event was acknowledged or given up; it may come once more."""
        self.repeats[due.event.event_id] = self.repeats.get(due.event.event_id, 0) + repeats

    def undo(self, due: Due) -> None:
        """Note that nobody knows whether an event was acknowledged."""
        left = self.repeats.pop(due.event.event_id) - 1
        if left > 0:
            self.repeats[due.event.event_id] = left

    def is_due(self) -> bool:
        """Return True if an event has to come now."""
        return self.out is None and any(self.must_come(due) for due in (*self.waiting, *self.revived))


@attrs.define(eq=False)
class GroupModel:
    """One group.

    Attributes:
        name: the name of the group.
        types: the event types that it takes; ``None`` for all.
        streams: the streams that it takes; ``None`` for all.
        is_joined: True if its first subscription has begun for certain.
    """

    name: str
    types: Collection[str] | None
    streams: Collection[StreamId] | None
    is_joined: bool = False
    lanes: dict[StreamId, _Lane] = attrs.field(factory=dict[StreamId, _Lane])
    dead: list[_Dead] = attrs.field(factory=list[_Dead])
    _ranks: int = 0

    def takes(self, event: RecordedEvent) -> bool:
        """Return True if the filter of the group takes an event."""
        return (self.types is None or event.event_type in self.types) and (self.streams is None or event.stream in self.streams)

    def lane(self, stream: StreamId) -> _Lane:
        """Return the lane of a stream."""
        return self.lanes.setdefault(stream, _Lane())

    def add(self, event: RecordedEvent, *, is_certain: bool) -> list[Due]:
        """Add a publication, and return its entries; none where the filter does not take it."""
        if not self.takes(event):
            return []
        due = Due(event, is_certain)
        self.lane(event.stream).waiting.append(due)
        return [due]

    def cancelled(self) -> None:
        """Note that a receive was cancelled, which may have taken any event that was due."""
        for lane in self.lanes.values():
            for due in lane.candidates() if lane.out is None else ():
                due.untold += 1

    @property
    def is_quiet(self) -> bool:
        """True if no consumer of the group has an unanswered delivery."""
        return all(lane.out is None for lane in self.lanes.values())

    @property
    def is_due(self) -> bool:
        """True if an event has to come to a waiting consumer."""
        return any(lane.is_due() for lane in self.lanes.values())

    @property
    def is_drained(self) -> bool:
        """True if every certain event has come and was answered."""
        return self.is_quiet and not self.is_due

    @property
    def size(self) -> int:
        """The number of unanswered events, at most."""
        return sum(len(lane.waiting) + len(lane.revived) + (lane.out is not None) for lane in self.lanes.values())

    def withdraw(self, events: Collection[RecordedEvent]) -> None:
        """Note that a cancelled redelivery has not taken these dead letters, so that they are dead letters still."""
        for event in events:
            lane = self.lane(event.stream)
            due = next((due for due in lane.revived if _is_same(due.event, event)), None)
            if due is not None and due.letter is not None:
                lane.revived.remove(due)
                self.dead.append(due.letter)
                self.dead.sort(key=lambda dead: dead.rank)

    def next_rank(self) -> int:
        """Return the next number in the order of the dead letters."""
        self._ranks += 1
        return self._ranks


@attrs.define(eq=False)
class Publication:
    """One event of one publish.

    Attributes:
        dues: its entries in the groups that must get it.
        is_certain: True if the publish has returned.
    """

    event: RecordedEvent
    dues: list[Due]
    is_certain: bool = False


@attrs.define(eq=False)
class BusModel:
    """All groups of one bus, and everything that was published on it."""

    capabilities: BusCapabilities
    labels: EventLabels
    groups: dict[str, GroupModel] = attrs.field(factory=dict[str, GroupModel])
    is_off: bool = False
    _publications: list[Publication] = attrs.field(factory=list[Publication])
    _handed: dict[int, Handed] = attrs.field(factory=dict[int, Handed])

    def joining(self, name: str, types: Collection[str] | None, streams: Collection[StreamId] | None) -> GroupModel:
        """Note that a consumer is about to join."""
        group = self.groups.get(name)
        if group is None:
            group = self.groups[name] = GroupModel(name, types, streams)
            for publication in self._publications if self.capabilities.late_subscribers == "replay" else ():
                group.add(publication.event, is_certain=publication.is_certain)
        return group

    def publishing(self, events: Sequence[RecordedEvent]) -> list[Publication]:
        """Note that events are about to be published. Pass the result to :meth:`published` or :meth:`refused`."""
        if self.is_off:
            return []
        added = [self._publication(event) for event in events]
        self._publications += added
        return added

    def published(self, publications: Collection[Publication]) -> None:
        """Note that the publish has returned: every group that existed gets its events."""
        for publication in publications:
            publication.is_certain = True
            for due in publication.dues:
                due.is_certain = True

    def refused(self, publications: Collection[Publication]) -> None:
        """Note that the publish was refused: none of its events may come."""
        self._publications = [each for each in self._publications if each not in publications]
        dues = [due for publication in publications for due in publication.dues]
        for group in self.groups.values():
            for lane in group.lanes.values():
                lane.waiting = [due for due in lane.waiting if due not in dues]

    def _publication(self, event: RecordedEvent) -> Publication:
        added = {group.name: group.add(event, is_certain=False) for group in self.groups.values()}
        return Publication(event, [due for name, dues in added.items() for due in dues if self.groups[name].is_joined])

    def delivered(self, group: GroupModel, consumer: object, delivery: Delivery) -> Handed:
        """Note a delivery, which must be due, or a repeat."""
        event, lane = delivery.event, group.lane(delivery.event.stream)
        if self.is_off:
            return self._hand(lane, Handed(delivery, group, consumer, None, delivery.attempt))
        label = f"{self.labels.label(event)} of {stream_name(event.stream)}"
        if not group.takes(event):
            _wrong("events that the filter takes", f"{label}, of type {event.event_type}", "a filter let through what it has to hold")
        if lane.out is not None:
            other = "the same consumer" if lane.out.consumer is consumer else "another consumer"
            held = self.labels.label(lane.out.delivery.event)
            _wrong(
                f"nothing of {stream_name(event.stream)} while {held} is unanswered",
                f"{label} to {group.name}, with {held} still at {other}",
                "two handlers work on one stream at once: the later event may be done before the earlier one",
            )
        expected = self._show(lane)
        due = None if lane.is_repeat(delivery) else lane.pick(event.event_id)
        if due is None:
            self._check_repeat(group, lane, event, label, expected)
        else:
            self._check_due(due, delivery, label)
        return self._hand(lane, Handed(delivery, group, consumer, due, delivery.attempt))

    def _hand(self, lane: _Lane, handed: Handed) -> Handed:
        if not self.is_off:
            lane.out = handed
        self._handed[id(handed.delivery)] = handed
        return handed

    def handed(self, delivery: Delivery) -> Handed:
        """Return the note of a delivery."""
        return self._handed[id(delivery)]

    def answering(self, delivery: Delivery, reason: str | None) -> bool:
        """Note an answer that is about to be given, ``None`` for an acknowledgement, and return True if it is the one that counts."""
        handed = self.handed(delivery)
        if not handed.is_open:
            return False
        handed.is_open = False
        lane, due = handed.group.lane(delivery.event.stream), handed.due
        if lane.out is handed:
            lane.out = None
        if due is None:
            return True
        with suppress(ValueError):  # there after an answer that was cut off
            lane.waiting.remove(due)
        due.is_certain = True
        if reason is None:
            lane.done(due)
        elif due.deliveries < self.capabilities.max_deliveries:
            lane.waiting.insert(0, due)
        else:
            lane.done(due)
            handed.group.dead.append(_Dead(due, reason, handed.group.next_rank()))
        return True

    def cut_off(self, delivery: Delivery) -> None:
        """Note that an answer was cut off: it may count or not, and may be given again."""
        handed = self.handed(delivery)
        if handed.due is None:
            return
        handed.is_open = True
        handed.due.is_certain = False
        lane = handed.group.lane(delivery.event.stream)
        if handed.due not in lane.waiting:
            lane.undo(handed.due)
            lane.waiting.insert(0, handed.due)

    def left(self, group: GroupModel, consumer: object) -> None:
        """Note that a consumer leaves: each of its unanswered deliveries has failed."""
        rank = group.next_rank()
        for lane in group.lanes.values():
            handed = lane.out
            if handed is None or handed.consumer is not consumer:
                continue
            lane.out, handed.is_open = None, False
            if handed.due is None:
                lane.repeats[handed.delivery.event.event_id] += 1
                continue
            handed.due.is_certain = True
            if handed.due.deliveries < self.capabilities.max_deliveries:
                lane.waiting.insert(0, handed.due)
            else:
                lane.done(handed.due)
                group.dead.append(_Dead(handed.due, None, rank))

    def redelivering(self, name: str, event_ids: Collection[UUID]) -> list[Due]:
        """Note that dead letters are about to be delivered again."""
        group = self.groups.get(name)
        if group is None:
            return []
        chosen = [dead for dead in group.dead if dead.due.event.event_id in event_ids]
        group.dead = [dead for dead in group.dead if dead not in chosen]
        revived = [Due(dead.due.event, letter=dead) for dead in chosen]
        for due in revived:
            group.lane(due.event.stream).revived.append(due)
        return revived

    def check_letters(self, name: str, letters: Sequence[DeadLetter], limit: int) -> None:
        """Expect the dead letters of a group to be those of the model."""
        if self.is_off:
            return
        group = self.groups.get(name)
        left = list(group.dead if group is not None else ())
        expected = f"[{' '.join(self.labels.label(dead.due.event) for dead in left[:limit])}]"
        got = self.labels.show(letter.event for letter in letters)
        for letter in letters[: limit + 1]:
            rank = left[0].rank if left else 0
            dead = next((each for each in left if each.rank == rank and _is_same(each.due.event, letter.event)), None)
            if dead is None or len(letters) > limit:
                meaning = f"the dead letters of {name} are others, or more, or not the oldest first; at most {limit} were asked for"
                _wrong(f"the dead letters {expected}", got, meaning)
            left.remove(dead)
            self._check_letter(dead, letter)
        if left and len(letters) < limit:
            _wrong(f"the dead letters {expected}", got, f"a dead letter of {name} is missing")

    def check_steady(self) -> None:
        """Expect every delivery to be as it was when it came."""
        for handed in self._handed.values():
            if handed.delivery.attempt != handed.attempt:
                got = f"attempt {handed.delivery.attempt} of {self.labels.label(handed.delivery.event)}"
                _wrong(f"attempt {handed.attempt}, as when it came", got, "a delivery tells of itself, not of a later one")

    def _check_letter(self, dead: _Dead, letter: DeadLetter) -> None:
        label = self.labels.label(dead.due.event)
        differs = difference(dead.due.event, letter.event)
        if differs is not None:
            _wrong("every field of a dead letter's event as published", f"{label}: {differs}", "it would be delivered as another")
        if letter.deliveries != dead.due.deliveries:
            got = f"{letter.deliveries} of {label}"
            _wrong(f"deliveries {dead.due.deliveries}", got, "a dead letter tells how often it was delivered")
        if not isinstance(letter.reason, str) or not (letter.reason if dead.reason is None else letter.reason == dead.reason):
            expected = "a reason" if dead.reason is None else f"reason {_short(dead.reason)}"
            _wrong(expected, f"{_short(letter.reason)} of {label}", "a dead letter keeps the reason of its last nack, whole")
        if letter.since.utcoffset() is None:
            _wrong("since with a time zone", f"{letter.since!r} of {label}", "a time without a zone is another one elsewhere")

    def _check_due(self, due: Due, delivery: Delivery, label: str) -> None:
        differs = difference(due.event, delivery.event)
        if differs is not None:
            _wrong("every field as published", f"{label}: {differs}", "a bus carries events: it changes nothing in them")
        least = due.deliveries + 1
        if not least <= delivery.attempt <= least + due.untold:
            meaning = f"attempts of one event are counted for each group, from 1; {due.deliveries} deliveries of it came before"
            _wrong(f"attempt {least} of {label}", f"attempt {delivery.attempt}", meaning)
        due.deliveries, due.untold = delivery.attempt, 0

    def _check_repeat(self, group: GroupModel, lane: _Lane, event: RecordedEvent, label: str, expected: str) -> None:
        left = lane.repeats.get(event.event_id, 0)
        if left > 0:
            lane.repeats[event.event_id] = left - 1
            return
        known = [dead for dead in group.dead if _is_same(dead.due.event, event)]
        if known:
            meaning = "a dead letter was delivered again although nobody asked for it"
        elif event.event_id in lane.repeats:
            meaning = "an event that was acknowledged twice came once more: acknowledgements are forgotten"
        elif any(_is_same(due.event, event) for due in lane.waiting):
            meaning = "an event overtook one of its stream that was neither acknowledged nor given up"
        elif event.event_id in lane.missed:
            meaning = "a publish that was cut off took effect when later events of the stream had come"
        else:
            meaning = "an event was delivered that was never published to this group"
        _wrong(f"{expected} to {group.name}", label, meaning)

    def _show(self, lane: _Lane) -> str:
        names = dict.fromkeys(self.labels.label(due.event) for due in lane.candidates())
        return " or ".join(names) or "no event of this stream"


def _is_same(one: RecordedEvent, other: RecordedEvent) -> bool:
    return one.event_id == other.event_id and one.stream == other.stream


def _short(text: object) -> str:
    shown = repr(text)
    return shown if len(shown) <= 60 else f"{shown[:40]}… ({len(str(text))} characters)"


def _wrong(expected: str, got: str, meaning: str) -> NoReturn:
    raise MismatchError(expected=expected, got=got, meaning=meaning)
