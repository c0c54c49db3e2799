"""The registry is closed, explicit, and checked when it is made."""

from collections.abc import Mapping
from typing import Any

import attrs
import pytest

from inventory_es.adapters.serialization import EventKind, EventRegistry, Upcaster, default_registry
from inventory_es.domain.events import EVENT_TYPES, StockAddedEvent
from inventory_es.domain.processes.event_types import PROCESS_EVENT_TYPES


@attrs.frozen
class Packed:
    parcel_id: str


@attrs.frozen
class PackedBefore:
    parcel: str


class NoAttrs:
    pass


def same(payload: dict[str, Any]) -> dict[str, Any]:
    return payload


def test_it_knows_the_events_of_inventories_and_processes() -> None:
    assert [(kind.cls, kind.event_type, kind.schema_version) for kind in default_registry().kinds] == [
        (cls, cls.__name__, 1) for cls in (*EVENT_TYPES, *PROCESS_EVENT_TYPES)
    ]


def test_a_larger_one_leaves_the_smaller_as_it_was() -> None:
    small = default_registry()
    large = small.with_event(Packed, name="Packed", schema_version=1)
    assert large.versions_of("Packed") == {1}
    assert small.versions_of("Packed") == frozenset()


def test_upcasters_make_older_versions_readable() -> None:
    registry = EventRegistry().with_event(Packed, name="Packed", schema_version=4, upcasters={2: same, 3: same})
    assert registry.versions_of("Packed") == {2, 3, 4}


@pytest.mark.parametrize("older_first", [True, False])
def test_two_classes_may_share_a_name_at_versions_that_follow_each_other(older_first: bool) -> None:
    kinds: list[tuple[type[Any], int]] = [(PackedBefore, 1), (Packed, 2)]
    registry = EventRegistry()
    for cls, version in kinds if older_first else reversed(kinds):
        registry = registry.with_event(cls, name="Packed", schema_version=version)
    assert registry.versions_of("Packed") == {1, 2}


@pytest.mark.parametrize(
    "version, upcasters, problem",
    [
        (3, {1: same}, "step by step"),
        (4, {1: same, 3: same}, "step by step"),
        (2, {2: same}, "step by step"),
        (2, {0: same, 1: same}, "step by step"),
        (1, {0: same}, "step by step"),
    ],
)
def test_a_chain_with_a_gap_is_refused(version: int, upcasters: Mapping[int, Upcaster], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        EventRegistry().with_event(Packed, name="Packed", schema_version=version, upcasters=upcasters)


@pytest.mark.parametrize(
    "version, upcasters, problem",
    [
        (2, {}, "version 2 is registered already"),
        (3, {1: same, 2: same}, "version 2 is registered already"),
        (4, {}, "gap"),
        (5, {4: same}, "gap"),
    ],
)
def test_a_version_is_known_once_and_without_a_gap(version: int, upcasters: Mapping[int, Upcaster], problem: str) -> None:
    known = EventRegistry().with_event(PackedBefore, name="Packed", schema_version=2)
    with pytest.raises(ValueError, match=problem):
        known.with_event(Packed, name="Packed", schema_version=version, upcasters=upcasters)


def test_a_class_has_one_name() -> None:
    with pytest.raises(ValueError, match="which is Packed already"):
        EventRegistry().with_event(Packed, name="Packed", schema_version=1).with_event(Packed, name="Wrapped", schema_version=1)


@pytest.mark.parametrize("name", ["", "x" * 129, "Grüße", "tab\t", None, 7])
def test_a_name_is_an_explicit_printable_text(name: Any) -> None:
    with pytest.raises(ValueError, match="1 to 128 printable ASCII"):
        EventRegistry().with_event(Packed, name=name, schema_version=1)


@pytest.mark.parametrize("name", ["P", "x" * 128, "parcel packed/1"])
def test_any_other_name_will_do(name: str) -> None:
    assert EventRegistry().with_event(Packed, name=name, schema_version=1).versions_of(name) == {1}


@pytest.mark.parametrize("version", [0, -1, True, 1.0, "1", None])
def test_a_schema_version_counts_from_one(version: Any) -> None:
    with pytest.raises(ValueError, match="schema version of 1 or more"):
        EventRegistry().with_event(Packed, name="Packed", schema_version=version)


@pytest.mark.parametrize("cls", [NoAttrs, dict, int])
def test_a_class_is_an_attrs_class(cls: type[Any]) -> None:
    with pytest.raises(ValueError, match="attrs class"):
        EventRegistry().with_event(cls, name="Packed", schema_version=1)


@pytest.mark.parametrize("cls, name", [(Packed, "StockAddedEvent"), (StockAddedEvent, "Packed")])
def test_the_events_of_an_inventory_keep_their_names(cls: type[Any], name: str) -> None:
    with pytest.raises(ValueError, match="keep their names"):
        EventRegistry().with_event(cls, name=name, schema_version=1)


def test_one_made_by_hand_is_checked_too() -> None:
    kind = EventKind(Packed, "Packed", 1, {})
    with pytest.raises(ValueError, match="Packed already"):
        EventRegistry((kind, kind))
