"""Items of a process as a host gives them."""

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import attrs

from inventory_es.domain.errors import InvalidQuantityError

Item = TypeVar("Item")


def items_of(kind: type[Item], given: object) -> Iterator[Item]:
    """Each item as a ``kind``.

    Args:
        kind: an attrs class, such as ``OrderItem``.
        given: any number of them, or of tuples of its fields.

    Raises:
        InvalidQuantityError: something else.
    """
    attributes: tuple[attrs.Attribute[Any], ...] = attrs.fields(kind)  # type: ignore[arg-type]  # an attrs class
    names = ", ".join(field.name for field in attributes)
    if not isinstance(given, Iterable) or isinstance(given, str | bytes | dict):
        raise InvalidQuantityError(name="items", problem=f"must be any number of {kind.__name__}, not a {type(given).__name__}")
    for one in given:
        if isinstance(one, kind):
            yield one
        elif isinstance(one, tuple | list) and len(one) == len(attributes):
            yield kind(*one)
        else:
            problem = f"must each be an {kind.__name__}, or a tuple of {names}, not a {type(one).__name__}"
            raise InvalidQuantityError(name="items", problem=problem)
