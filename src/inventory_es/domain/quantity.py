"""Quantities: whole numbers of units. The host chooses the smallest unit, such as pieces or grams."""

from functools import total_ordering

import attrs

from inventory_es.domain.errors import InvalidQuantityError, QuantityOverflowError

MAX_QUANTITY = 2**53 - 1
"""The largest count that every JSON reader keeps exact (RFC 8259 §6: integers within ±2^53−1 interoperate)."""


def _units(value: object) -> int:
    return whole_units("quantity", value, at_least=0)


@total_ordering
@attrs.frozen(eq=False)
class StockQuantity:
    """An immutable whole number of units, 0 ≤ q ≤ 2^53−1.

    Quantities can be added, subtracted, ordered and hashed; ``int(q)`` is the count. Subtraction below zero raises an error.

    Raises:
        InvalidQuantityError: not a whole number (``bool``, ``float`` and ``str`` are refused), or below zero.
        QuantityOverflowError: above 2^53−1.
    """

    units: int = attrs.field(converter=_units)

    def __add__(self, other: "StockQuantity") -> "StockQuantity":
        if not isinstance(other, StockQuantity):
            return NotImplemented
        return StockQuantity(self.units + other.units)

    def __sub__(self, other: "StockQuantity") -> "StockQuantity":
        if not isinstance(other, StockQuantity):
            return NotImplemented
        if other.units > self.units:
            raise InvalidQuantityError(name="difference", problem=f"{self.units} - {other.units} is below 0")
        return StockQuantity(self.units - other.units)

    def __int__(self) -> int:
        return self.units

    __index__ = __int__

    def __bool__(self) -> bool:
        return self.units > 0

    def __str__(self) -> str:
        return str(self.units)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StockQuantity) and self.units == other.units

    def __lt__(self, other: "StockQuantity") -> bool:
        if not isinstance(other, StockQuantity):
            return NotImplemented
        return self.units < other.units

    def __hash__(self) -> int:
        return hash(self.units)


def whole_units(name: str, value: object, *, at_least: int = 1) -> int:
    """Check a count of units that a caller gave.

    Args:
        name: the name of the argument, for the error.
        value: an ``int`` or a :class:`StockQuantity`.
        at_least: the smallest legal count.

    Raises:
        InvalidQuantityError: no whole number, or below ``at_least``.
        QuantityOverflowError: above 2^53−1.
    """
    if type(value) is int:
        if at_least <= value <= MAX_QUANTITY:
            return value
    else:
        if not isinstance(value, StockQuantity):
            raise InvalidQuantityError(name=name, problem=f"must be a whole number of units, not a {type(value).__name__}")
        value = value.units
    if value < at_least:
        raise InvalidQuantityError(name=name, problem=f"must be {at_least} or more, not {value}")
    if value > MAX_QUANTITY:
        raise QuantityOverflowError(name=name, limit=MAX_QUANTITY)
    return value


def whole_number(name: str, value: object, *, at_least: int = 0) -> int:
    """Check a number that counts no units, such as a version, a position or a limit.

    Args:
        name: the name of the argument, for the error.
        value: an ``int``.
        at_least: the smallest legal number.

    Raises:
        InvalidQuantityError: no whole number, below ``at_least``, or above 2^53−1.
    """
    if type(value) is int and at_least <= value <= MAX_QUANTITY:
        return value
    told = value if type(value) is int else f"a {type(value).__name__}"
    raise InvalidQuantityError(name=name, problem=f"must be a whole number from {at_least} to {MAX_QUANTITY}, not {told}")
