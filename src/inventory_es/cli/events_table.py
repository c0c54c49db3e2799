"""Events of an inventory as people read them."""

from collections.abc import Iterable
from datetime import datetime

from rich.console import Console
from rich.markup import escape

from inventory_es.application.results import HistoryEntry
from inventory_es.cli.tables import Column, print_table
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

_COLUMNS = (
    Column("version", is_figure=True, leave_out=3, style="quiet"),
    Column("time", least=19, leave_out=2),
    Column("what happened", width=16, least=10),
    Column("on hand", is_figure=True),
    Column("reserved", is_figure=True),
    Column("id", least=12, leave_out=1, folds=True),
)


def print_events(out: Console, entries: Iterable[HistoryEntry], *, show_header: bool = True) -> None:
    """Print one line for each event, with the balance after it."""
    print_table(out, _COLUMNS, map(_cells, entries), show_header=show_header)


def _cells(entry: HistoryEntry) -> tuple[str, ...]:
    name = getattr(entry.event, "reservation_id", None) or entry.metadata.command_id or ""
    balance = (number(entry.event.on_hand), number(entry.event.reserved))
    return str(entry.version), instant(entry.recorded_at), what_happened(entry.event, entry.recorded_at), *balance, escape(name)


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
