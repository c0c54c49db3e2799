"""Items and lines of orders and transfers: what they are made of is checked, and the part that is wrong is named."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from inventory_es.domain.processes.lines import LineMovement, OrderLine, TransferLine, order_lines, transfer_lines
from inventory_es.domain.quantity import StockQuantity
from inventory_es.errors import InvalidIdentifierError, InvalidQuantityError
from inventory_es.processes import LineQuantity, OrderItem, TransferItem

SOME_ID: Any = UUID(int=7)
TWO: Any = StockQuantity(2)


def test_their_parts_may_come_as_other_types_and_are_kept_as_plain_ones() -> None:
    assert OrderItem(SOME_ID, SOME_ID, TWO) == OrderItem(str(SOME_ID), str(SOME_ID), 2)
    assert TransferItem(SOME_ID, TWO) == TransferItem(str(SOME_ID), 2)
    assert OrderLine(SOME_ID, SOME_ID, TWO, 1) == OrderLine(str(SOME_ID), str(SOME_ID), 2, 1)
    assert TransferLine(SOME_ID, TWO, 1) == TransferLine(str(SOME_ID), 2, 1)


@pytest.mark.parametrize(
    "make, name",
    [
        (lambda: OrderItem("", "s", 1), "product_id"),
        (lambda: OrderItem("p", "", 1), "store_id"),
        (lambda: OrderItem("p", "s", 0), "quantity"),
        (lambda: OrderLine("p", "s", 0, 1), "quantity"),
        (lambda: OrderLine("p", "s", 1, 0), "line"),
        (lambda: LineQuantity(0, 1), "line"),
        (lambda: LineQuantity(1, 0), "quantity"),
        (lambda: TransferItem("", 1), "product_id"),
        (lambda: TransferItem("p", 0), "quantity"),
        (lambda: TransferLine("p", 0, 1), "quantity"),
        (lambda: TransferLine("p", 1, 0), "line"),
        (lambda: LineMovement(0, 1, 0), "line"),
        (lambda: LineMovement(1, 0, 0), "quantity"),
        (lambda: LineMovement(1, 1, -1), "in_transit"),
    ],
    ids=range(14),
)
def test_the_part_that_is_wrong_is_named(make: Callable[[], object], name: str) -> None:
    with pytest.raises((InvalidIdentifierError, InvalidQuantityError)) as refused:
        make()
    assert refused.value.facts()["name"] == name


def test_nothing_may_be_left_under_way() -> None:
    assert LineMovement(1, 1, 0).in_transit == 0


def test_an_item_may_be_a_tuple_of_its_fields() -> None:
    orders: Any = [("b", "s", 1), ["a", "s", 2], OrderItem("b", "s", 3)]
    transfers: Any = [("b", 1), ["a", 2], TransferItem("b", 3)]
    assert order_lines(orders) == (OrderLine("a", "s", 2, 1), OrderLine("b", "s", 4, 2))
    assert transfer_lines(transfers) == (TransferLine("a", 2, 1), TransferLine("b", 4, 2))


@pytest.mark.parametrize(
    "given, problem",
    [
        (7, "items must be any number of TransferItem, not a int"),
        ("tea", "items must be any number of TransferItem, not a str"),
        (b"tea", "items must be any number of TransferItem, not a bytes"),
        ({"tea": 1}, "items must be any number of TransferItem, not a dict"),
        ([7], "items must each be an TransferItem, or a tuple of product_id, quantity, not a int"),
        (["te"], "items must each be an TransferItem, or a tuple of product_id, quantity, not a str"),
        ([("tea", 1, 1)], "items must each be an TransferItem, or a tuple of product_id, quantity, not a tuple"),
    ],
    ids=range(7),
)
def test_something_else_than_items_is_refused(given: Any, problem: str) -> None:
    with pytest.raises(InvalidQuantityError) as refused:
        transfer_lines(given)
    assert problem in str(refused.value)
    assert refused.value.name == "items"


@pytest.mark.parametrize("lines, things", [(order_lines, "inventories"), (transfer_lines, "products")])
def test_no_lines_at_all_are_refused(lines: Callable[[Any], object], things: str) -> None:
    with pytest.raises(InvalidQuantityError, match=f"lines must name 1 to 5000 {things}, not 0"):
        lines(())
