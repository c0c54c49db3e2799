"""What a transfer is made of: items as the host gives them, lines as the transfer keeps them, and what becomes of their units."""

from collections.abc import Iterable

import attrs

from inventory_es.domain.errors import InvalidQuantityError
from inventory_es.domain.identifiers import identifier
from inventory_es.domain.processes.items import items_of
from inventory_es.domain.quantity import whole_units

MOST_LINES = 5_000
"""Products that one transfer moves at most."""


@attrs.frozen
class TransferItem:
    """Units of one product.

    Attributes:
        product_id: what.
        quantity: 1 to 2^53−1.
    """

    product_id: str
    quantity: int

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "product_id", identifier("product_id", self.product_id))
        object.__setattr__(self, "quantity", whole_units("quantity", self.quantity))


@attrs.frozen
class TransferLine(TransferItem):
    """What a transfer takes of one product.

    Attributes:
        line: its number, from 1, in the order of the product ids.
    """

    line: int

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        whole_units("line", self.line)


@attrs.frozen
class LineMovement:
    """Units of one line that ended their way.

    Attributes:
        line: its number.
        quantity: how many.
        in_transit: units of the line that are still under way after it.
    """

    line: int
    quantity: int
    in_transit: int

    def __attrs_post_init__(self) -> None:
        whole_units("line", self.line)
        whole_units("quantity", self.quantity)
        whole_units("in_transit", self.in_transit, at_least=0)


@attrs.frozen
class LineRefusal:
    """A line that could not leave, with the code of the error that says why. Its hold was given back."""

    line: int
    code: str


def group(items: Iterable[TransferItem | tuple[str, int]]) -> tuple[TransferLine, ...]:
    """One line for each product, with the sum of its items, sorted by product id: the same whatever the order of the items.

    Raises:
        InvalidQuantityError: no items, something else than items, or more products than a transfer may have.
    """
    units: dict[str, int] = {}
    for item in items_of(TransferItem, items):
        units[item.product_id] = units.get(item.product_id, 0) + item.quantity
    if not 1 <= len(units) <= MOST_LINES:
        raise InvalidQuantityError(name="lines", problem=f"must name 1 to {MOST_LINES} products, not {len(units)}")
    return tuple(TransferLine(product, units[product], number) for number, product in enumerate(sorted(units), 1))
