"""Plans: from one store where one has all of it, from the fewest else, never more than is there or wanted."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inventory_es.domain.processes import allocation
from inventory_es.errors import InvalidIdentifierError, InvalidQuantityError, RejectionError
from inventory_es.processes import Allocation, OrderItem, allocate, fewest_stores, in_order

PRODUCTS = ("a", "b", "c")
demands = st.dictionaries(st.sampled_from(PRODUCTS), st.integers(1, 9), min_size=1)
shelves = st.dictionaries(st.sampled_from(PRODUCTS), st.integers(0, 9))
stocks = st.dictionaries(st.sampled_from(["s1", "s2", "s3", "s4", "s5"]), shelves)


def test_one_store_with_all_of_it_beats_two_that_come_first() -> None:
    plan = allocate({"a": 2, "b": 1}, {"near": {"a": 9}, "next": {"b": 9}, "far": {"a": 2, "b": 1}})
    assert plan == Allocation((OrderItem("a", "far", 2), OrderItem("b", "far", 1)), {})
    assert plan.is_complete
    assert plan.stores == ("far",)


def test_of_equally_few_stores_those_that_come_first() -> None:
    plan = allocate({"a": 4}, {"s1": {"a": 1}, "s2": {"a": 2}, "s3": {"a": 3}, "s4": {"a": 3}})
    assert plan.items == (OrderItem("a", "s1", 1), OrderItem("a", "s3", 3))


def test_what_lacks_is_told_and_the_rest_is_planned() -> None:
    plan = allocate({"a": 5, "b": 1}, {"s1": {"a": 1}, "s2": {"a": 2}})
    assert plan == Allocation((OrderItem("a", "s1", 1), OrderItem("a", "s2", 2)), {"a": 2, "b": 1})
    assert not plan.is_complete
    assert allocate({"a": 1}, {}) == Allocation((), {"a": 1})


def test_in_order_empties_the_first_store_first() -> None:
    available = {"near": {"a": 2}, "far": {"a": 9, "b": 9}}
    assert allocate({"a": 3, "b": 1}, available, strategy=in_order).items == (
        OrderItem("a", "near", 2),
        OrderItem("a", "far", 1),
        OrderItem("b", "far", 1),
    )


@given(demand=demands, available=stocks)
def test_a_plan_is_as_full_as_it_can_be_and_no_fuller(demand: dict[str, int], available: dict[str, dict[str, int]]) -> None:
    for strategy in (fewest_stores, in_order):
        plan = allocate(demand, available, strategy=strategy)
        for product, units in demand.items():
            there = sum(shelf.get(product, 0) for shelf in available.values())
            planned = sum(item.quantity for item in plan.items if item.product_id == product)
            assert planned == min(units, there)
            assert plan.shortages.get(product, 0) == units - planned
        assert len({(item.product_id, item.store_id) for item in plan.items}) == len(plan.items)


@given(demand=demands, available=stocks)
def test_no_fewer_stores_would_do(demand: dict[str, int], available: dict[str, dict[str, int]]) -> None:
    plan = allocate(demand, available)
    had = {product: units - plan.shortages.get(product, 0) for product, units in demand.items()}
    for fewer in combinations(available, max(0, len(plan.stores) - 1)):
        if len(fewer) < len(plan.stores):
            assert any(sum(available[store].get(product, 0) for store in fewer) < units for product, units in had.items())


@given(demand=demands, available=stocks)
def test_with_too_many_stores_to_try_them_all_the_plan_is_as_full(demand: dict[str, int], available: dict[str, dict[str, int]]) -> None:
    exact = allocate(demand, available)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(allocation, "MOST_TRIED", 0)
        quick = allocate(demand, available)
    assert quick.shortages == exact.shortages
    assert len(quick.stores) >= len(exact.stores)


def test_with_too_many_stores_the_one_that_has_most_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocation, "MOST_TRIED", 0)
    plan = allocate({"a": 1, "b": 1, "c": 1}, {"s1": {"a": 1}, "s2": {"a": 1, "b": 1}, "s3": {"c": 1}})
    assert plan.stores == ("s2", "s3")
    assert plan.is_complete


def test_many_stores_are_planned_at_once() -> None:
    available = {f"s{number}": {"a": 1 + number % 3, "b": number % 2} for number in range(500)}
    plan = allocate({"a": 600, "b": 100}, available)
    assert plan.is_complete
    assert len(plan.stores) <= 250


@pytest.mark.parametrize(
    "demand, available, error, name",
    [
        ({}, {}, InvalidQuantityError, "demand"),
        ({"a": 0}, {}, InvalidQuantityError, "demand"),
        ({"": 1}, {}, InvalidIdentifierError, "product_id"),
        ({"a": 1}, {"s": {"": 1}}, InvalidIdentifierError, "product_id"),
        ({"a": 1}, {"s": {"a": -1}}, InvalidQuantityError, "available"),
        ({"a": 1}, {"": {"a": 1}}, InvalidIdentifierError, "store_id"),
        ({"a": 1}, {"s": {"a": 1.0}}, InvalidQuantityError, "available"),
    ],
    ids=["nothing", "none of it", "no product", "no product there", "less than none", "no store", "no whole number"],
)
def test_nonsense_is_refused_by_name(
    demand: dict[str, int],
    available: dict[str, dict[str, int]],
    error: type[RejectionError],
    name: str,
) -> None:
    with pytest.raises(error) as refused:
        allocate(demand, available)
    assert refused.value.facts()["name"] == name


@pytest.mark.parametrize(
    "items", [[("a", "s", 3)], [("a", "s", 2), ("a", "s", 1)], [("a", "u", 1), ("a", "u", 1)], [("b", "s", 1)], [("a", "t", 1)]], ids=str
)
def test_a_strategy_that_takes_what_is_not_there_or_not_wanted_is_refused(items: list[tuple[str, str, int]]) -> None:
    with pytest.raises(ValueError, match="the strategy took"):
        allocate(
            {"a": 2}, {"s": {"a": 2, "b": 1}, "u": {"a": 1}}, strategy=lambda _demand, _available: [OrderItem(*item) for item in items]
        )
