"""What a replay must come to, counted from the file with nothing but dictionaries."""

import csv
import gzip
from collections import Counter, defaultdict
from datetime import UTC, datetime
from pathlib import Path

NAMES = (
    "rows",
    "orders",
    "orders_refused",
    "adjustments",
    "adjustments_refused",
    "returns",
    "units_sold",
    "units_returned",
    "units_written_off",
    "units_received",
    "units_opening",
    "events",
    "invoices_in_before",
)


def count(path: Path, *, opening: int | None = None) -> dict[str, int]:
    """The totals of the whole file, under the names of ``--json``."""
    found, _ = _fold(path, opening, until=None)
    return {name: found[name] for name in NAMES}


def shelves(path: Path, *, until: datetime | None = None) -> dict[str, int]:
    """What is on the shelf of every product that has moved, at the end or after all that happened up to an instant."""
    return _fold(path, None, until)[1]


def times(path: Path) -> list[datetime]:
    """The times of all rows, in order."""
    return [at for _, _, _, at in _rows(path)]


def _rows(path: Path) -> list[tuple[str, str, int, datetime]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") if path.suffix == ".gz" else path.open(encoding="utf-8", newline="") as file:
        return [
            (
                row["InvoiceNo"],
                row["StockCode"].strip(),
                int(row["Quantity"]),
                datetime.fromisoformat(row["InvoiceDate"]).replace(tzinfo=UTC),
            )
            for row in csv.DictReader(file)
        ]


def _fold(path: Path, opening: int | None, until: datetime | None) -> tuple[Counter[str], dict[str, int]]:
    rows = _rows(path)
    orders: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for invoice, product, quantity, _ in rows:
        if quantity > 0:
            orders[invoice].append((product, quantity))
    found = Counter[str](rows=len(rows))
    stock: dict[str, int] = {}

    def take(wanted: Counter[str]) -> bool:
        if opening is None:
            for product, units in wanted.items():
                if units > stock[product]:
                    found["units_received"] += units - stock[product]
                    found["events"] += 1
                    stock[product] = units
        if any(units > stock[product] for product, units in wanted.items()):
            return False
        for product, units in wanted.items():
            stock[product] -= units
        return True

    def open_all(products: list[str]) -> None:
        for product in products:
            if product not in stock:
                stock[product] = opening or 0
                if opening:
                    found["units_opening"] += opening
                    found["events"] += 1

    taken: set[str] = set()
    for invoice, product, quantity, at in rows:
        if until is not None and at > until:
            break
        if quantity > 0 and invoice not in taken:
            taken.add(invoice)
            lines = orders[invoice]
            open_all([one for one, _ in lines])
            wanted = Counter[str]()
            for one, units in lines:
                wanted[one] += units
            found["orders"] += 1
            if take(wanted):
                found["units_sold"] += wanted.total()
                found["events"] += 2 * len(lines)
            else:
                found["orders_refused"] += 1
        elif quantity < 0 and invoice.startswith("C"):
            open_all([product])
            stock[product] -= quantity
            found["returns"] += 1
            found["units_returned"] -= quantity
            found["events"] += 1
        elif quantity < 0:
            open_all([product])
            found["adjustments"] += 1
            if take(Counter({product: -quantity})):
                found["units_written_off"] -= quantity
                found["events"] += 1
            else:
                found["adjustments_refused"] += 1
    return found, stock
