"""The synchronous service can't drift from the asynchronous one."""

import collections.abc
import inspect
import typing

import pytest

import inventory_es
import inventory_es.application.followers
import inventory_es.application.queries.stock_queries
import inventory_es.processes
import inventory_es.sync
import inventory_es.sync.followers
import inventory_es.sync.processes
import inventory_es.sync.queries
from inventory_es import InventoryService
from inventory_es.sync import InventoryService as SyncInventoryService

OPENING_AND_CLOSING = {"aclose", "close", "read_model", "store", "store_capabilities"}
FOR_A_RUNNER = {"look", "name", "touch", "watched"}
PARTS = {"queries", "followers"}
TWINS = [
    (InventoryService, SyncInventoryService),
    (inventory_es.application.queries.stock_queries.StockQueries, inventory_es.sync.queries.StockQueries),
    (inventory_es.application.followers.Followers, inventory_es.sync.followers.Followers),
    (inventory_es.processes.Orders, inventory_es.sync.processes.Orders),
    (inventory_es.processes.Transfers, inventory_es.sync.processes.Transfers),
]


def public_methods(kind: type) -> dict[str, object]:
    return {
        name: member for name, member in vars(kind).items() if not name.startswith("_") and name not in OPENING_AND_CLOSING | FOR_A_RUNNER
    }


def plain_parameters(method: object) -> list[tuple[str, object, object, object]]:
    assert callable(method)
    hints = typing.get_type_hints(method)
    return [(one.name, one.kind, one.default, hints.get(one.name)) for one in inspect.signature(method).parameters.values()]


def what_it_gives(method: object) -> object:
    returned = typing.get_type_hints(method)["return"]
    if typing.get_origin(returned) is collections.abc.AsyncIterator:
        return collections.abc.Iterator[typing.get_args(returned)]  # type: ignore[misc]  # made at run time
    return returned


@pytest.mark.parametrize("theirs, ours", TWINS, ids=lambda kind: kind.__module__)
def test_every_method_has_its_twin(theirs: type, ours: type) -> None:
    assert public_methods(theirs).keys() == public_methods(ours).keys()


@pytest.mark.parametrize(
    "theirs, ours, name",
    [(theirs, ours, name) for theirs, ours in TWINS for name in sorted(public_methods(theirs).keys() - PARTS)],
    ids=lambda part: part if isinstance(part, str) else part.__module__,
)
def test_twins_take_and_give_the_same(theirs: type, ours: type, name: str) -> None:
    check_twins(getattr(theirs, name), getattr(ours, name))


def check_twins(theirs: object, ours: object) -> None:
    assert plain_parameters(ours) == plain_parameters(theirs)
    assert what_it_gives(ours) == what_it_gives(theirs)
    assert not inspect.iscoroutinefunction(ours)


def test_both_are_opened_alike() -> None:
    (_, *ours), (_, *theirs) = plain_parameters(inventory_es.sync.open_inventory), plain_parameters(inventory_es.open_inventory)
    assert ours == theirs, "but for the store, which may be a synchronous one"
