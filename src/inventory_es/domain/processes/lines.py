"""Lines of a process: items as a host gives them, numbered lines as the process keeps them, and records about one line."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self, TypeVar

import attrs

from inventory_es.domain.errors import InsufficientStockError, InvalidQuantityError, RejectionError
from inventory_es.domain.identifiers import InventoryId, identifier
from inventory_es.domain.quantity import whole_units
from inventory_es.domain.stream_id import StreamId

Item = TypeVar("Item", "OrderItem", "TransferItem")
Key = TypeVar("Key", str, StreamId)

MOST_LINES = 5_000
"""Inventories that one order moves at most, and products that one transfer moves at most."""


def _product_id(value: str) -> str:
    return identifier("product_id", value)


def _store_id(value: str) -> str:
    return identifier("store_id", value)


def _quantity(value: int) -> int:
    return whole_units("quantity", value)


def _line(value: int) -> int:
    return whole_units("line", value)


def _in_transit(value: int) -> int:
    return whole_units("in_transit", value, at_least=0)


@attrs.frozen
class OrderItem:
    """Units of one product in one store.

    Attributes:
        product_id: the product.
        store_id: the store.
        quantity: 1 to 2^53−1.
    """

    product_id: str = attrs.field(converter=_product_id)
    store_id: str = attrs.field(converter=_store_id)
    quantity: int = attrs.field(converter=_quantity)

    @property
    def inventory_id(self) -> InventoryId:
        """The inventory that has the units."""
        return InventoryId(self.product_id, self.store_id)


@attrs.frozen
class OrderLine(OrderItem):
    """The units that an order takes from one inventory.

    Attributes:
        line: its number, from 1, in the order of the stream ids.
    """

    line: int = attrs.field(converter=_line)


@attrs.frozen
class TransferItem:
    """Units of one product.

    Attributes:
        product_id: the product.
        quantity: 1 to 2^53−1.
    """

    product_id: str = attrs.field(converter=_product_id)
    quantity: int = attrs.field(converter=_quantity)


@attrs.frozen
class TransferLine(TransferItem):
    """The units that a transfer takes of one product.

    Attributes:
        line: its number, from 1, in the order of the product ids.
    """

    line: int = attrs.field(converter=_line)


@attrs.frozen
class LineQuantity:
    """Units of one line."""

    line: int = attrs.field(converter=_line)
    quantity: int = attrs.field(converter=_quantity)


@attrs.frozen
class LineMovement(LineQuantity):
    """Units of one line that are in transit no longer.

    Attributes:
        line: its number.
        quantity: the units.
        in_transit: units of the line that are still in transit after them.
    """

    in_transit: int = attrs.field(converter=_in_transit)


@attrs.frozen
class LineRefusal:
    """A line that could not leave, with the code of the error that says why. Its hold was given back."""

    line: int
    code: str


@attrs.frozen
class LineShortage:
    """Why a line could not be had.

    Attributes:
        line: its number.
        product_id: the product.
        store_id: the store.
        requested: units asked for.
        available: units that were free; ``None`` where the line was refused for another reason.
        code: of the error that refused it.
    """

    line: int
    product_id: str
    store_id: str
    requested: int
    available: int | None
    code: str

    @classmethod
    def of(cls, line: OrderLine | TransferLine, inventory_id: InventoryId, why: RejectionError) -> Self:
        """Return the shortage of a line whose reservation in an inventory was refused."""
        available = why.available if isinstance(why, InsufficientStockError) else None
        return cls(line.line, line.product_id, inventory_id.store_id, line.quantity, available, why.code)

    @property
    def units(self) -> int | None:
        """Units that were missing; ``None`` where the line was refused for another reason."""
        return None if self.available is None else self.requested - self.available


def order_lines(items: Iterable[OrderItem | tuple[str, str, int]]) -> tuple[OrderLine, ...]:
    """Return one line per inventory with the sum of its items, sorted by stream id. The order of the items does not matter.

    Raises:
        InvalidQuantityError: no items, something else than items, or more inventories than an order may have.
    """
    summed = _sum(OrderItem, items, lambda item: item.inventory_id.stream, "inventories")
    return tuple(OrderLine(item.product_id, item.store_id, units, number) for number, (item, units) in enumerate(summed, 1))


def transfer_lines(items: Iterable[TransferItem | tuple[str, int]]) -> tuple[TransferLine, ...]:
    """Return one line per product with the sum of its items, sorted by product id. The order of the items does not matter.

    Raises:
        InvalidQuantityError: no items, something else than items, or more products than a transfer may have.
    """
    summed = _sum(TransferItem, items, lambda item: item.product_id, "products")
    return tuple(TransferLine(item.product_id, units, number) for number, (item, units) in enumerate(summed, 1))


def _sum(kind: type[Item], given: object, key: Callable[[Item], Key], things: str) -> list[tuple[Item, int]]:
    """Return one item per key, sorted, with the units of all items of that key."""
    sums: dict[Key, tuple[Item, int]] = {}
    for item in _items(kind, given):
        place = key(item)
        first, units = sums.get(place, (item, 0))
        sums[place] = (first, units + item.quantity)
    if not 1 <= len(sums) <= MOST_LINES:
        raise InvalidQuantityError(name="lines", problem=f"must name 1 to {MOST_LINES} {things}, not {len(sums)}")
    return [sums[place] for place in sorted(sums)]


def _items(kind: type[Item], given: object) -> Iterator[Item]:
    names: tuple[str, ...] = tuple(field.name for field in attrs.fields(kind))
    if not isinstance(given, Iterable) or isinstance(given, str | bytes | dict):
        raise InvalidQuantityError(name="items", problem=f"must be any number of {kind.__name__}, not a {type(given).__name__}")
    for one in given:
        if isinstance(one, kind):
            yield one
        elif isinstance(one, tuple | list) and len(one) == len(names):
            made: Any = kind(*one)
            yield made
        else:
            problem = f"must each be an {kind.__name__}, or a tuple of {', '.join(names)}, not a {type(one).__name__}"
            raise InvalidQuantityError(name="items", problem=problem)
