"""What moves most, over the last events of the feed."""

from collections import Counter, deque
from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

import attrs

from inventory_es.adapters.serialization import JsonEventCodec
from inventory_es.cli.events_table import what_happened
from inventory_es.domain.events import Event, StockCommittedEvent
from inventory_es.domain.identifiers import INVENTORY_CATEGORY
from inventory_es.ports import RecordedEvent
from inventory_es.ports.errors import EventDecodeError

Key = tuple[str, str]
"""Product and store."""


class _Seen(NamedTuple):
    key: Key
    sold: int
    at: datetime


@attrs.frozen
class HotProduct:
    """One inventory among those that moved.

    Attributes:
        product_id: what.
        store_id: where.
        sold: units that left with orders, in the window.
        events: of it in the window.
        on_hand: units there after the last of them.
        reserved: units promised after it.
        last: what that was, as markup.
        last_at: when.
    """

    product_id: str
    store_id: str
    sold: int
    events: int
    on_hand: int
    reserved: int
    last: str
    last_at: datetime

    @property
    def available(self) -> int:
        """Units free to promise, what is due for expiry aside."""
        return self.on_hand - self.reserved


class HotProducts:
    """The last events of inventories, and what they come to. Its size depends on the window alone.

    Args:
        window: how many events to look back, 1 or more.

    Attributes:
        unreadable: events that could not be decoded, since the beginning.
    """

    def __init__(self, window: int) -> None:
        self._window = window
        self._codec = JsonEventCodec()
        self._seen: deque[_Seen] = deque()
        self._last: dict[Key, tuple[Event, datetime]] = {}
        self._events: Counter[Key] = Counter()
        self._sold: Counter[Key] = Counter()
        self.unreadable: int = 0

    def take(self, events: Iterable[RecordedEvent]) -> None:
        """Look at the next events of the feed."""
        for recorded in events:
            if recorded.stream.category == INVENTORY_CATEGORY:
                try:
                    self._add(self._codec.decode(recorded), recorded.recorded_at)
                except EventDecodeError:
                    self.unreadable += 1

    @property
    def events(self) -> int:
        """How many are in the window."""
        return len(self._seen)

    @property
    def inventories(self) -> int:
        """How many of them moved."""
        return len(self._last)

    @property
    def span(self) -> tuple[datetime, datetime] | None:
        """When the first and the last event of the window happened."""
        return (self._seen[0].at, self._seen[-1].at) if self._seen else None

    def hottest(self, most: int) -> list[HotProduct]:
        """Those that sold most, then those that moved most."""
        keys = sorted(self._last, key=lambda key: (-self._sold[key], -self._events[key], key))[:most]
        return [self._product(key) for key in keys]

    def _product(self, key: Key) -> HotProduct:
        event, at = self._last[key]
        return HotProduct(*key, self._sold[key], self._events[key], event.on_hand, event.reserved, what_happened(event, at), at)

    def _add(self, event: Event, at: datetime) -> None:
        key = (event.product_id, event.store_id)
        sold = event.quantity if isinstance(event, StockCommittedEvent) else 0
        self._seen.append(_Seen(key, sold, at))
        self._last[key] = (event, at)
        self._events[key] += 1
        self._sold[key] += sold
        if len(self._seen) > self._window:
            self._forget(self._seen.popleft())

    def _forget(self, oldest: _Seen) -> None:
        self._events[oldest.key] -= 1
        self._sold[oldest.key] -= oldest.sold
        if not self._events[oldest.key]:
            del self._events[oldest.key], self._sold[oldest.key], self._last[oldest.key]
