"""Orders files for tests: small, and full of what real ones have."""

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

COLUMNS = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country")
Row = tuple[str, str, int, datetime]
"""Invoice, product, quantity, time."""

SAMPLES = sorted((Path(__file__).parents[3] / "shared" / "data" / "online_retail").glob("*.csv*"))
"""The real orders, where they lie beside the checkout."""


def on(text: str) -> datetime:
    """A time, as UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def write_orders(path: Path, rows: list[Row]) -> Path:
    """A CSV file of these rows."""
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for invoice, product, quantity, at in rows:
            table.writerow([invoice, product, f'a "fine", {product}', quantity, f"{at:%Y-%m-%d %H:%M:%S}", "2.55", "", "United Kingdom"])
    return path


def made_up_rows(seed: int, *, invoices: int) -> list[Row]:
    """Orders whose lines are scattered, with twins and blanks, returns of what was never sold, write-offs, and rows of nothing."""
    chance = Random(seed)
    products = ["85123A", "85123a", " 22423 ", "22423", "POST", "gift_0001_20", "é-1"]
    rows: list[Row] = []
    at = on("2010-12-01 08:26")
    for number in range(invoices):
        at += timedelta(minutes=chance.choice((0, 0, 1, 7)))
        kind = chance.random()
        invoice = f"{'C' if kind < 0.15 else ''}{536365 + number}"
        for _ in range(chance.randint(1, 6)):
            quantity = chance.choice((1, 1, 2, 6, 12, 48))
            sign = -1 if kind < 0.25 else chance.choice((1, 1, 1, 1, 1, 0))
            rows.append((invoice, chance.choice(products), sign * quantity, at))
    return _scattered(chance, rows)


def _scattered(chance: Random, rows: list[Row]) -> list[Row]:
    """Lines of orders, but not the first one of each, move behind what came later."""
    found: list[Row] = []
    late: list[Row] = []
    started: set[str] = set()
    for row in rows:
        if row[2] > 0 and row[0] in started and chance.random() < 0.3:
            late.append(row)
            continue
        if row[2] > 0:
            started.add(row[0])
        found.append(row)
        if late and chance.random() < 0.5:
            found.append(late.pop(0))
    return found + late
