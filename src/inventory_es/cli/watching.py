"""Live view of a store: hot products, the rate of events, and the lag of projections and of groups of a bus."""

import math
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import anyio
import attrs
import click
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.text import Text

from inventory_es.adapters.serialization import JsonEventCodec
from inventory_es.adapters.system import SystemClock
from inventory_es.application.following.projection import ProjectionStatus
from inventory_es.application.following.subscription import Pace, Subscription
from inventory_es.cli.projecting import Workshop
from inventory_es.cli.rows import SHIPPED
from inventory_es.cli.tables import Column, duration, fitted, instant, number, what_happened
from inventory_es.domain.events import Event, StockCommittedEvent
from inventory_es.domain.identifiers import INVENTORY_CATEGORY
from inventory_es.ports import EventBus, EventFeed, ReadModel, RecordedEvent
from inventory_es.ports.errors import EventDecodeError, UnavailableError
from inventory_es.ports.event_bus import GroupLag
from inventory_es.ports.toolkit.page_rules import read_feed_page

MOST_BEHIND = 10_000
"""The most events of a group that are counted."""

_STEPS = "▁▂▃▄▅▆▇█"
_SECONDS = 30
_PAGE = 2_000
_PACE = Pace(batch_size=_PAGE, longest_wait=1.0)
_ROOM_FOR_STOCK = 100
_ROOM_FOR_SPARKLINE = 80
_ROOM_FOR_TIME = 40
_BAR = 10
_AROUND_THE_ROWS = 6


class EventRate:
    """Rate of events over the last half minute.

    Args:
        now: the time at which counting begins, in seconds of any monotonic clock.
    """

    def __init__(self, now: float) -> None:
        self._began = now
        self._counts: Counter[int] = Counter()

    def add(self, count: int, now: float) -> None:
        """Count events that arrive now."""
        self._counts[int(now)] += count
        for second in [one for one in self._counts if one < int(now) - _SECONDS]:
            del self._counts[second]

    def per_second(self, now: float) -> float:
        """Return the rate over the last five whole seconds, or since counting began."""
        seconds = min(5, int(now) - int(self._began))
        return sum(self._counts[int(now) - back] for back in range(1, seconds + 1)) / seconds if seconds else 0.0

    def sparkline(self, now: float) -> str:
        """Return one character per second for the last 30 whole seconds, the newest last; blank for none."""
        counts = [self._counts[int(now) - back] for back in range(_SECONDS, 0, -1)]
        most = max(counts) or 1
        return "".join(_STEPS[(count * (len(_STEPS) - 1)) // most] if count else " " for count in counts)


Key = tuple[str, str]
"""The ids of a product and a store."""


class _Seen(NamedTuple):
    key: Key
    sold: int
    at: datetime


@attrs.frozen
class HotProduct:
    """Movements of one inventory within the window.

    Attributes:
        product_id: the product.
        store_id: the store.
        sold: the units that left with orders.
        events: the number of its events.
        on_hand: the units on hand after the last event.
        reserved: the units reserved after the last event.
        last: the last event in a few words, as markup.
        last_at: the time of the last event.
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
        """Units on hand less reserved ones; reservations due for expiry count as reserved."""
        return self.on_hand - self.reserved


class HotProducts:
    """Hot products among the last events of inventories. Its size depends on the window alone.

    Args:
        window: the most events to look back, 1 or more.

    Attributes:
        unreadable: the number of events that could not be decoded.
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
        """Add the next events of the feed."""
        for recorded in events:
            if recorded.stream.category == INVENTORY_CATEGORY:
                try:
                    self._add(self._codec.decode(recorded), recorded.recorded_at)
                except EventDecodeError:
                    self.unreadable += 1

    @property
    def events(self) -> int:
        """The number of events in the window."""
        return len(self._seen)

    @property
    def inventories(self) -> int:
        """The number of inventories in the window."""
        return len(self._last)

    @property
    def span(self) -> tuple[datetime, datetime] | None:
        """The times of the first and the last event of the window."""
        return (self._seen[0].at, self._seen[-1].at) if self._seen else None

    def hottest(self, most: int) -> list[HotProduct]:
        """Return the inventories that sold most, then those with the most events."""
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


@attrs.frozen(kw_only=True)
class WatchFrame:
    """View of one moment.

    Attributes:
        url: the URL of the store.
        at: the time of the frame.
        position: the position up to which events were read.
        behind: the number of positions that the feed is ahead of ``position``.
        products: the hot products.
        rate: the events per second; ``None`` if they are not counted.
        sparkline: the rate of the last seconds.
        projections: the statuses of projections, if a read model is watched too.
        groups: by group, how far it is behind, counted up to ``MOST_BEHIND``, if a bus is watched too.
        trouble: the reason why the store can't be read now; ``None`` if it can.
    """

    url: str
    at: datetime
    position: int
    behind: int
    products: HotProducts
    rate: float | None
    sparkline: str
    projections: Sequence[ProjectionStatus]
    groups: Mapping[str, int]
    trouble: str | None

    def render(self, console: Console, *, rows: int | None = None) -> RenderableType:
        """Return the frame as it fits the terminal.

        Args:
            console: the console of the terminal.
            rows: the most products; ``None``: as many as fit.
        """
        room = console.size.height - _AROUND_THE_ROWS - len(self.projections) - len(self.groups) - (self.trouble is not None)
        hottest = self.products.hottest(max(1, room) if rows is None else rows)
        width = console.size.width
        head = (self._head(width), self._counts(width), Text(""), self._title())
        parts: list[RenderableType] = [*head, self._table(hottest, width)]
        if self.projections or self.groups:
            parts += [Text(""), *(_lag(status, width) for status in self.projections)]
            parts += [_lag_of_group(name, lag, width) for name, lag in self.groups.items()]
        if self.trouble is not None:
            parts += [_line(f"[bad]✗ {escape(self.trouble)}[/]")]
        return Group(*parts)

    def to_dict(self, rows: int | None) -> dict[str, Any]:
        """Return the frame for programs.

        Args:
            rows: the most products; ``None``: all of the window.
        """
        hottest = self.products.hottest(self.products.inventories if rows is None else rows)
        return {
            "at": self.at.isoformat(),
            "position": self.position,
            "lag_events": self.behind,
            "events": self.products.events,
            "inventories": self.products.inventories,
            "hottest": [_plain(one) for one in hottest],
            "projections": [
                {"name": one.projection_id.name, "state": one.state, "lag_events": one.lag_events, "lag_seconds": one.lag_seconds}
                for one in self.projections
            ],
            "groups": [{"name": name, "lag_events": lag, "is_exact": lag < MOST_BEHIND} for name, lag in self.groups.items()],
        }

    def _head(self, width: int) -> Text:
        right = f"{instant(self.at)} UTC" if width >= _ROOM_FOR_TIME else ""
        left = Text(self.url, style="bold")
        left.truncate(max(10, width - len(right) - 2), overflow="ellipsis")
        return Text.assemble(left, " " * max(1, width - left.cell_len - len(right)), (right, "bright_black"))

    def _counts(self, width: int) -> Text:
        parts = [f"position {number(self.position)}"]
        if self.rate is not None:
            sparkline = self.sparkline.lstrip() if width >= _ROOM_FOR_SPARKLINE else ""
            parts = [f"[number]{number(self.rate)}[/] events/s [command]{sparkline}[/]", *parts]
        if self.behind:
            parts.append(f"[bad]{number(self.behind)} behind[/]")
        if self.products.unreadable:
            parts.append(f"[bad]{number(self.products.unreadable)} unreadable[/]")
        return Text.from_markup("[quiet] · [/]".join(parts))

    def _title(self) -> Text:
        span = self.products.span
        if span is None:
            return Text("Nothing has moved yet", style="bright_black")
        return Text(f"Hottest of the last {number(self.products.events)} events, since {instant(span[0])}", style="bold")

    def _table(self, hottest: Sequence[HotProduct], width: int) -> RenderableType:
        is_wide = width >= _ROOM_FOR_STOCK
        columns = [
            Column("product"),
            Column("store", least=4, leave_out=6, style="quiet"),
            Column("", width=_BAR, least=_BAR, leave_out=2),
            Column("sold", is_figure=True, width=5, leave_out=5),
            Column("on hand", is_figure=True),
            Column("reserved", is_figure=True, leave_out=4),
            Column("available", is_figure=True),
            Column("", width=_BAR, least=_BAR, leave_out=1),
            Column("last", leave_out=3),
        ]
        most_sold = max((one.sold for one in hottest), default=0) or 1
        most_on_hand = max((one.on_hand for one in hottest), default=0) or 1
        rows = [
            [
                escape(_shortened(one.product_id, 24 if is_wide else 14)),
                escape(_shortened(one.store_id, 10)),
                f"[command]{'█' * round(_BAR * one.sold / most_sold)}[/]",
                number(one.sold),
                number(one.on_hand),
                number(one.reserved) if one.reserved else "[quiet]·[/]",
                f"[number]{number(one.available)}[/]" if one.available > 0 else "[bad]none[/]",
                _stock_bar(one, most_on_hand),
                f"{one.last} [quiet]{one.last_at:%H:%M:%S}[/]" if is_wide else one.last,
            ]
            for one in hottest
        ]
        if not is_wide:
            del columns[7]
            for row in rows:
                del row[7]
        return fitted(columns, rows, width, gap=1, show_header=bool(hottest))


def _shortened(name: str, most: int) -> str:
    text = Text(name)
    text.truncate(most, overflow="ellipsis")
    return text.plain


def _line(markup: str) -> Text:
    """Return one line, shortened to fit."""
    line = Text.from_markup(markup, overflow="ellipsis")
    line.no_wrap = True
    return line


def _plain(one: HotProduct) -> dict[str, Any]:
    return {
        "product_id": one.product_id,
        "store_id": one.store_id,
        "sold": one.sold,
        "events": one.events,
        "on_hand": one.on_hand,
        "reserved": one.reserved,
        "available": one.available,
        "last_at": one.last_at.isoformat(),
    }


def _stock_bar(one: HotProduct, most_on_hand: int) -> str:
    """Return a bar of available units in green, followed by reserved ones in yellow."""
    whole = round(_BAR * max(0, one.on_hand) / most_on_hand)
    promised = min(whole, round(_BAR * max(0, one.reserved) / most_on_hand))
    return f"[good]{'■' * (whole - promised)}[/][yellow]{'■' * promised}[/]"


def _lag(status: ProjectionStatus, width: int) -> Text:
    lag = f"{number(status.lag_events)} events behind, for {duration(status.lag_seconds)}" if status.lag_events else "up to date"
    room = max(4, min(17, width - len(lag) - 3))
    name = f"{_shortened(status.projection_id.name, room):<{room}}"
    if status.error is not None:
        return _line(f"[bad]✗ {name} {status.state}: {escape(status.error)}[/]")
    who = "" if status.state == "running" else "[quiet], nobody runs it[/]"
    mark = "[good]✓[/]" if not status.lag_events else "[yellow]…[/]"
    return _line(f"{mark} {name} {lag}{who}")


def _lag_of_group(name: str, lag: int, width: int) -> Text:
    behind = f"{number(lag)}{'' if lag < MOST_BEHIND else ' or more'} events behind" if lag else "up to date"
    room = max(4, min(17, width - len(behind) - 9))
    mark = "[good]✓[/]" if not lag else "[yellow]…[/]"
    return _line(f"{mark} {escape(f'{_shortened(name, room):<{room}}')} {behind}[quiet], group[/]")


class WatchedGroups:
    """The lag of groups of a bus, asked for once per second at most.

    Args:
        bus: of the groups.
        names: of the groups.

    Raises:
        click.UsageError: the bus does not tell how far a group is behind.
    """

    def __init__(self, bus: EventBus, names: Sequence[str]) -> None:
        if not isinstance(bus, GroupLag):
            msg = f"a {type(bus).__name__} does not tell how far a group is behind: leave --bus and --group out"
            raise click.UsageError(msg)
        self._bus: GroupLag = bus
        self._names = tuple(dict.fromkeys(names))
        self._found: Mapping[str, int] = {}
        self._asked_at = -math.inf

    async def lags(self) -> Mapping[str, int]:
        """Return by group how far it is behind."""
        if (now := anyio.current_time()) >= self._asked_at + 1:
            self._found, self._asked_at = {name: await self._bus.lag(name, most=MOST_BEHIND) for name in self._names}, now
        return self._found


class Watching:
    """Watch over one store.

    Args:
        url: the URL of the store, as it is shown.
        feed: the feed of the store.
        read_model: the read model to watch too; ``None`` for none.
        groups: the groups of a bus to watch too; ``None`` for none.
        window: the most events to look back.
    """

    def __init__(
        self, url: str, feed: EventFeed, read_model: ReadModel | None, groups: WatchedGroups | None = None, *, window: int
    ) -> None:
        self._url = url
        self._groups = groups
        self._feed = feed
        self._read_model = read_model
        self._window = window
        self._products = HotProducts(window)
        self._position = 0
        self._rate: EventRate | None = None
        self._subscription: Subscription | None = None
        self._is_stopping = False

    async def catch_up(self) -> None:
        """Read the events of the window, up to the present end of the feed."""
        self._position = max(0, await self._feed.head() - self._window)
        is_end = False
        while not is_end:
            page = await read_feed_page(self._feed, after=self._position, limit=_PAGE)
            self._products.take(page.events)
            self._position, is_end = page.next_after, page.is_end

    async def follow(self) -> None:
        """Read new events until :meth:`stop`."""
        self._rate = EventRate(anyio.current_time())
        async with Subscription(self._feed, after=self._position, pace=_PACE) as subscription:
            self._subscription = subscription
            if self._is_stopping:
                return
            async for batch in subscription:
                self._products.take(batch.events)
                self._rate.add(len(batch.events), anyio.current_time())
                self._position = batch.position

    def stop(self) -> None:
        """End :meth:`follow`. Idempotent."""
        self._is_stopping = True
        if self._subscription is not None:
            self._subscription.stop()

    async def frame(self) -> WatchFrame:
        """Return the frame of this moment."""
        frame = WatchFrame(
            url=self._url,
            at=SystemClock().now(),
            position=self._position,
            behind=0,
            products=self._products,
            rate=None if self._rate is None else self._rate.per_second(anyio.current_time()),
            sparkline="" if self._rate is None else self._rate.sparkline(anyio.current_time()),
            projections=(),
            groups={},
            trouble=None,
        )
        try:
            behind = max(0, await self._feed.head() - self._position)
            groups = {} if self._groups is None else await self._groups.lags()
            return attrs.evolve(frame, behind=behind, projections=await self._projections(), groups=groups)
        except UnavailableError as problem:
            return attrs.evolve(frame, trouble=str(problem))

    async def _projections(self) -> Sequence[ProjectionStatus]:
        """Return the status of the active version of each projection in the read model."""
        if self._read_model is None:
            return ()
        workshop = Workshop(feed=self._feed, read_model=self._read_model, on_failure="stop")
        there = [name for name in SHIPPED if await self._read_model.versions(name)]
        return [await workshop.runner(await workshop.active(name)).status() for name in there]
