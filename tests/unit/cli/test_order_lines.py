"""Lines of an orders file are understood exactly, or refused with their reason."""

from datetime import UTC, datetime

import pytest

from inventory_es import InventoryId
from inventory_es.cli.replay.order_lines import LineReader, NotUnderstoodError, OrderLine, Reading

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
        ({"Quantity": "1_000"}, "Quantity"),
        ({"Quantity": "1,000"}, "may be thousands or have decimals"),
        ({"Quantity": "-1.000"}, "may be thousands or have decimals"),
        ({"Quantity": "6.5"}, "has a fraction"),
        ({"Quantity": "6,5"}, "has a fraction"),
        ({"Quantity": "1,00,000"}, "Quantity must be a whole number"),
        ({"Quantity": "1,000,000,0"}, "Quantity must be a whole number"),
        ({"Quantity": "6 pcs"}, "Quantity must be a whole number"),
        ({"Quantity": "- 6"}, "Quantity must be a whole number"),
        ({"Quantity": "٣"}, "Quantity"),
        ({"Quantity": "1e3"}, "Quantity"),
        ({"Quantity": "--1"}, "Quantity"),
        ({"Quantity": "9007199254740992"}, "Quantity"),
        ({"Quantity": "-9007199254740992"}, "Quantity"),
        ({"Quantity": "99999999999999999999"}, "Quantity"),
        ({"InvoiceDate": ""}, "InvoiceDate"),
        ({"InvoiceDate": "12/1/2010 8:26"}, "say which, by --dates day-first or --dates month-first"),
        ({"InvoiceDate": "12.1.2010 8:26"}, "say which, by --dates day-first or --dates month-first"),
        ({"InvoiceDate": "12/1/10 8:26"}, "a year of four digits"),
        ({"InvoiceDate": "13/13/2010 8:26"}, "must look like"),
        ({"InvoiceDate": "12/12/2010 13:26 PM"}, "must look like"),
        ({"InvoiceDate": "2010-12-01 24:00:00"}, "must look like"),
        ({"InvoiceDate": "0001-01-01 00:00:00+23:00"}, "must look like"),
        ({"InvoiceDate": "40513.35"}, "must look like"),
        ({"InvoiceDate": "2010-12-01"}, "no time of day"),
        ({"InvoiceDate": "12/1/2010"}, "no time of day"),
        ({"InvoiceDate": "2010-02-30 08:26:00"}, "InvoiceDate"),
        ({"InvoiceNo": "C1"}, "cancellation"),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, str], problem: str) -> None:
    with pytest.raises(NotUnderstoodError, match=problem):
        read(**changes)


@pytest.mark.parametrize("quantity", ["0", "-0", "+6", "9007199254740991", "-9007199254740991"])
def test_whole_numbers_up_to_the_largest_are_taken(quantity: str) -> None:
    assert read(Quantity=quantity).quantity == int(quantity)


@pytest.mark.parametrize(
    "text, number",
    [
        (" 2", 2), ("2 ", 2), ("\u00a02", 2), ("6.0", 6), ("-6.00", -6), ("6,0", 6), ("6.0000", 6), ("\u22126", -6),
        ("1,000,000", 1_000_000), ("1.000.000", 1_000_000), ("1,000.0", 1_000), ("-1.000,00", -1_000),
        ("1 000", 1_000), ("1'000", 1_000), ("1\u202f000\u202f000", 1_000_000),
    ],
)  # fmt: skip
def test_a_number_is_read_where_it_can_mean_one_thing_alone(text: str, number: int) -> None:
    assert read(Quantity=text).quantity == number


@pytest.mark.parametrize(
    "text",
    [
        "2010-12-01 08:26", "2010-12-01T08:26:00", "2010-12-01T08:26:00Z", "2010-12-01T08:26:00.000Z", "2010-12-01 09:26:00+01:00",
        "2010-12-01T03:26-0500", "2010/12/01 8:26", "2010-12-1 8:26:00 AM", " 2010-12-01 08:26:00 ", "2010-12-01, 08:26",
        "2010.12.01 08:26 UTC",
    ],
)  # fmt: skip
def test_a_time_is_read_where_it_can_mean_one_thing_alone(text: str) -> None:
    assert read(InvoiceDate=text).at == datetime(2010, 12, 1, 8, 26, tzinfo=UTC)


@pytest.mark.parametrize(
    "text, month, day, hour",
    [
        ("12/13/2010 8:26", 12, 13, 8), ("13/12/2010 8:26", 12, 13, 8), ("12-12-2010 12:26 AM", 12, 12, 0),
        ("12.12.2010 12:26 PM", 12, 12, 12),
        ("31.12.2010 20:26:00", 12, 31, 20), ("12/31/2010, 8:26:00 PM", 12, 31, 20),
    ],
)  # fmt: skip
def test_a_day_above_twelve_or_equal_to_its_month_tells_itself(text: str, month: int, day: int, hour: int) -> None:
    assert read(InvoiceDate=text).at == datetime(2010, month, day, hour, 26, tzinfo=UTC)


def test_the_order_of_day_and_month_is_told_and_then_holds() -> None:
    cells = ["1", "mug", "1", "12/1/2010 8:26"]
    assert LineReader(HEADER, Reading(dates="day-first")).read(2, cells).at == datetime(2010, 1, 12, 8, 26, tzinfo=UTC)
    assert LineReader(HEADER, Reading(dates="month-first")).read(2, cells).at == datetime(2010, 12, 1, 8, 26, tzinfo=UTC)
    with pytest.raises(NotUnderstoodError, match="InvoiceDate"):
        LineReader(HEADER, Reading(dates="day-first")).read(2, ["1", "mug", "1", "12/13/2010 8:26"])


@pytest.mark.parametrize(
    "header",
    [
        ["invoiceno", "stockcode", "quantity", "invoicedate"], ["INVOICE NO", "Stock Code", "QTY", "Invoice_Date"],
        ["Invoice", "StockCode", "Quantity", "InvoiceDate"], ["Order ID", "SKU", "Units", "Order date"],
    ],
)  # fmt: skip
def test_columns_may_have_names_that_mean_the_same(header: list[str]) -> None:
    line = LineReader(header).read(2, list(GOOD.values()))
    assert (line.invoice, line.inventory_id.product_id, line.quantity) == ("536365", "85123A", 6)


def test_an_exact_name_goes_before_one_that_means_the_same() -> None:
    line = LineReader(["Order", *HEADER]).read(2, ["7", *GOOD.values()])
    assert line.invoice == "536365"


def test_two_columns_that_may_be_the_same_are_not_chosen_from_but_told() -> None:
    header = ["Order ID", "Order Number", "SKU", "Qty", "Date"]
    with pytest.raises(NotUnderstoodError, match="column InvoiceNo may be Order ID or Order Number: --column InvoiceNo=NAME says which"):
        LineReader(header)
    reader = LineReader(header, Reading(columns={"InvoiceNo": "Order Number", "StockCode": "SKU"}))
    assert reader.read(2, ["7", "8", "mug", "1", "2010-12-01 08:26:00"]).invoice == "8"
    with pytest.raises(NotUnderstoodError, match="column Item is missing: --column StockCode=NAME says that it has another name"):
        LineReader(header, Reading(columns={"InvoiceNo": "Order Number", "StockCode": "Item"}))


def test_an_invoice_number_that_a_spreadsheet_took_for_a_number_is_the_same() -> None:
    assert read(InvoiceNo="536365.0").invoice == "536365"
    assert read(InvoiceNo="A1.0").invoice == "A1.0"


def test_lines_belong_to_the_store_that_is_told() -> None:
    assert LineReader(HEADER, Reading(store_id="berlin")).read(2, list(GOOD.values())).inventory_id == InventoryId("85123A", "berlin")


@pytest.mark.parametrize("cells", [[], ["536365"], ["536365", "85123A", "6", "2010-12-01 08:26:00", "x"]])
def test_a_line_of_another_width_is_refused(cells: list[str]) -> None:
    with pytest.raises(NotUnderstoodError, match=f"it has {len(cells)} cells where the header has 4"):
        LineReader(HEADER).read(2, cells)


def test_what_is_refused_is_not_counted() -> None:
    reader = LineReader(HEADER)
    with pytest.raises(NotUnderstoodError):
        reader.read(2, ["1", "mug", "many", GOOD["InvoiceDate"]])
    assert reader.read(3, ["1", "mug", "1", GOOD["InvoiceDate"]])[1:3] == (1, 1)
