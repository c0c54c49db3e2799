"""Lines of an orders file are understood exactly, or refused with their reason."""

from datetime import UTC, datetime

import pytest

from inventory_es import InventoryId
from inventory_es.cli.replay.order_lines import LineReader, NotUnderstoodError, OrderLine

HEADER = ["InvoiceNo", "StockCode", "Quantity", "InvoiceDate"]
GOOD = {"InvoiceNo": "536365", "StockCode": "85123A", "Quantity": "6", "InvoiceDate": "2010-12-01 08:26:00"}


def read(**changes: str) -> OrderLine:
    return LineReader(HEADER).read(2, list((GOOD | changes).values()))


def test_a_line_is_what_its_cells_say() -> None:
    line = read()
    assert line == OrderLine(2, 1, 1, "536365", InventoryId("85123A", "main"), 6, datetime(2010, 12, 1, 8, 26, tzinfo=UTC), "")
    assert not line.is_return


def test_blanks_around_a_product_and_an_invoice_go_and_nothing_else_changes() -> None:
    line = read(StockCode="  gift_0001 z ", InvoiceNo=" 536365 ")
    assert (line.inventory_id.product_id, line.invoice) == ("gift_0001 z", "536365")


def test_rows_are_counted_over_the_file_and_within_each_invoice() -> None:
    reader = LineReader(HEADER)
    invoices = ["1", "2", "1", "1", "2"]
    lines = [reader.read(number, [invoice, "mug", "1", GOOD["InvoiceDate"]]) for number, invoice in enumerate(invoices, start=2)]
    assert [(line.row, line.nth) for line in lines] == [(1, 1), (2, 1), (3, 2), (4, 3), (5, 2)]


def test_columns_may_stand_in_any_order_beside_others() -> None:
    reader = LineReader(["Country", "Quantity", " InvoiceDate", "StockCode", "Description", "InvoiceNo "])
    line = reader.read(2, ["France", "-3", "2010-12-01 08:26:00", "mug", "a mug", "C7"])
    assert (line.invoice, line.quantity, line.description, line.is_return) == ("C7", -3, "a mug", True)


@pytest.mark.parametrize(
    "header, problem",
    [
        (["InvoiceNo", "StockCode", "Quantity"], "InvoiceDate is missing"),
        ([*HEADER, "Quantity"], "Quantity is twice"),
        (["a"], "InvoiceNo is missing"),
    ],
)
def test_a_header_without_what_is_needed_is_refused(header: list[str], problem: str) -> None:
    with pytest.raises(NotUnderstoodError, match=problem):
        LineReader(header)


@pytest.mark.parametrize(
    "changes, problem",
    [
        ({"InvoiceNo": "  "}, "InvoiceNo"),
        ({"InvoiceNo": "7" * 97}, "InvoiceNo"),
        ({"InvoiceNo": "a\x00b"}, "InvoiceNo"),
        ({"StockCode": " "}, "StockCode must have 1 to 128 characters"),
        ({"StockCode": "x" * 129}, "StockCode must have 1 to 128 characters"),
        ({"StockCode": "a\x07b"}, "StockCode must not have control characters"),
        ({"Quantity": ""}, "Quantity"),
        ({"Quantity": "1.0"}, "Quantity"),
        ({"Quantity": "1_000"}, "Quantity"),
        ({"Quantity": "٣"}, "Quantity"),
        ({"Quantity": "1e3"}, "Quantity"),
        ({"Quantity": "--1"}, "Quantity"),
        ({"Quantity": "9007199254740992"}, "Quantity"),
        ({"Quantity": "-9007199254740992"}, "Quantity"),
        ({"Quantity": "99999999999999999999"}, "Quantity"),
        ({"InvoiceDate": ""}, "InvoiceDate"),
        ({"InvoiceDate": "12/1/2010 8:26"}, "InvoiceDate"),
        ({"InvoiceDate": "2010-12-01"}, "InvoiceDate"),
        ({"InvoiceDate": "2010-02-30 08:26:00"}, "InvoiceDate"),
        ({"InvoiceDate": "2010-12-01 08:26:00+01:00"}, "InvoiceDate"),
        ({"InvoiceNo": "C1"}, "cancellation"),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, str], problem: str) -> None:
    with pytest.raises(NotUnderstoodError, match=problem):
        read(**changes)


@pytest.mark.parametrize("quantity", ["0", "-0", "+6", "9007199254740991", "-9007199254740991"])
def test_whole_numbers_up_to_the_largest_are_taken(quantity: str) -> None:
    assert read(Quantity=quantity).quantity == int(quantity)


@pytest.mark.parametrize("cells", [[], ["536365"], ["536365", "85123A", "6", "2010-12-01 08:26:00", "x"]])
def test_a_line_of_another_width_is_refused(cells: list[str]) -> None:
    with pytest.raises(NotUnderstoodError, match=f"it has {len(cells)} cells where the header has 4"):
        LineReader(HEADER).read(2, cells)


def test_what_is_refused_is_not_counted() -> None:
    reader = LineReader(HEADER)
    with pytest.raises(NotUnderstoodError):
        reader.read(2, ["1", "mug", "many", GOOD["InvoiceDate"]])
    assert reader.read(3, ["1", "mug", "1", GOOD["InvoiceDate"]])[1:3] == (1, 1)
