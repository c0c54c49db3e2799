"""Allocation: a plan of the stores that serve an order, made before anything is reserved.

Pure, and no guarantee: orders that race for the same units are decided when they are appended. A caller that is refused reads the
figures again, and plans again.
"""

from collections.abc import Callable, Iterable, Mapping
from itertools import combinations
from math import comb

import attrs

from inventory_es.domain.errors import HostFunctionError, InvalidQuantityError
from inventory_es.domain.identifiers import identifier
from inventory_es.domain.processes.lines import OrderItem
from inventory_es.domain.quantity import whole_units

Demand = Mapping[str, int]
"""Units wanted, by product."""

Availability = Mapping[str, Mapping[str, int]]
"""Units available, by store and product. Stores are in the order of preference, for instance the nearest first."""

Strategy = Callable[[Demand, Availability], Iterable[OrderItem]]
"""A pure function that chooses the items by the demand and the available units."""

MOST_TRIED = 20_000
"""Combinations of one size that :func:`fewest_stores` tries. Above, it takes the best store, then the best for the rest."""


@attrs.frozen
class Allocation:
    """A plan of the stores that serve an order.

    Attributes:
        items: the items to pass to ``Orders.reserve``.
        shortages: units that no store has, by product; empty where the order can be served whole.
    """

    items: tuple[OrderItem, ...]
    shortages: Mapping[str, int]

    @property
    def is_complete(self) -> bool:
        """True if there are no shortages."""
        return not self.shortages

    @property
    def stores(self) -> tuple[str, ...]:
        """The stores of the items, in their order."""
        return tuple(dict.fromkeys(item.store_id for item in self.items))


def allocate(demand: Demand, available: Availability, *, strategy: Strategy | None = None) -> Allocation:
    """Plan from which stores to take the units wanted.

    Args:
        demand: units wanted, 1 or more of each product.
        available: units available, 0 or more of each product, by store, in the order of preference.
        strategy: chooses the items; :func:`fewest_stores` by default.

    Returns:
        The plan, as complete as the stores allow, and the shortages.

    Raises:
        InvalidQuantityError, InvalidIdentifierError: the demand or the available units are malformed.
        ValueError: the strategy took more than is available or wanted.
        HostFunctionError: the strategy returned something else than items.
    """
    wanted = {identifier("product_id", product): whole_units("demand", units) for product, units in demand.items()}
    there = {
        identifier("store_id", store): {
            identifier("product_id", product): whole_units("available", units, at_least=0) for product, units in shelf.items()
        }
        for store, shelf in available.items()
    }
    if not wanted:
        raise InvalidQuantityError(name="demand", problem="must name at least one product")
    chosen: object = (fewest_stores if strategy is None else strategy)(wanted, there)
    items = tuple(chosen) if isinstance(chosen, Iterable) else (chosen,)
    if not all(isinstance(item, OrderItem) for item in items):
        expected = "it gives any number of OrderItem. It is called without await"
        raise HostFunctionError.about(role="strategy", function=strategy, answer=chosen, expected=expected)
    left = dict(wanted)
    for item in items:
        shelf = there.get(item.store_id, {})
        if item.quantity > min(left.get(item.product_id, 0), shelf.get(item.product_id, 0)):
            msg = f"the strategy took {item.quantity} of {item.product_id} from {item.store_id}, more than is wanted or available there"
            raise ValueError(msg)
        left[item.product_id] -= item.quantity
        shelf[item.product_id] -= item.quantity
    return Allocation(items, {product: units for product, units in left.items() if units})


def fewest_stores(demand: Demand, available: Availability) -> list[OrderItem]:
    """Take everything from as few stores as possible; of equally few, from those that come first.

    Where the stores together have too few units, take all that they have of each product wanted.
    """
    wanted = {product: min(units, sum(shelf.get(product, 0) for shelf in available.values())) for product, units in demand.items()}
    useful = [store for store, shelf in available.items() if any(shelf.get(product, 0) and units for product, units in wanted.items())]
    return list(_take(wanted, available, _choose(wanted, available, useful)))


def in_order(demand: Demand, available: Availability) -> list[OrderItem]:
    """Take from each store what it has, in the order of the stores, however many parcels that makes."""
    return list(_take(demand, available, available))


def _choose(wanted: Demand, available: Availability, stores: list[str]) -> Iterable[str]:
    for size in range(len(stores)):
        if comb(len(stores), size) > MOST_TRIED:
            return _greedy(wanted, available, stores)
        for chosen in combinations(stores, size):
            if all(sum(available[store].get(product, 0) for store in chosen) >= units for product, units in wanted.items()):
                return chosen
    return stores


def _greedy(wanted: Demand, available: Availability, stores: list[str]) -> list[str]:
    left, chosen = dict(wanted), list[str]()
    while any(left.values()):
        best = max(stores, key=lambda store: sum(min(units, available[store].get(product, 0)) for product, units in left.items()))
        chosen.append(best)
        stores = [store for store in stores if store != best]
        left = {product: max(0, units - available[best].get(product, 0)) for product, units in left.items()}
    return chosen


def _take(wanted: Demand, available: Availability, stores: Iterable[str]) -> Iterable[OrderItem]:
    left = dict(wanted)
    for store in stores:
        for product in wanted:
            units = min(left[product], available[store].get(product, 0))
            if units:
                left[product] -= units
                yield OrderItem(product, store, units)
