"""What a replay must come to, counted from the file with nothing but dictionaries."""

import csv
import gzip
from collections import Counter, defaultdict
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
)


def count(path: Path, *, opening: int | None = None) -> dict[str, int]:
    """The totals of the whole file, under the names of ``--json``."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") if path.suffix == ".gz" else path.open(encoding="utf-8", newline="") as file:
        rows = [(row["InvoiceNo"], row["StockCode"].strip(), int(row["Quantity"])) for row in csv.DictReader(file)]
    orders: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for invoice, product, quantity in rows:
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
    for invoice, product, quantity in rows:
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
    return {name: found[name] for name in NAMES}
