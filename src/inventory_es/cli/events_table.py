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
from inventory_es.domain.reasons import AddReason, AdjustReason, CommitReason, ReleaseReason


def events_table(entries: Iterable[HistoryEntry], *, show_header: bool = True) -> Table:
    """One line for each event, with the balance after it."""
    table = Table(box=None, pad_edge=False, header_style="quiet", show_header=show_header)
    table.add_column("version", justify="right", style="quiet", min_width=7)
    table.add_column("time", no_wrap=True)
    table.add_column("what happened", no_wrap=True, min_width=16)
    table.add_column("on hand", justify="right", min_width=7)
    table.add_column("reserved", justify="right", min_width=8)
    table.add_column("id", overflow="fold")
    for entry in entries:
        name = getattr(entry.event, "reservation_id", None) or entry.metadata.command_id or ""
        balance = (number(entry.event.on_hand), number(entry.event.reserved))
        table.add_row(str(entry.version), instant(entry.recorded_at), what_happened(entry.event, entry.recorded_at), *balance, escape(name))
    return table


def instant(at: datetime) -> str:
    """A time in UTC as people read it."""
    return f"{at:%Y-%m-%d %H:%M:%S}"


def what_happened(event: Event, at: datetime) -> str:
    """An event in a few words, as markup."""
    match event:
        case StockAddedEvent():
            return f"{_signed(event.quantity)} {_plain(event.reason)}"
        case StockReservedEvent():
            return f"{event.quantity:,} reserved, {_until(event.expires_at, at)}"
        case ReservationExtendedEvent():
            return f"now {_until(event.expires_at, at)}"
        case StockReleasedEvent():
            return f"{event.quantity:,} released, {_plain(event.reason)}"
        case StockCommittedEvent():
            return f"{_signed(-event.quantity)} {_plain(event.reason)}"
        case StockAdjustedEvent():
            return f"{_signed(event.delta)} {_plain(event.reason)}"


def _signed(units: int) -> str:
    return f"[{'good' if units >= 0 else 'bad'}]{units:+,}[/]"


def _until(expires_at: datetime | None, at: datetime) -> str:
    if expires_at is None:
        return "firm"
    return f"until {expires_at:%H:%M:%S}" if expires_at.date() == at.date() else f"until {instant(expires_at)}"


def _plain(reason: AddReason | ReleaseReason | CommitReason | AdjustReason) -> str:
    return reason.value.lower().replace("_", " ")
