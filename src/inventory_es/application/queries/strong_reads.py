"""Strong reads: answers from the stream, as the store has it now."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import datetime
from itertools import islice
from typing import cast

from inventory_es.application.commands.handler import CommandHandler
from inventory_es.application.commands.states import PAGE, InventoryState, StreamReader
from inventory_es.application.following.subscription import feed_of
from inventory_es.application.queries.history import check_as_of
from inventory_es.application.results import Explanation, HistoryEntry, Hold, ReservationState, StockLevel
from inventory_es.domain.errors import InvalidQuantityError, ReservationNotFoundError
from inventory_es.domain.events import Recorded
from inventory_es.domain.identifiers import InventoryId, ReservationRef
from inventory_es.domain.reservation_book import ClosedReservation, OpenReservation
from inventory_es.ports import EventStore, RecordedEvent
from inventory_es.ports.toolkit.page_rules import read_feed_page, read_stream_page_backwards


class StrongReads:
    """Answers from the events themselves.

    Args:
        store: the event store.
        handler: has the current states.
        reader: reads streams.
    """

    def __init__(self, store: EventStore, handler: CommandHandler, reader: StreamReader) -> None:
        self._store = store
        self._handler = handler
        self._reader = reader

    async def stock(self, inventory_id: InventoryId) -> StockLevel:
        """Return the stock now."""
        return await self._handler.read(inventory_id, _level)

    async def reservation(self, ref: ReservationRef) -> ReservationState:
        """Return the state of a reservation now.

        Raises:
            ReservationNotFoundError: neither open nor among the last 10,000 closed ones.
        """
        return await self._handler.read(ref.inventory_id, lambda state, at: _reservation(state, at, ref.reservation_id))

    async def history(self, inventory_id: InventoryId, *, after: int = 0) -> AsyncIterator[HistoryEntry]:
        """Yield every event after version ``after``, oldest first, up to the stream's end."""
        async with aclosing(self._reader.events(inventory_id.stream, after=after)) as events:
            async for recorded in events:
                yield self._reader.entry(recorded)

    async def as_of(self, inventory_id: InventoryId, *, time: datetime | None, version: int | None) -> StockLevel:
        """Return the stock at an instant of the past, or right after a version."""
        check_as_of(time, version)
        state = await self._reader.begin(inventory_id, at_most=0 if version is None else version)
        inventory = state.inventory
        async with aclosing(self._reader.events(inventory_id.stream, after=inventory.version)) as events:
            async for recorded in events:
                if (time is not None and recorded.recorded_at > time) or (version is not None and recorded.version > version):
                    break
                inventory.apply(Recorded(self._reader.event(recorded), recorded.version, recorded.recorded_at))
                state.position = recorded.position
        if version is not None and inventory.version < version:
            problem = f"{version} of {inventory_id} is not there yet: its version is {inventory.version}"
            raise InvalidQuantityError(name="version", problem=problem)
        return _level(state, cast(datetime, time or inventory.last_time))  # a version has a time

    async def explain(self, inventory_id: InventoryId, *, holds: int, movements: int) -> Explanation:
        """Explain the available figure: its reservations, its last movements, its last count."""
        level, listed, left_out, counted_at = await self._handler.read(inventory_id, lambda state, at: _explained(state, at, holds))
        newest: tuple[HistoryEntry, ...] = ()
        if movements and level.version:
            page = await read_stream_page_backwards(self._store, inventory_id.stream, before=level.version + 1, limit=movements)
            newest = tuple(self._reader.entry(recorded) for recorded in page.events)
        counted = await self._reader.at_version(inventory_id.stream, counted_at)
        last_count = None if counted is None else self._reader.entry(counted)
        return Explanation(level=level, holds=listed, holds_left_out=left_out, movements=newest, last_count=last_count)

    async def feed(self, *, after: int) -> AsyncIterator[RecordedEvent]:
        """Yield every event of the store with a position after ``after``, in order, up to the feed's end.

        Raises:
            UnsupportedCapabilityError: the store has no feed.
        """
        feed = feed_of(self._store)
        is_end = False
        while not is_end:
            page = await read_feed_page(feed, after=after, limit=PAGE)
            for recorded in page.events:
                yield recorded
            after, is_end = page.next_after, page.is_end


def _level(state: InventoryState, at: datetime) -> StockLevel:
    inventory = state.inventory
    due = sum(hold.remaining for hold in inventory.due(at))
    return StockLevel(
        product_id=inventory.inventory_id.product_id,
        store_id=inventory.inventory_id.store_id,
        on_hand=inventory.units_on_hand,
        reserved=inventory.units_reserved,
        due=due,
        available=inventory.units_on_hand - inventory.units_reserved + due,
        version=inventory.version,
        position=state.position,
        at=at,
    )


def _reservation(state: InventoryState, at: datetime, reservation_id: str) -> ReservationState:
    inventory = state.inventory
    hold, closed = inventory.reservation(reservation_id), inventory.closed(reservation_id)
    known: OpenReservation | ClosedReservation
    if hold is not None:
        known = hold
        status, remaining, purpose, owner_id = "DUE" if hold.is_due(at) else "OPEN", hold.remaining, hold.purpose, hold.owner_id
    elif closed is not None:
        known = closed
        status, remaining, purpose, owner_id = closed.outcome.value, 0, None, None
    else:
        raise ReservationNotFoundError(inventory=inventory.inventory_id.stream, reservation_id=reservation_id)
    return ReservationState(
        product_id=inventory.inventory_id.product_id,
        store_id=inventory.inventory_id.store_id,
        reservation_id=reservation_id,
        status=status,
        remaining=remaining,
        committed=known.committed,
        released=known.released,
        expires_at=known.expires_at,
        purpose=purpose,
        owner_id=owner_id,
        version=inventory.version,
        position=state.position,
        at=at,
    )


def _explained(state: InventoryState, at: datetime, limit: int) -> tuple[StockLevel, tuple[Hold, ...], int, int]:
    oldest = sorted(state.inventory.reservations(), key=lambda hold: hold.version)
    listed = tuple(_hold(hold, at) for hold in islice(oldest, limit))
    return _level(state, at), listed, len(oldest) - len(listed), state.inventory.last_count_version


def _hold(hold: OpenReservation, at: datetime) -> Hold:
    if hold.is_firm:
        waits_for = "commit or release"
    elif hold.is_due(at):
        waits_for = "nothing: it is due, and free for whoever asks next"
    else:
        waits_for = "commit, release or expiry"
    return Hold(
        reservation_id=hold.reservation_id,
        remaining=hold.remaining,
        purpose=hold.purpose,
        owner_id=hold.owner_id,
        reserved_at=hold.reserved_at,
        expires_at=hold.expires_at,
        waits_for=waits_for,
    )
