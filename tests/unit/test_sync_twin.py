"""The synchronous service can't drift from the asynchronous one."""

import collections.abc
import inspect
import typing

import pytest

import inventory_es
import inventory_es.sync
from inventory_es import InventoryService
from inventory_es.sync import InventoryService as SyncInventoryService

OPENING_AND_CLOSING = {"aclose", "close", "store", "store_capabilities"}


def public_methods(kind: type) -> dict[str, object]:
    return {name: member for name, member in vars(kind).items() if not name.startswith("_") and name not in OPENING_AND_CLOSING}


def plain_parameters(method: object) -> list[tuple[str, object, object, object]]:
    assert callable(method)
    hints = typing.get_type_hints(method)
    return [(one.name, one.kind, one.default, hints.get(one.name)) for one in inspect.signature(method).parameters.values()]


def what_it_gives(method: object) -> object:
    returned = typing.get_type_hints(method)["return"]
    if typing.get_origin(returned) is collections.abc.AsyncIterator:
        return collections.abc.Iterator[typing.get_args(returned)]  # type: ignore[misc]  # made at run time
    return returned


def test_every_method_has_its_twin() -> None:
    assert public_methods(InventoryService).keys() == public_methods(SyncInventoryService).keys()


@pytest.mark.parametrize("name", sorted(public_methods(InventoryService)))
def test_twins_take_and_give_the_same(name: str) -> None:
    ours, theirs = getattr(SyncInventoryService, name), getattr(InventoryService, name)
    assert plain_parameters(ours) == plain_parameters(theirs)
    assert what_it_gives(ours) == what_it_gives(theirs)
    assert not inspect.iscoroutinefunction(ours)


def test_both_are_opened_alike() -> None:
    assert plain_parameters(inventory_es.sync.open_inventory) == plain_parameters(inventory_es.open_inventory)
