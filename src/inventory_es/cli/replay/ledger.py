"""Ledger of invoices: one stream for all replays of a store, appended atomically with what the invoices move.

A file that was written again has other bytes, and perhaps its rows in another order, but the same invoices. So the ledger identifies an
invoice by its number, its time, and its products and units.
"""

from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from uuid import UUID, uuid5

import attrs

from inventory_es.adapters.serialization import EventRegistry, JsonEventCodec
from inventory_es.cli.replay.orders_file import OrdersError, OrderSource
from inventory_es.cli.replay.steps import ONE_DAY, Invoice, Survey, steps
from inventory_es.domain.identifiers import InventoryId
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import EventFeed, EventStore, NewEvent, StreamCatalogue, StreamWrite
from inventory_es.ports.clock import Clock
from inventory_es.ports.errors import ConcurrencyError
from inventory_es.ports.toolkit.page_rules import read_stream_page, read_stream_page_backwards, read_streams_page

LEDGER = StreamId("replay", "invoices")
"""The ledger's stream. Two replays into one store at the same time conflict here."""

_EVENT_IDS = UUID("5b7d9a0e-3d55-5f0c-8f0e-6a0f4a3a7c21")
_PAGE = 20
_BYTES_OF_AN_ENTRY = 2_048
_MOST_ENTRIES = 500


@attrs.frozen
class LedgerEntry:
    """One invoice that the store has, as a whole or in part.

    Attributes:
        number: the number of the invoice.
        store_id: the store of its lines.
        at: the earliest time of its lines.
        content: the digest of its products and units.
        summary: a few of its lines, for people.
        has_day: True if its name has its day.
        is_whole: True if the store has all of it.
    """

    number: str
    store_id: str
    at: datetime
    content: str
    summary: str
    has_day: bool
    is_whole: bool


@attrs.frozen
class InvoicesReplayedEvent:
    """A replay has brought invoices in.

    Attributes:
        replay: the stream of the replay.
        entries: the invoices, perhaps none.
    """

    replay: str
    entries: list[LedgerEntry]


_CODEC = JsonEventCodec(registry=EventRegistry().with_event(InvoicesReplayedEvent, name="InvoicesReplayedEvent", schema_version=1))


class Ledger:
    """The ledger, as one replay uses it.

    Args:
        store: the store that the orders go into.
        replay: the replay's own stream.
        clock: the replay's clock.

    Attributes:
        most: the most invoices in one append, so that the store accepts their event.
    """

    def __init__(self, store: EventStore, replay: StreamId, clock: Clock) -> None:
        self._store = store
        self._replay = replay
        self._clock = clock
        self._version = 0
        self._replays: set[str] = set()
        self._own: dict[Invoice, bool] = {}
        self.most: int = max(1, min(_MOST_ENTRIES, store.capabilities.max_event_bytes // _BYTES_OF_AN_ENTRY))

    @property
    def has_this(self) -> bool:
        """True if this replay has appended to the ledger; known after :meth:`compare`."""
        return self._replay.text in self._replays

    async def compare(self, source: OrderSource, survey: Survey) -> None:
        """Mark the invoices that the store has already, from another file.

        Args:
            source: the source of the invoices.
            survey: the survey of the source.

        Raises:
            OrdersError: the store has another invoice of the same number and day, or a part of one; nothing was written.
        """
        others: dict[Invoice, LedgerEntry] = {}
        async for event in self._events():
            self._replays.add(event.replay)
            for entry in event.entries:
                for invoice in survey.invoices.of_number(entry.number):
                    if invoice.store_id != entry.store_id:
                        continue
                    if abs(invoice.earliest - entry.at) > ONE_DAY:
                        invoice.has_day = True
                    elif (invoice.content, invoice.earliest) != (entry.content, entry.at):
                        raise _differs(source, invoice, entry)
                    elif event.replay == self._replay.text:
                        self._own[invoice] = entry.has_day
                    else:
                        others[invoice] = entry
        for invoice, entry in others.items():
            if not entry.is_whole:
                raise _half_way(source, invoice)
            invoice.is_in = True
        self._keep_own_names()

    async def check_earlier(self, source: OrderSource, survey: Survey, *, is_begun: bool) -> None:
        """Check that no replay of an earlier version, which kept no ledger, can have brought these invoices in.

        Args:
            source: the source of the invoices.
            survey: the survey of the source.
            is_begun: True if this replay has stored something before.

        Raises:
            OrdersError: such a replay is possible; nothing was written.
        """
        if is_begun and not self.has_this:
            msg = (
                f"{source.name} was begun by an earlier version of this program, which kept no list of its invoices: "
                "bring it in to its end with that version, or use a store of its own; nothing was written"
            )
            raise OrdersError(msg)
        first = min((invoice.earliest for invoice in survey.invoices), default=None)
        if first is None or not isinstance(self._store, StreamCatalogue):
            return
        known = {LEDGER.text, *self._replays}
        after: StreamId | None = None
        is_end = False
        while not is_end:
            page = await read_streams_page(self._store, f"{LEDGER.category}-", after=after, limit=_PAGE)
            for head in page.heads:
                after = head.stream
                if after.text in known:
                    continue
                (last,) = (await read_stream_page_backwards(self._store, after, limit=1)).events
                if first <= last.recorded_at:
                    msg = (
                        f"{source.name} has orders from {first:%Y-%m-%d %H:%M:%S}, and an earlier version of this program, which kept no "
                        f"list of them, brought orders up to {last.recorded_at:%Y-%m-%d %H:%M:%S} into the store: leave out those up to "
                        "then, or use a store of its own; nothing was written"
                    )
                    raise OrdersError(msg)
                for invoice in survey.invoices:
                    invoice.has_day = True
            is_end = page.is_end
        self._keep_own_names()

    def write(self, invoices: Mapping[Invoice, bool]) -> StreamWrite:
        """Return the write that lists invoices, to be appended together with what they move.

        Args:
            invoices: the invoices, each with True if the append completes it.
        """
        entries = [
            LedgerEntry(one.number, one.store_id, one.earliest, one.content, one.summary, one.has_day, is_whole)
            for one, is_whole in invoices.items()
        ]
        event_type, schema_version, data = _CODEC.encode(InvoicesReplayedEvent(self._replay.text, entries))
        event_id = uuid5(_EVENT_IDS, f"{self._version + 1}/{data.decode()}")
        return StreamWrite(LEDGER, self._version, [NewEvent(event_id, event_type, schema_version, self._clock.now(), data)])

    def written(self) -> None:
        """Record that the last write was appended."""
        self._version += 1

    async def check_alone(self, problem: Exception) -> None:
        """Check that no other replay has appended meanwhile.

        Raises:
            ConcurrencyError: another replay has, which explains the problem.
        """
        actual = (await read_stream_page_backwards(self._store, LEDGER, limit=1)).version
        if actual != self._version:
            raise ConcurrencyError(stream=LEDGER, expected=self._version, actual=actual) from problem

    def _keep_own_names(self) -> None:
        for invoice, has_day in self._own.items():
            invoice.has_day = has_day

    async def _events(self) -> AsyncIterator[InvoicesReplayedEvent]:
        is_end = False
        while not is_end:
            page = await read_stream_page(self._store, LEDGER, after=self._version, limit=_PAGE)
            for recorded in page.events:
                self._version = recorded.version
                yield _CODEC.decode(recorded)
            is_end = page.is_end


def _differs(source: OrderSource, invoice: Invoice, entry: LedgerEntry) -> OrdersError:
    here = f"{invoice.earliest:%Y-%m-%d %H:%M:%S}, {invoice.summary}"
    there = f"{entry.at:%Y-%m-%d %H:%M:%S}, {entry.summary}"
    other = ", with other lines" if here == there else ""
    return OrdersError(
        f"{source.name}:{invoice.line}: invoice {invoice.number} is not the one that the store has: {here} here, {there}{other} there; "
        "what is in can't be changed: give what is new a number of its own, or use a store of its own; nothing was written"
    )


def _half_way(source: OrderSource, invoice: Invoice) -> OrdersError:
    return OrdersError(
        f"{source.name}:{invoice.line}: invoice {invoice.number} was begun from another file, which was not brought in to its end: "
        "bring in that one first; nothing was written"
    )


async def is_empty(store: EventStore) -> bool:
    """Return True if nothing was ever stored; False if the store can't tell quickly."""
    return isinstance(store, EventFeed) and await store.head() == 0


async def check_not_ahead(store: EventStore, source: OrderSource, survey: Survey) -> None:
    """Check that no inventory has events later than the first move of these orders.

    Time never runs backwards in a stream. Orders that the store has already move nothing.

    Raises:
        OrdersError: an inventory has later events; the text names it, and the way out.
    """
    for inventory_id, at in _first_moves(source, survey).items():
        page = await read_stream_page_backwards(store, inventory_id.stream, limit=1)
        if page.events and page.events[0].recorded_at > at:
            msg = (
                f"{source.name} moves {inventory_id} at {at:%Y-%m-%d %H:%M:%S}, and the store has events of it up to "
                f"{page.events[0].recorded_at:%Y-%m-%d %H:%M:%S}: bring files in by date, or use a store of its own; nothing was written"
            )
            raise OrdersError(msg)


def _first_moves(source: OrderSource, survey: Survey) -> Mapping[InventoryId, datetime]:
    if not any(invoice.is_in for invoice in survey.invoices):
        return survey.first_moved
    moves: dict[InventoryId, datetime] = {}
    for step in steps(source, survey.invoices):
        for inventory_id in step.inventory_ids():
            moves.setdefault(inventory_id, step.at)
    return moves
