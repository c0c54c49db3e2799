"""Seeded programs of appends of every legal shape, over hostile names and field values."""

import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import attrs

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import NewEvent, StoreCapabilities, StreamWrite
from inventory_es.testing.contracts.core.event_labels import CATEGORY
from inventory_es.testing.contracts.event_store.comparison import Comparison
from inventory_es.testing.contracts.event_store.hostile_values import EVENT_TYPES, INSTANTS, OBJECTS, SCHEMA_VERSIONS
from inventory_es.testing.contracts.event_store.reference_model import ReferenceModel

_STREAMS = (
    StreamId(CATEGORY, "x"),
    StreamId(CATEGORY, "X"),
    StreamId(CATEGORY, "x", "1"),
    StreamId(CATEGORY, "x1"),
    StreamId(CATEGORY, "x "),
    StreamId(CATEGORY, "%", "_"),
    StreamId("contractx2", "x"),
    StreamId("contract_2", "x"),
)  # fmt: skip
_MOST_EVENTS = 5
_ID_PAIRS = 6


@attrs.define(eq=False)
class AppendProgram:
    """Random appends, each sent to the store and to the reference, and compared.

    Attributes:
        instances: each open instance of the store, compared with one reference; each step writes through one and reads through another.
        chance: draws the program.
        earlier: the appends that were written so far.
        comparison: the instance of the current step.
    """

    instances: Sequence[Comparison]
    chance: random.Random
    earlier: list[Sequence[StreamWrite]] = attrs.field(factory=list[Sequence[StreamWrite]])
    comparison: Comparison = attrs.field(init=False)
    _drawn: int = 0
    _cursor: int = 0

    async def run(self, steps: int) -> None:
        """Draw and send appends, and compare everything that they touch in every way of reading."""
        self.comparison = self.instances[0]
        shapes = [self.new, self.conflict, self.replay, self.new, self.collision, self.cancelled, self.other_envelope]
        if self.comparison.store.capabilities.multi_stream and self._most > 1:
            shapes += [self.several_streams, self.several_streams_in_conflict]
        if self.comparison.store.capabilities.unique_event_ids:
            shapes += [self.part, self.joined, self.half, self.elsewhere]
        if self.comparison.store.has_group_commit:
            shapes.append(self.group)
        order = [self.new, self.new, *self.chance.sample(shapes, len(shapes))]
        order += self.chance.choices(shapes, k=max(0, steps - len(order)))
        await self._look()
        for shape in order[:steps]:
            self.comparison = self.chance.choice(self.instances)
            await shape()
            self.comparison = self.chance.choice(self.instances)
            await self._look()

    async def new(self) -> None:
        """Append new events at the right version."""
        await self._send([self._write(self._stream())])

    async def conflict(self) -> None:
        """Append new events at a wrong version."""
        write = self._write(self._stream())
        wrong = self.chance.choice((0, 1, write.expected_version - 1, write.expected_version + 1, 1_000))
        await self._send([attrs.evolve(write, expected_version=max(0, wrong))])

    async def replay(self) -> None:
        """Send an earlier append again. Where the store knows ids forever, the expected version is any."""
        writes = self.chance.choice(self.earlier)
        if self._is_unique and self.chance.random() < 0.5:
            writes = [attrs.evolve(write, expected_version=self.chance.choice((0, 1, 7))) for write in writes]
        await self._send(writes)

    async def other_envelope(self) -> None:
        """Send an earlier append again, with other metadata and other times."""
        writes = self.chance.choice(self.earlier)
        await self._send([
            attrs.evolve(
                write,
                events=[
                    attrs.evolve(
                        event, metadata=self._object(), recorded_at=some_instant(self.chance)
                    )
                    for event in write.events
                ],
            )
            for write in writes
        ])  # fmt: skip

    async def collision(self) -> None:
        """Send an earlier append again, with one event of another type, schema version or payload."""
        writes = list(self.chance.choice(self.earlier))
        at = self.chance.randrange(len(writes))
        events = list(writes[at].events)
        place = self.chance.randrange(len(events))
        changes = (of_another_type, of_a_padded_type, of_another_schema_version, of_another_payload)
        events[place] = self.chance.choice(changes)(events[place])
        writes[at] = attrs.evolve(writes[at], events=events)
        await self._send(writes)

    async def part(self) -> None:
        """Send a part of a stream's events again: of one append, or of several."""
        stream = self._stored_stream()
        events = self._model.streams[stream]
        start = self.chance.randrange(len(events))
        await self._send([StreamWrite(stream, start, self._few(events[start:]))])

    async def joined(self) -> None:
        """Send the last events of several streams again as one append; of one stream, where an append is to one stream."""
        streams = self.chance.sample(list(self._model.streams), min(len(self._model.streams), self._most, 2))
        if not self.comparison.store.capabilities.multi_stream:
            streams = streams[:1]
        each = max(1, min(self._most, _MOST_EVENTS) // len(streams))
        await self._send([
            StreamWrite(stream, max(0, self._model.version(stream) - each), self._few(self._model.streams[stream][-each:], each))
            for stream in streams
        ])  # fmt: skip

    async def half(self) -> None:
        """Send stored events with a new one, in another order, or with a gap."""
        stream = self._stored_stream()
        events = list(self._few(self._model.streams[stream][-3:], 3))
        version = self._model.version(stream) - len(events)
        if self._most < 2:
            return
        if len(events) < 3 or self._most < 3 or self.chance.random() < 0.4:
            events = [*events[-1:], self._event()] if self.chance.random() < 0.7 else [self._event(), *events[-1:]]
        else:
            events = self.chance.choice(([events[0], events[2]], events[::-1], [events[1], events[0], events[2]]))
        await self._send([StreamWrite(stream, version, events)])

    async def elsewhere(self) -> None:
        """Append an event under an id that another stream holds, in this stream once."""
        stored = self.chance.choice(self._model.feed)
        stream = self._stream()
        if any(event.event_id == stored.event.event_id for event in self._model.streams.get(stream, ())):
            return
        event = attrs.evolve(self._event(), event_id=stored.event.event_id)
        self.comparison.harness.labels.add(f"e{self._drawn}", event)
        await self._send([StreamWrite(stream, self._model.version(stream), [event])])

    async def several_streams(self) -> None:
        """Append to several streams at once; sometimes one of them is stored already, which is a collision."""
        writes = [self._write(stream, self._most // 2 or 1) for stream in self.chance.sample(_STREAMS, 2)]
        if self._is_unique and self.chance.random() < 0.4:
            stored = self._stored_stream()
            writes = [write for write in writes if write.stream != stored][:1]
            again = StreamWrite(stored, self._model.version(stored) - 1, self._model.streams[stored][-1:])
            writes.insert(self.chance.randrange(2), again)
        await self._send(writes)

    async def several_streams_in_conflict(self) -> None:
        """Append to several streams at once, one of them at a wrong version."""
        writes = [self._write(stream, self._most // 2 or 1) for stream in self.chance.sample(_STREAMS, 2)]
        at = self.chance.randrange(2)
        writes[at] = attrs.evolve(writes[at], expected_version=writes[at].expected_version + self.chance.choice((1, 2)))
        await self._send(writes)

    async def cancelled(self) -> None:
        """Cancel an append somewhere, and send it again, as the port requires."""
        writes = [self._write(self._stream())]
        await self.comparison.cancel(writes, self.chance.randrange(6))
        self.earlier.append(writes)

    async def group(self) -> None:
        """Append a group: new events, a repeat, a conflict, and a collision."""
        first, second = self.chance.sample(_STREAMS, 2)
        new = self._write(first)
        last = new.events[-1]
        other = self._write(second)
        groups = [
            [new],
            [attrs.evolve(other, expected_version=other.expected_version + 3)],
            [new],
            [StreamWrite(first, new.expected_version + len(new.events) - 1, [of_another_schema_version(last)])],
            [other],
        ]
        await self.comparison.append_group(groups)
        self.earlier += [groups[0], groups[-1]]

    async def _send(self, writes: Sequence[StreamWrite]) -> None:
        events = [event for write in writes for event in write.events]
        store = self.comparison.store
        if len({event.event_id for event in events}) < len(events):
            return  # two streams may hold one id, and one append may not
        if not store.fits(writes) or max(event.size for event in events) > store.capabilities.max_event_bytes:
            return
        before = len(self._model.feed)
        await self.comparison.append(writes)
        if len(self._model.feed) > before:
            self.earlier.append(writes)

    async def _look(self) -> None:
        stream = self._model.feed[-1].stream if self._model.feed else self._stream()
        other = self._stream()
        limit = self.chance.choice((1, 2, 3, 7, 1_000))
        comparison = self.comparison
        self._cursor = await comparison.feed(after=self._cursor, limits=(limit,))
        for one in {stream: None, other: None}:
            version = self._model.version(one)
            await comparison.stream(
                one,
                after=self.chance.randrange(version + 2),
                before=self.chance.choice((None, self.chance.randrange(1, version + 3))),
                limits=(limit,),
            )
        await comparison.ids(other)
        text = stream.text
        await comparison.catalogue(
            text[: self.chance.randrange(len(text) + 1)], after=self.chance.choice((None, *_STREAMS)), limit=self.chance.choice((1, 2, 100))
        )

    def _write(self, stream: StreamId, most: int = _MOST_EVENTS) -> StreamWrite:
        count = self.chance.randint(1, min(most, self._most, _MOST_EVENTS))
        return StreamWrite(stream, self._model.version(stream), self._few([self._event() for _ in range(count)], most))

    def _few(self, events: Sequence[NewEvent], most: int = _MOST_EVENTS) -> Sequence[NewEvent]:
        """Return the first events, as many as one append may have."""
        return _within(events[: min(most, self._most)], self.comparison.store.capabilities.max_append_bytes // 2)

    def _event(self) -> NewEvent:
        self._drawn += 1
        name = f"e{self._drawn}"
        event = NewEvent(
            self._id(),
            self.chance.choice(EVENT_TYPES),
            self.chance.choice(SCHEMA_VERSIONS),
            self._instant(),
            self._object(),
            self.chance.choice((b"{}", self._object())),
        )
        declared = self.comparison.store.capabilities
        most = min(declared.max_event_bytes, declared.max_append_bytes // 2)
        if event.size > most:
            event = attrs.evolve(event, data=b"{}", metadata=b"{}")
        return self.comparison.harness.labels.add(name, event)

    def _id(self) -> UUID:
        """Return an id; some differ from the one before only in their last or first bits."""
        number = self._drawn
        if number <= _ID_PAIRS:
            return UUID(int=(number % 2) | (number // 2) << 120)
        return UUID(int=self.chance.getrandbits(128))

    def _instant(self) -> datetime:
        return self.chance.choice(INSTANTS) if self.chance.random() < 0.3 else some_instant(self.chance)

    def _object(self) -> bytes:
        return self.chance.choice(OBJECTS)

    def _stream(self) -> StreamId:
        return self.chance.choice(_STREAMS)

    def _stored_stream(self) -> StreamId:
        return self.chance.choice(list(self._model.streams))

    @property
    def _model(self) -> ReferenceModel:
        return self.comparison.model

    @property
    def _most(self) -> int:
        return self.comparison.store.capabilities.max_append_events

    @property
    def _is_unique(self) -> bool:
        return self.comparison.store.capabilities.unique_event_ids


def in_pieces(
    stream: StreamId, version: int, events: Sequence[NewEvent], declared: StoreCapabilities, *, most: int = 1_000
) -> Iterator[StreamWrite]:
    """Yield consecutive writes that append ``events`` in as few appends as the declared maxima allow."""
    while events:
        piece = _within(events[: min(most, declared.max_append_events)], declared.max_append_bytes)
        yield StreamWrite(stream, version, piece)
        version, events = version + len(piece), events[len(piece) :]


def of_another_type(event: NewEvent) -> NewEvent:
    """Return the event with a type that differs by the case of one letter or by one character."""
    turned = event.event_type.swapcase()
    return attrs.evolve(event, event_type=turned if turned != event.event_type else f"{event.event_type[:127]}~")


def of_a_padded_type(event: NewEvent) -> NewEvent:
    """Return the event with a type that has a blank at its end."""
    return attrs.evolve(event, event_type=f"{event.event_type[:127]} ")


def of_another_schema_version(event: NewEvent) -> NewEvent:
    """Return the event with another schema version."""
    return attrs.evolve(event, schema_version=event.schema_version + 1 if event.schema_version == 1 else event.schema_version - 1)


def of_another_payload(event: NewEvent) -> NewEvent:
    """Return the event with an equal JSON payload that is printed with one more blank."""
    return attrs.evolve(event, data=b"{ " + event.data[1:])


def _within(events: Sequence[NewEvent], most: int) -> Sequence[NewEvent]:
    """Return the first events that have ``most`` bytes together, at least one event."""
    kept, size = list(events[:1]), events[0].size
    for event in events[1:]:
        size += event.size
        if size > most:
            break
        kept.append(event)
    return kept


def some_instant(chance: random.Random) -> datetime:
    """Return a time with microseconds, in 2026 or later."""
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(microseconds=chance.randrange(10**15))
