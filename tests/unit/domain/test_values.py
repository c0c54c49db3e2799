"""Quantities and identifiers: what is refused, and that nothing is clamped or changed silently."""

import operator
import pickle
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inventory_es.domain.commands import MAX_TTL, check_ttl
from inventory_es.domain.errors import InvalidIdentifierError, InvalidQuantityError, InvalidTtlError, QuantityOverflowError
from inventory_es.domain.identifiers import MAX_REFERENCE_LENGTH, InventoryId, ReservationRef, identifier, inventory_id, reference
from inventory_es.domain.quantity import MAX_QUANTITY, StockQuantity, whole_units
from inventory_es.testing.domain.strategies import identifiers, quantities, references, reservation_refs

ANY_UNITS = quantities(0)
NOT_A_TEXT: Any = 3


@given(ANY_UNITS, ANY_UNITS)
def test_quantities_are_their_counts(a: int, b: int) -> None:
    one, other = StockQuantity(a), StockQuantity(b)
    assert (one < other, one <= other, one > other, one >= other) == (a < b, a <= b, a > b, a >= b)
    assert (one == other, one != other) == (a == b, a != b)
    assert (hash(one) == hash(StockQuantity(a)), bool(one)) == (True, a > 0)
    assert (int(one), str(one), [0, 1][one > other]) == (a, str(a), int(a > b))
    assert pickle.loads(pickle.dumps(one)) == one
    if a + b <= MAX_QUANTITY:
        assert (one + other, (one + other) - other) == (StockQuantity(a + b), one)
    else:
        with pytest.raises(QuantityOverflowError):
            one + other
    if a < b:
        with pytest.raises(InvalidQuantityError, match=f"^difference {a} - {b} is below 0$"):
            one - other


def test_a_quantity_of_a_quantity_is_the_same() -> None:
    assert type(StockQuantity(StockQuantity(3)).units) is int
    assert range(5)[StockQuantity(3)] == 3


@pytest.mark.parametrize("value", [True, False, 1.0, "1", None, b"1", 1 + 0j, [1]], ids=repr)
def test_only_whole_numbers_are_quantities(value: Any) -> None:
    with pytest.raises(InvalidQuantityError) as refused:
        StockQuantity(value)
    assert str(refused.value) == f"quantity must be a whole number of units, not a {type(value).__name__}"


def test_bounds_of_a_quantity() -> None:
    assert int(StockQuantity(MAX_QUANTITY)) == 2**53 - 1
    assert int(StockQuantity(0)) == 0
    with pytest.raises(QuantityOverflowError) as above:
        StockQuantity(MAX_QUANTITY + 1)
    assert (above.value.name, above.value.limit) == ("quantity", 2**53 - 1)
    with pytest.raises(InvalidQuantityError, match="quantity must be 0 or more, not -1"):
        StockQuantity(-1)
    with pytest.raises(ValueError, match="limit must be 1 or more, not 0"):
        whole_units("limit", 0)
    assert whole_units("limit", StockQuantity(1)) == 1
    assert whole_units("limit", StockQuantity(MAX_QUANTITY)) == MAX_QUANTITY


@pytest.mark.parametrize("other", [1, 1.0, "1", None], ids=repr)
def test_quantities_mix_with_nothing_else(other: Any) -> None:
    one = StockQuantity(1)
    assert one != other
    for mix in (operator.add, operator.sub, operator.lt, operator.le):
        with pytest.raises(TypeError):
            mix(one, other)


@given(identifiers())
def test_identifiers_are_kept_as_they_are(text: str) -> None:
    assert identifier("product_id", text) == text
    assert InventoryId(text, "s").product_id == text


def test_a_uuid_is_kept_as_its_canonical_text() -> None:
    text = "0f8fad5b-d9cb-469f-a165-70867728950e"
    assert InventoryId(UUID(text.upper()), "s") == InventoryId(text, "s")
    assert InventoryId(text.upper(), "s") != InventoryId(text, "s")
    assert ReservationRef(UUID(text), UUID(text), UUID(text)).reservation_id == text


WRONG = ["", "x" * 129, "a\nb", "\x00", "\x1f", "\x7f", "\x80", "\x9f", "a\ud800", "\udfff", 3, None, b"x"]


@pytest.mark.parametrize("value", WRONG, ids=ascii)
def test_what_is_no_identifier(value: Any) -> None:
    for make in (lambda: InventoryId(value, "s"), lambda: InventoryId("p", value), lambda: ReservationRef("p", "s", value)):
        with pytest.raises(InvalidIdentifierError, match="_id must") as refused:
            make()
        assert isinstance(refused.value, ValueError)
        assert not isinstance(value, str) or not value or value not in str(refused.value)


@pytest.mark.parametrize("text", ["x", "x" * 128, "\xa0", "\u2028", "\U0001f4e6", " ", "\ue000", "\u200b"], ids=ascii)
def test_what_is_an_identifier_all_the_same(text: str) -> None:
    assert identifier("product_id", text) == text


@pytest.mark.parametrize("value", [[], {}, 3, None], ids=repr)
def test_what_is_no_identifier_is_asked_for_no_second_time(value: Any) -> None:
    for product_id, store_id in ((value, "s"), ("p", value), (value, value)):
        with pytest.raises(InvalidIdentifierError, match="_id must be a text or a uuid"):
            inventory_id(product_id, store_id)


@pytest.mark.parametrize("name", ["product_id", "store_id", "reservation_id"])
def test_an_address_says_which_part_is_wrong(name: str) -> None:
    parts = {"product_id": "p", "store_id": "s", "reservation_id": "r", name: ""}
    with pytest.raises(InvalidIdentifierError) as refused:
        ReservationRef(**parts)
    assert refused.value.name == name


MESSAGES: list[tuple[Callable[[], object], str]] = [
    (lambda: identifier("owner_id", 3), "owner_id must be a text or a uuid.UUID, not a int"),
    (lambda: identifier("owner_id", ""), "owner_id must have 1 to 128 characters, not 0"),
    (lambda: identifier("owner_id", "\n"), "owner_id must not have control characters or lone surrogates"),
    (lambda: reference(NOT_A_TEXT), "reference must be a text or None, not a int"),
    (lambda: reference("x" * 513), "reference must have 1 to 512 characters, not 513"),
    (lambda: ReservationRef.parse("a/b"), "reservation reference must be what str(reservation.ref) gave"),
]


@pytest.mark.parametrize("call, message", MESSAGES, ids=range(len(MESSAGES)))
def test_messages_name_the_field_and_the_rule(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InvalidIdentifierError) as refused:
        call()
    assert str(refused.value) == message


@given(references())
def test_references_are_kept_as_they_are(text: str | None) -> None:
    assert reference(text) == text


def test_the_longest_reference() -> None:
    assert reference("x" * MAX_REFERENCE_LENGTH) == "x" * 512


@given(reservation_refs())
def test_an_address_survives_its_text(ref: ReservationRef) -> None:
    assert ReservationRef.parse(str(ref)) == ref
    assert str(ref).isascii()
    assert str(ref).count("/") == 2
    assert ref.inventory_id == InventoryId(ref.product_id, ref.store_id)
    assert pickle.loads(pickle.dumps(ref)) == ref


@pytest.mark.parametrize("text", ["", "a", "a/b", "a/b/c/d", "a/b/", "//", "a/b/%00", "a/b/%ff", "a/b/\ud800", None, 3])
def test_what_is_no_address(text: Any) -> None:
    with pytest.raises(InvalidIdentifierError):
        ReservationRef.parse(text)


def test_an_inventory_is_a_value() -> None:
    one = InventoryId("a-b", "c")
    assert pickle.loads(pickle.dumps(one)) == one
    assert str(one) == "inventory-a%2db-c"
    assert {one: 1}[InventoryId("a-b", "c")] == 1
    assert one != "inventory-a%2db-c"
    assert InventoryId("a", "b-c") != one
    with pytest.raises(AttributeError):
        one.product_id = "x"  # type: ignore[misc]  # frozen is what is tested


@given(st.text(max_size=3), st.text(max_size=3))
def test_no_two_addresses_share_a_text(a: str, b: str) -> None:
    try:
        one, other = ReservationRef(a, "s", b), ReservationRef(b, "s", a)
    except InvalidIdentifierError:
        return
    assert (str(one) == str(other)) is (a == b)


def test_an_inventory_asked_for_again_is_the_same_object() -> None:
    product = UUID(int=7)
    assert inventory_id("espresso", "berlin") is inventory_id("espresso", "berlin") == InventoryId("espresso", "berlin")
    assert inventory_id(product, "berlin") == inventory_id(str(product), "berlin") == InventoryId(product, "berlin")


def test_a_subclass_of_timedelta_is_a_time_to_live_within_the_same_bounds() -> None:
    class Hold(timedelta):
        pass

    assert check_ttl(Hold(minutes=15)) == timedelta(minutes=15)
    for seconds in (0, MAX_TTL.total_seconds() + 1):
        with pytest.raises(InvalidTtlError):
            check_ttl(Hold(seconds=seconds))
