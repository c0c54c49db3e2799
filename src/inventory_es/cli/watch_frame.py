"""What ``watch`` shows at one moment."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import attrs
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.text import Text

from inventory_es.application.following.projection import ProjectionStatus
from inventory_es.cli.events_table import instant
from inventory_es.cli.hot_products import HotProduct, HotProducts
from inventory_es.cli.tables import Column, fitted
from inventory_es.cli.terminal import duration, number

_ROOM_FOR_STOCK = 100
_ROOM_FOR_SPARKLINE = 80
_ROOM_FOR_TIME = 40
_BAR = 10
_AROUND_THE_ROWS = 6


@attrs.frozen(kw_only=True)
class WatchFrame:
    """One moment.

    Attributes:
        url: of the store.
        at: now.
        position: up to which events were read.
        behind: how many positions the feed is ahead of that.
        products: what moves.
        rate: events a second; ``None`` where nobody has counted.
        sparkline: of the last seconds.
        projections: how they stand, where a read model is watched too.
        trouble: why the store can't be read now; ``None`` while it can.
    """

    url: str
    at: datetime
    position: int
    behind: int
    products: HotProducts
    rate: float | None
    sparkline: str
    projections: Sequence[ProjectionStatus]
    trouble: str | None

    def render(self, console: Console, *, rows: int | None = None) -> RenderableType:
        """As it fits the terminal.

        Args:
            console: where it will be shown.
            rows: products at most; ``None``: as many as have room.
        """
        room = console.size.height - _AROUND_THE_ROWS - len(self.projections) - (self.trouble is not None)
        hottest = self.products.hottest(max(1, room) if rows is None else rows)
        width = console.size.width
        head = (self._head(width), self._counts(width), Text(""), self._title())
        parts: list[RenderableType] = [*head, self._table(hottest, width)]
        if self.projections:
            parts += [Text(""), *(_lag(status, width) for status in self.projections)]
        if self.trouble is not None:
            parts += [_line(f"[bad]✗ {escape(self.trouble)}[/]")]
        return Group(*parts)

    def to_dict(self, rows: int | None) -> dict[str, Any]:
        """For programs.

        Args:
            rows: products at most; ``None``: all that moved.
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
    """One line, cut where it does not fit."""
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
    """Available units in green, promised ones behind them in yellow."""
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
