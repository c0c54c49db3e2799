"""The harness of the event store's cases."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Literal, Protocol, TypeAlias, get_args

import attrs

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import EventStore, NewEvent, RecordedEvent, StoreCapabilities
from inventory_es.testing.contracts.core.contract import Run
from inventory_es.testing.contracts.core.event_labels import EventLabels, same_content, stream_id, stream_name
from inventory_es.testing.contracts.event_store.tested_store import TestedStore
from inventory_es.testing.promise import MismatchError
from inventory_es.testing.site import Site

_DEFAULTS = StoreCapabilities()
_RACERS_EVENTS = 2
"""The number of events that racing instances and processes append at once."""

Interference: TypeAlias = Literal[
    "lose the connection before the commit",
    "lose the connection after the commit",
    "shut down after the commit",
    "warn that the replica was not waited for",
    "lose the connection in the next read",
    "hold the next append back",
    "let the held append arrive",
    "let settles_within pass",
]
"""Misbehaviour of a backend. The first four concern the next append; a held append arrives when the kit says so."""

INTERFERENCES: tuple[Interference, ...] = get_args(Interference)


class _Hooks(Protocol):
    """The hooks of the contract that the cases use."""

    patience: float

    def open_store(self, site: Site) -> AbstractAsyncContextManager[EventStore]: ...
    def spawn(self, site: Site) -> Sequence[str] | None: ...
    async def settle(self) -> None: ...
    async def take_away(self, site: Site) -> bool: ...
    async def lose(self, site: Site, stream: StreamId) -> bool: ...
    async def interfere(self, site: Site, what: Interference, /) -> bool: ...


@attrs.define(eq=False)
class StoreHarness:
    """The harness of one run: it opens stores on the run's site, and compares them with the written events."""

    contract: _Hooks
    run: Run
    labels: EventLabels = attrs.field(factory=EventLabels)
    _opened: int = 0

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[TestedStore, None]:
        """Open an instance on the run's site; the first one must find it empty."""
        async with self.contract.open_store(self.run.site) as raw:
            self._opened += 1
            self.run.note_opened(raw, attrs.asdict(raw.capabilities), declared_beyond(raw.capabilities, _DEFAULTS))
            store = TestedStore(raw, self.run, self.labels, name="" if self._opened == 1 else f"(instance {self._opened}) ")
            if self._opened == 1:
                await self._refuse_leftovers(store)
            yield store

    @asynccontextmanager
    async def reopened(self) -> AsyncGenerator[TestedStore, None]:
        """Open the site again, for a store that declares durable data; otherwise end the case as not declared."""
        async with self.open() as store:
            self.need(store, durable=True)
            yield store

    @asynccontextmanager
    async def another(self, store: TestedStore) -> AsyncGenerator[list[TestedStore], None]:
        """Open a second instance if the store allows two over one site; otherwise yield none."""
        if not store.capabilities.multi_process or store.capabilities.durability == "none":
            yield []
            return
        async with self.open() as other:
            yield [other]

    def need(
        self,
        store: TestedStore,
        *,
        durable: bool = False,
        multi_process: bool = False,
        unique_event_ids: bool = False,
        withdraws: bool = False,
        together: int = 1,
        survives_fork: bool = False,
        turns_by_stream: bool = False,
    ) -> None:
        """End the case as not declared where the store does not declare a requirement."""
        declared = store.capabilities
        if durable and declared.durability == "none":
            self.run.not_declared("durability above none")
        if multi_process and not declared.multi_process:
            self.run.not_declared("multi_process")
        if unique_event_ids and not declared.unique_event_ids:
            self.run.not_declared("unique_event_ids")
        if withdraws and not declared.withdraws:
            self.run.not_declared("withdraws")
        if declared.max_append_events < (together := max(together, _RACERS_EVENTS if multi_process else 1)):
            self.run.not_declared(f"max_append_events of {together} or more")
        if survives_fork and not declared.survives_fork:
            self.run.not_declared("survives_fork")
        if turns_by_stream and not declared.turns_by_stream:
            self.run.not_declared("turns_by_stream")

    async def holds(self, store: TestedStore, name: str | StreamId, labels: str | Sequence[NewEvent], *, meaning: str) -> None:
        """Expect a stream to hold exactly these events, field by field, with versions 1..n and the version n."""
        written = self.labels.events(labels) if isinstance(labels, str) else list(labels)
        await self.contract.settle()
        page = await store.whole(name)
        expected = f"version {len(written)}, events {self.labels.show(written)}"
        got = f"version {page.version}, events {self.labels.show(page.events)}"
        if expected != got:
            raise MismatchError(expected=expected, got=got, meaning=meaning)
        stream = stream_id(name) if isinstance(name, str) else name
        difference = same_content(written, page.events) or wrong_place(stream, page.events)
        if difference is not None:
            raise MismatchError(expected="every field as written", got=difference, meaning=meaning)

    async def feed_holds(self, store: TestedStore, labels: str, *, meaning: str) -> None:
        """Expect the feed to hold exactly these events, in this order, at increasing positions. Do nothing without a feed."""
        if not store.has_feed:
            return
        await self.contract.settle()
        events = await store.whole_feed()
        written = self.labels.events(labels)
        if [event.event_id for event in events] != [event.event_id for event in written]:
            raise MismatchError(expected=f"feed {self.labels.show(written)}", got=f"feed {self.labels.show(events)}", meaning=meaning)
        difference = same_content(written, events) or wrong_positions(events)
        if difference is not None:
            raise MismatchError(expected="every field as written, positions increasing", got=difference, meaning=meaning)

    async def _refuse_leftovers(self, store: TestedStore) -> None:
        page = await store.raw.read_stream(stream_id("x"), after=0, limit=1)
        head = await store.feed.head() if store.has_feed else 0
        if page.version or head:
            raise MismatchError(
                expected="an empty store on a fresh site",
                got=f"stream x at version {page.version}, head {head}",
                meaning=f"open_store does not keep sites apart: use site.path or site.name ({self.run.site.name})",
            )


def declared_beyond(capabilities: attrs.AttrsInstance, defaults: attrs.AttrsInstance) -> str:
    """Return the fields that differ from the defaults: ``durability=os, multi_process``."""
    shown: list[str] = []
    for field in attrs.fields(type(capabilities)):
        value = getattr(capabilities, field.name)
        if value != getattr(defaults, field.name):
            shown.append(field.name if value is True else f"{field.name}={value}")
    return ", ".join(shown) or "nothing beyond the least"


def wrong_place(stream: StreamId, events: Sequence[RecordedEvent]) -> str | None:
    """Return the mistake in the streams and versions of a whole stream's events; ``None`` where there is none."""
    for number, event in enumerate(events, 1):
        if event.stream != stream:
            return f"an event of stream {stream_name(event.stream)} in stream {stream_name(stream)}"
        if event.version != number or type(event.version) is not int:
            return f"version {event.version!r} at place {number}"
    return None


def wrong_positions(events: Sequence[RecordedEvent]) -> str | None:
    """Return the mistake in the positions of a feed's events; ``None`` where there is none."""
    last = 0
    for event in events:
        if event.position <= last:
            return f"position {event.position} after position {last}"
        last = event.position
    return None
