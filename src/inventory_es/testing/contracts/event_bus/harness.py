"""The harness of the event bus's cases."""

from collections.abc import AsyncGenerator, AsyncIterator, Collection, Coroutine, Generator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from copy import copy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol, TypeVar
from uuid import UUID

import anyio
import attrs

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import BusCapabilities, BusSubscription, DeadLetter, Delivery, EventBus, NewEvent, RecordedEvent
from inventory_es.ports.errors import AppendTooLargeError
from inventory_es.ports.records import MAX_SCHEMA_VERSION
from inventory_es.testing.contracts.core.contract import Run
from inventory_es.testing.contracts.core.difference import difference
from inventory_es.testing.contracts.core.event_labels import EVENT_TYPE, EventLabels, recorded, show_labels, stream_id
from inventory_es.testing.contracts.core.schedule import AtSuspension
from inventory_es.testing.contracts.core.tested_port import TestedPort
from inventory_es.testing.contracts.event_bus.model import BusModel, GroupModel
from inventory_es.testing.contracts.event_store.harness import declared_beyond
from inventory_es.testing.promise import MismatchError
from inventory_es.testing.site import Site

T = TypeVar("T")


class _Hooks(Protocol):
    """The declarations and hooks of the contract that the cases use."""

    patience_for_delivery: float

    def open_bus(self, site: Site) -> AbstractAsyncContextManager[EventBus]: ...
    async def drop(self, site: Site) -> None: ...


@attrs.define(eq=False)
class BusHarness:
    """The harness of one run: it opens buses on the run's site, and makes the events that are published on them."""

    contract: _Hooks
    run: Run
    labels: EventLabels = attrs.field(factory=EventLabels)
    _published: dict[str, RecordedEvent] = attrs.field(factory=dict[str, RecordedEvent])
    _versions: dict[str, int] = attrs.field(factory=dict[str, int])
    _model: BusModel | None = None

    @asynccontextmanager
    async def open(self) -> AsyncGenerator["TestedBus", None]:
        """Open an instance on the run's site. A durable bus must remember earlier publications, answers and dead letters."""
        async with self.contract.open_bus(self.run.site) as raw:
            self.run.note_opened(raw, attrs.asdict(raw.capabilities), declared_beyond(raw.capabilities, BusCapabilities()))
            if self._model is None or not raw.capabilities.durable:
                self._model = BusModel(raw.capabilities, self.labels)
            bus = TestedBus(raw, self.run, self, self._model)
            yield bus
            bus.model.check_steady()
            bus.check_answers()

    @asynccontextmanager
    async def open_elsewhere(self) -> AsyncGenerator["TestedBus", None]:
        """Open a bus at another site, which shares nothing with the run's site."""
        with TemporaryDirectory(prefix="inventory-es-", ignore_cleanup_errors=True) as folder:
            site = Site(f"{self.run.site.name}_b", Path(folder))
            try:
                async with self.contract.open_bus(site) as raw:
                    yield TestedBus(raw, self.run, self, BusModel(raw.capabilities, self.labels))
            finally:
                with anyio.CancelScope(shield=True):
                    await self.contract.drop(site)

    def events(self, text: str) -> list[RecordedEvent]:
        """Return the next events of a stream: ``x a b`` are two of the stream x. An equal label is the same event again."""
        name, _, labels = text.partition(" ")
        return [self._event(name, label) for label in labels.split()]

    def record(
        self, label: str, stream: StreamId, *, event_id: UUID | None = None, event_type: str = EVENT_TYPE, **fields: Any
    ) -> RecordedEvent:
        """Return the next event of a stream, with an id or fields of its own."""
        version = self._versions[str(stream)] = self._versions.get(str(stream), 0) + 1
        new = attrs.evolve(self._new(label), event_type=event_type)
        new = self.labels.add(label, new if event_id is None else attrs.evolve(new, event_id=event_id))
        position = len(self._published) + 1
        self._published[label] = attrs.evolve(recorded(stream, version, position, new), **fields)
        return self._published[label]

    def _event(self, name: str, label: str) -> RecordedEvent:
        if label not in self._published:
            version = self._versions[name] = self._versions.get(name, 0) + 1
            position = len(self._published) + 1
            self._published[label] = recorded(stream_id(name), version, position, self._new(label))
        return self._published[label]

    def _new(self, label: str) -> NewEvent:
        """Return an event in which a change by the bus shows: its schema version is unique, and no encoder writes such data."""
        event = self.labels.event(label)
        data = event.data[:-1] + b' , "n":1.0, "\\u00e9": "\xc3\xa9"}'
        return self.labels.add(label, attrs.evolve(event, schema_version=MAX_SCHEMA_VERSION - len(self._published), data=data))


@attrs.define(eq=False)
class TestedBus(TestedPort[EventBus]):
    """A bus under test."""

    harness: BusHarness
    model: BusModel
    fences: int = 0
    _filled: int = 0
    _answers: list[tuple[str, Sequence[DeadLetter], tuple[DeadLetter, ...]]] = attrs.field(factory=list)

    @property
    def capabilities(self) -> BusCapabilities:
        """The declared capabilities."""
        return self.raw.capabilities

    async def publish(self, *texts: str, at_suspension: AtSuspension | None = None) -> None:
        """Publish in one call, each text ``x a b``."""
        await self.publish_events([event for text in texts for event in self.harness.events(text)], at_suspension=at_suspension)

    async def publish_events(self, events: Sequence[RecordedEvent], *, at_suspension: AtSuspension | None = None) -> None:
        """Publish in one call."""
        note = f"publish {self.harness.labels.show(events)}"
        publications = self.model.publishing(events)
        try:
            with _lent(list(events)) as given:
                await self.call(note, self.raw.publish(given), at_suspension=at_suspension)
        except AppendTooLargeError as error:
            self.model.refused(publications)
            self._check_refusal(events, error)
            raise
        self.model.published(publications)

    def _check_refusal(self, events: Sequence[RecordedEvent], error: AppendTooLargeError) -> None:
        limit = self.capabilities.max_event_bytes
        sizes = {event.size for event in events if event.size > limit}
        if error.limit != limit or error.actual not in sizes:
            expected = f"limit {limit} and actual {' or '.join(map(str, sorted(sizes))) or 'of an event above it'}"
            meaning = "each event of a call is measured by itself, in bytes of data and metadata"
            raise MismatchError(expected=expected, got=f"limit {error.limit} and actual {error.actual}", meaning=meaning)

    @asynccontextmanager
    async def join(
        self, group: str, *, types: Collection[str] | None = None, streams: Collection[str | StreamId] | None = None
    ) -> AsyncGenerator["TestedSubscription", None]:
        """Join a group as one consumer."""
        ids = None if streams is None else [stream_id(name) if isinstance(name, str) else name for name in streams]
        self.run.history.begin(f"join {group}").outcome = "joined"
        model = self.model.joining(group, types, ids)
        given_types, given_streams = copy(types), copy(ids)
        async with self.raw.subscribe(group, types=given_types, streams=given_streams) as raw:
            for given in (given_types, given_streams):
                if isinstance(given, list | set | dict):
                    given.clear()  # after the call, the list is the caller's again
            model.is_joined = True
            subscription = TestedSubscription(raw, self, model)
            try:
                yield subscription
            finally:
                self.model.left(model, subscription)
        self.run.history.begin(f"leave {group}").outcome = "left"

    async def fill(self, stream: str, count: int, *, published: list[RecordedEvent]) -> None:
        """Publish so many events, one call each, and append them to the list."""
        for _ in range(count):
            self._filled += 1
            event = self.harness.record(f"{stream}{self._filled}", stream_id(stream))
            await self.publish_events([event])
            published.append(event)

    async def join_and_leave(self, group: str, at_suspension: AtSuspension) -> None:
        """Join and leave at once. The schedule decides where both are suspended."""

        async def call() -> None:
            async with self.raw.subscribe(group):
                pass

        await self.call(f"join and leave {group}", call(), lambda _: "left", at_suspension)

    async def letters_as_they_are(self, group: str) -> Sequence[DeadLetter]:
        """Return the dead letters of a group, without comparing them with the model."""
        return await self.raw.dead_letters(group)

    async def dead_letters(self, group: str, *, limit: int | None = None) -> Sequence[DeadLetter]:
        """Return the dead letters of a group, which must be those of the model."""

        def show(letters: Sequence[DeadLetter]) -> str:
            return self.harness.labels.show(letter.event for letter in letters)

        call = self.raw.dead_letters(group) if limit is None else self.raw.dead_letters(group, limit=limit)
        letters = await self.call(f"dead letters of {group}", call, show)
        self._answers.append((group, letters, tuple(letters)))
        self.model.check_letters(group, letters, 100 if limit is None else limit)
        return letters

    async def redeliver(self, group: str, events: Sequence[RecordedEvent], *, at_suspension: AtSuspension | None = None) -> int:
        """Deliver dead letters again."""
        ids = [event.event_id for event in events]
        revived = self.model.redelivering(group, ids)
        note = f"redeliver {self.harness.labels.show(events)} to {group}"
        with _lent(ids) as given:
            count = await self.call(note, self.raw.redeliver(group, given), str, at_suspension)
        least = len({due.event.event_id for due in revived})
        if not least <= count <= len(revived) and not self.model.is_off:
            raise MismatchError(
                expected=f"{len(revived)} dead letters delivered again",
                got=str(count),
                meaning=f"redeliver answers how many dead letters of {group} it found",
            )
        return count

    def check_answers(self) -> None:
        """Expect the dead letters that were read earlier to be unchanged."""
        for group, letters, before in self._answers:
            differs = difference(before, tuple(letters))
            if differs is not None:
                meaning = f"the dead letters of {group} that were read are the caller's: a later call changes them"
                raise MismatchError(expected="an answer that stays as it is", got=differs, meaning=meaning)

    async def close(self) -> None:
        """Close the bus."""
        await self.call("close", self.raw.aclose(), lambda _: "closed")


class TestedSubscription:
    """One consumer of a group. The model of the bus sees every delivery and every answer."""

    __test__ = False  # no test class, although its name begins with Test

    def __init__(self, raw: BusSubscription, bus: TestedBus, model: GroupModel) -> None:
        self._raw = raw
        self._deliveries = aiter(raw)
        self._bus = bus
        self.model = model
        self.group: str = model.name

    async def receive(self) -> Delivery:
        """Return the next delivery, which must come within the patience of the contract."""
        with anyio.move_on_after(self._bus.harness.contract.patience_for_delivery):
            return await self.next()
        raise MismatchError(
            expected=f"a delivery to {self.group}",
            got=f"none within {self._bus.harness.contract.patience_for_delivery:g} s",
            meaning="an event was lost, or is held back behind one that nobody answers",
        )

    async def next(self, *, at_suspension: AtSuspension | None = None) -> Delivery:
        """Wait for the next delivery, however long it takes. A repeat of an acknowledged event is acknowledged again and skipped."""
        while True:
            delivery = await self._next(at_suspension)
            if self._bus.model.is_off or self._bus.model.handed(delivery).due is not None:
                return delivery
            with anyio.CancelScope(shield=True):
                await self.ack(delivery)

    async def _next(self, at_suspension: AtSuspension | None) -> Delivery:
        harness = self._bus.harness
        entry = harness.run.history.begin(f"{self.group} receives")
        try:
            delivery = await harness.run.schedule.drive(_next(self._deliveries), at_suspension)
        except anyio.get_cancelled_exc_class():
            entry.outcome = "nothing"
            self.model.cancelled()
            self._deliveries = aiter(self._raw)  # an iteration that is a generator ended with the cancellation
            raise
        entry.outcome = f"{harness.labels.label(delivery.event)} (attempt {delivery.attempt})"
        self._bus.model.delivered(self.model, self, delivery)
        return delivery

    async def iterate_again(self) -> None:
        """Begin another iteration of the same consumer. A generator is closed first, as its caller has to do when leaving it early."""
        if isinstance(self._deliveries, AsyncGenerator):
            await self._deliveries.aclose()
        self._deliveries = aiter(self._raw)

    async def ends(self) -> None:
        """Wait for the end of the deliveries: the end of the iteration, or ``StoreClosedError``."""
        await _next(self._deliveries)

    async def take(self, labels: str, *, meaning: str, in_order: bool = True) -> list[Delivery]:
        """Receive and acknowledge so many events, and expect these, in this order. Without it, the model checks that of each stream."""
        deliveries: list[Delivery] = []
        for _ in labels.split():
            delivery = await self.receive()
            await self.ack(delivery)
            deliveries.append(delivery)
        got = [self._bus.harness.labels.label(delivery.event) for delivery in deliveries]
        if got != labels.split() and (in_order or sorted(got) != sorted(labels.split())):
            raise MismatchError(expected=f"{show_labels(labels.split())} to {self.group}", got=show_labels(got), meaning=meaning)
        return deliveries

    async def ack(self, delivery: Delivery, *, at_suspension: AtSuspension | None = None) -> None:
        """Acknowledge a delivery."""
        await self._answer(delivery, None, delivery.ack(), at_suspension)

    async def nack(self, delivery: Delivery, reason: str, *, at_suspension: AtSuspension | None = None) -> None:
        """Refuse a delivery."""
        await self._answer(delivery, reason, delivery.nack(reason), at_suspension)

    async def _answer(
        self, delivery: Delivery, reason: str | None, call: Coroutine[Any, Any, None], at_suspension: AtSuspension | None
    ) -> None:
        note = f"{'ack' if reason is None else 'nack'} {self._bus.harness.labels.label(delivery.event)}"
        counts = self._bus.model.answering(delivery, reason)
        try:
            await self._bus.call(note, call, at_suspension=at_suspension)
        except BaseException:
            if counts:
                self._bus.model.cut_off(delivery)
            raise

    async def drain(self) -> None:
        """Receive and acknowledge until no event is due, and expect an event that is published now to come next."""
        await self.finish()
        self._bus.fences += 1
        fence = self._bus.harness.record(f"fence{self._bus.fences}", stream_id("fence"))
        await self._bus.publish_events([fence])
        await self.finish()

    async def finish(self) -> None:
        """Receive and acknowledge until no event is due."""
        while not self.model.is_drained:
            await self.ack(await self.receive())


@contextmanager
def _lent(given: list[T]) -> Generator[list[T], None, None]:
    """Lend a list to a call, which must not change it; empty the list afterwards."""
    before = tuple(given)
    try:
        yield given
        if tuple(given) != before:
            got = f"{len(given)} items instead of {len(before)}" if len(given) != len(before) else "others, or another order"
            raise MismatchError(
                expected="the list that a call was given, as it was", got=got, meaning="what a call is given is the caller's"
            )
    finally:
        given.clear()


async def _next(deliveries: AsyncIterator[Delivery]) -> Delivery:
    return await anext(deliveries)
