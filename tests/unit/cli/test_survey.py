"""The first pass: all or nothing makes sense, and steps stand in the order of their first lines."""

from collections.abc import Iterator, Sequence
from datetime import timedelta

import attrs
import pytest

from inventory_es import InventoryId
from inventory_es.cli.replay.order_lines import BadLine, OrderLine
from inventory_es.cli.replay.orders_file import OrdersError
from inventory_es.cli.replay.steps import StepKind, steps, survey
from tests.integration.made_up_orders import on

START = on("2010-12-01 08:26")


@attrs.frozen
class Given:
    """Lines that stand in no file."""

    rows: Sequence[OrderLine | BadLine]
    name: str = "orders.csv"

    def digest(self) -> str:
        return "0"

    def lines(self) -> Iterator[OrderLine | BadLine]:
        return iter(self.rows)


def given(*rows: tuple[str, str, int, int]) -> Given:
    """Invoice, product, quantity, and minutes after the start."""
    seen: list[str] = []
    lines: list[OrderLine] = []
    for row, (invoice, product, quantity, minutes) in enumerate(rows, start=1):
        seen.append(invoice)
        inventory_id, at = InventoryId(product, "main"), START + timedelta(minutes=minutes)
        lines.append(OrderLine(row + 1, row, seen.count(invoice), invoice, inventory_id, quantity, at, f" {product} thing "))
    return Given(lines)


def taken(orders: Given) -> list[tuple[StepKind, list[int]]]:
    found = survey(orders, skip_bad=False)
    return [(step.kind, [line.row for line in step.lines]) for step in steps(orders, found.invoices)]


def test_an_order_stands_where_its_first_line_stands() -> None:
    orders = given(
        ("1", "a", 1, 0), ("2", "b", 1, 1), ("1", "c", 1, 0), ("C3", "a", -1, 2), ("2", "a", 0, 1), ("2", "d", 1, 1), ("4", "e", 1, 3)
    )
    assert taken(orders) == [
        (StepKind.ORDER, [1, 3]),
        (StepKind.ORDER, [2, 6]),
        (StepKind.RETURN, [4]),
        (StepKind.NOTHING, [5]),
        (StepKind.ORDER, [7]),
    ]


def test_one_invoice_may_sell_and_write_off() -> None:
    orders = given(("1", "a", -1, 0), ("1", "a", 2, 0), ("1", "b", -3, 0), ("1", "c", 4, 0))
    assert taken(orders) == [(StepKind.WRITE_OFF, [1]), (StepKind.ORDER, [2, 4]), (StepKind.WRITE_OFF, [3])]


def test_steps_are_given_as_soon_as_they_are_whole() -> None:
    orders = given(("1", "a", 1, 0), ("2", "b", 1, 0), ("1", "a", 1, 0), ("3", "c", 1, 0))
    read: list[int] = []

    class Watched(Given):
        def lines(self) -> Iterator[OrderLine | BadLine]:
            for line in super().lines():
                assert isinstance(line, OrderLine)
                read.append(line.row)
                yield line

    found = steps(Watched(orders.rows), survey(orders, skip_bad=False).invoices)
    assert next(found).row == 1
    assert read == [1, 2, 3]


def test_what_an_order_wants_is_summed_over_its_lines() -> None:
    orders = given(("1", "a", 2, 0), ("1", "b", 1, 0), ("1", "a", 3, 0))
    (step,) = steps(orders, survey(orders, skip_bad=False).invoices)
    assert step.wanted() == {InventoryId("a", "main"): 5, InventoryId("b", "main"): 1}


def test_a_survey_counts_and_remembers() -> None:
    found = survey(given(("1", "a", 1, 0), ("2", "b", 0, 1), ("1", "c", 1, 9), ("3", "a", 1, 2)), skip_bad=False)
    assert found.rows == 4
    assert [(one.number, one.line, one.last_row) for one in found.invoices] == [("1", 2, 3), ("3", 5, 4)]
    assert found.first_moved == {InventoryId("a", "main"): START, InventoryId("c", "main"): START}
    assert found.descriptions[InventoryId("b", "main")] == "b thing"


@pytest.mark.parametrize("late", [("C2", "a", -1, 4), ("2", "a", -1, 4), ("2", "b", 1, 4)], ids=["return", "write-off", "order"])
def test_time_must_not_run_backwards(late: tuple[str, str, int, int]) -> None:
    with pytest.raises(OrdersError, match=r"orders\.csv:3: its InvoiceDate is before one above"):
        survey(given(("1", "a", 1, 5), late), skip_bad=True)


def test_later_lines_of_an_order_may_have_any_time() -> None:
    orders = given(("1", "a", 1, 5), ("2", "b", 1, 6), ("1", "c", 1, 5), ("2", "d", 1, 0), ("3", "e", 1, 6))
    assert survey(orders, skip_bad=False).rows == 5


def test_a_bad_line_stops_or_is_left_out() -> None:
    orders = given(("1", "a", 1, 0))
    bad = Given([*orders.rows, BadLine(3, "it has 2 cells where the header has 5")])
    with pytest.raises(OrdersError, match=r"orders\.csv:3: it has 2 cells where the header has 5; nothing was written"):
        survey(bad, skip_bad=False)
    found = survey(bad, skip_bad=True)
    assert [line.number for line in found.bad_lines] == [3]
    assert found.rows == 1


def test_no_lines_are_no_steps() -> None:
    assert survey(given(), skip_bad=False).rows == 0
    assert taken(given()) == []
