"""Events of an inventory as people read them."""

from collections.abc import Iterable
from datetime import datetime

from rich.markup import escape
from rich.table import Table

from inventory_es.application.results import HistoryEntry
from inventory_es.cli.terminal import number
from inventory_es.domain.events import (
    Event,
    ReservationExtendedEvent,
    StockAddedEvent,
    StockAdjustedEvent,
    StockCommittedEvent,
    StockReleasedEvent,
    StockReservedEvent,
)


def events_table(entries: Iterable[HistoryEntry], *, show_header: bool = True) -> Table:
    """One line for each event, with the balance after it."""
    table = Table(box=None, pad_edge=False, header_style="quiet", show_header=show_header)
    table.add_column("version", justify="right", style="quiet", min_width=7)
    table.add_column("time", no_wrap=True)
    table.add_column("what happened", no_wrap=True, min_width=20)
    table.add_column("units", justify="right", min_width=7)
    table.add_column("on hand", justify="right", min_width=7)
    table.add_column("reserved", justify="right", min_width=8)
    table.add_column("id", overflow="fold")
    for entry in entries:
        what, units = _words(entry.event)
        change = "" if units is None else f"[good]{units:+,}[/]" if units > 0 else f"[bad]{units:+,}[/]"
        name = getattr(entry.event, "reservation_id", None) or entry.metadata.command_id or ""
        balance = (number(entry.event.on_hand), number(entry.event.reserved))
        table.add_row(str(entry.version), instant(entry.recorded_at), what, change, *balance, escape(name))
    return table


def instant(at: datetime) -> str:
    """A time in UTC as people read it."""
    return f"{at:%Y-%m-%d %H:%M:%S}"


def _words(event: Event) -> tuple[str, int | None]:
    match event:
        case StockAddedEvent():
            return f"added, {_plain(event.reason)}", event.quantity
        case StockReservedEvent():
            return f"reserved {event.quantity:,}, {'firm' if event.expires_at is None else f'until {instant(event.expires_at)}'}", None
        case ReservationExtendedEvent():
            return "made firm" if event.expires_at is None else f"held until {instant(event.expires_at)}", None
        case StockReleasedEvent():
            return f"released {event.quantity:,}, {_plain(event.reason)}", None
        case StockCommittedEvent():
            return f"left, {_plain(event.reason)}", -event.quantity
        case StockAdjustedEvent():
            return f"adjusted, {_plain(event.reason)}", event.delta


def _plain(reason: object) -> str:
    return str(getattr(reason, "value", reason)).lower().replace("_", " ")
