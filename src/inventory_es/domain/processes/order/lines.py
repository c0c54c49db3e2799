"""What an order is made of: items as the host gives them, lines as the order keeps them."""

from collections.abc import Iterable

import attrs

from inventory_es.domain.errors import InvalidQuantityError
from inventory_es.domain.identifiers import InventoryId, identifier
from inventory_es.domain.processes.items import items_of
from inventory_es.domain.quantity import whole_units

MOST_LINES = 5_000
"""Inventories that one order moves at most."""


@attrs.frozen
class OrderItem:
    """Units of one product in one store.

    Attributes:
        product_id: what.
        store_id: where.
        quantity: 1 to 2^53−1.
    """

    product_id: str
    store_id: str
    quantity: int

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "product_id", identifier("product_id", self.product_id))
        object.__setattr__(self, "store_id", identifier("store_id", self.store_id))
        object.__setattr__(self, "quantity", whole_units("quantity", self.quantity))

    @property
    def inventory_id(self) -> InventoryId:
        """The inventory that it moves."""
        return InventoryId(self.product_id, self.store_id)


@attrs.frozen
class OrderLine(OrderItem):
    """What an order takes from one inventory.

    Attributes:
        line: its number, from 1, in the order of the stream ids.
    """

    line: int

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        whole_units("line", self.line)


@attrs.frozen
class LineQuantity:
    """Units of one line."""

    line: int
    quantity: int

    def __attrs_post_init__(self) -> None:
        whole_units("line", self.line)
        whole_units("quantity", self.quantity)


def group(items: Iterable[OrderItem | tuple[str, str, int]]) -> tuple[OrderLine, ...]:
    """One line for each inventory, with the sum of its items, sorted by stream id: the same whatever the order of the items.

    Raises:
        InvalidQuantityError: no items, something else than items, or more inventories than an order may have.
    """
    units: dict[InventoryId, int] = {}
    for item in items_of(OrderItem, items):
        units[item.inventory_id] = units.get(item.inventory_id, 0) + item.quantity
    if not 1 <= len(units) <= MOST_LINES:
        raise InvalidQuantityError(name="lines", problem=f"must name 1 to {MOST_LINES} inventories, not {len(units)}")
    ordered = sorted(units, key=lambda one: one.stream)
    return tuple(OrderLine(one.product_id, one.store_id, units[one], number) for number, one in enumerate(ordered, 1))
