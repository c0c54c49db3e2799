"""Stream ids: the table of the domain's law, frozen; and no two streams with one text."""

import pickle
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from inventory_es.domain.identifiers import InventoryId
from inventory_es.domain.stream_id import MAX_PARTS, StreamId
from inventory_es.testing.domain.strategies import NASTY_IDENTIFIERS, identifiers, inventory_ids, stream_ids

UUID_TEXT = "0f8fad5b-d9cb-469f-a165-70867728950e"
PIECES = tuple(UUID_TEXT.split("-"))

FROZEN = {
    ("85123A", "berlin"): "inventory-85123A-berlin",
    ("a-b", "c"): "inventory-a%2db-c",
    ("a", "b-c"): "inventory-a-b%2dc",
    ("a%2db", "c"): "inventory-a%252db-c",
    ("é", "../x"): "inventory-é-../x",
    (UUID_TEXT, "s1"): f"inventory-{UUID_TEXT}-s1",
    ("s1", UUID_TEXT): f"inventory-s1-{UUID_TEXT}",
    (UUID_TEXT.upper(), "s1"): "inventory-0F8FAD5B%2dD9CB%2d469F%2dA165%2d70867728950E-s1",
    (f"{UUID_TEXT}0", "s1"): "inventory-0f8fad5b%2dd9cb%2d469f%2da165%2d70867728950e0-s1",
    (f"x{UUID_TEXT}", "s1"): "inventory-x0f8fad5b%2dd9cb%2d469f%2da165%2d70867728950e-s1",
    ("%", "-"): "inventory-%25-%2d",
    ("a\u2028b", "İ"): "inventory-a\u2028b-İ",
}


@pytest.mark.parametrize("parts, text", FROZEN.items())
def test_text_is_frozen(parts: tuple[str, str], text: str) -> None:
    stream = InventoryId(*parts).stream
    assert str(stream) == text
    assert StreamId.parse(text) == stream
    assert InventoryId.from_stream(StreamId.parse(text)) == InventoryId(*parts)


FROZEN_STREAMS = {
    ("tab\there", "\x00\x7f\x85\x9f\xa0"): "s-tab%09here-%00%7f%c2%85%c2%9f\xa0",
    PIECES: "s-%30f8fad5b-d9cb-469f-a165-70867728950e",
    ("x", *PIECES, "y"): "s-x-%30f8fad5b-d9cb-469f-a165-70867728950e-y",
    (*PIECES, *PIECES): "s-%30f8fad5b-d9cb-469f-a165-70867728950e-%30f8fad5b-d9cb-469f-a165-70867728950e",
    (UUID_TEXT, *PIECES): f"s-{UUID_TEXT}-%30f8fad5b-d9cb-469f-a165-70867728950e",
    (PIECES[0], UUID_TEXT): f"s-0f8fad5b-{UUID_TEXT}",
    PIECES[:4]: "s-0f8fad5b-d9cb-469f-a165",
}


@pytest.mark.parametrize("parts, text", FROZEN_STREAMS.items())
def test_text_of_other_streams_is_frozen(parts: tuple[str, ...], text: str) -> None:
    assert str(StreamId("s", *parts)) == text
    assert StreamId.parse(text).parts == parts


uuid_like = st.lists(
    st.one_of(*[st.text("0123456789abcdef", min_size=n, max_size=n) for n in (8, 4, 12)], st.just(UUID_TEXT), st.just("%30f8fad5b")),
    min_size=1,
    max_size=MAX_PARTS,
).map(lambda parts: StreamId("s", *parts))


@given(st.one_of(stream_ids(), uuid_like))
def test_round_trip(stream: StreamId) -> None:
    read = StreamId.parse(str(stream))
    assert read == stream
    assert (read.category, read.parts) == (stream.category, stream.parts)
    assert hash(read) == hash(stream)
    assert pickle.loads(pickle.dumps(stream)) == stream


@given(st.one_of(stream_ids(), uuid_like), st.one_of(stream_ids(), uuid_like))
@example(StreamId("s", *PIECES), StreamId("s", UUID_TEXT))
@example(StreamId("s", "%30f8fad5b", *PIECES[1:]), StreamId("s", *PIECES))
def test_different_streams_have_different_texts(one: StreamId, other: StreamId) -> None:
    is_same = (one.category, one.parts) == (other.category, other.parts)
    assert (str(one) == str(other)) is is_same
    assert (one == other) is is_same
    assert (one < other) is (str(one) < str(other))


@given(identifiers(), identifiers(), identifiers())
def test_moving_a_dash_between_parts_makes_another_stream(a: str, b: str, c: str) -> None:
    assume(len(a) + len(b) < 128)
    assume(len(b) + len(c) < 128)
    assert str(StreamId("s", f"{a}-{b}", c)) != str(StreamId("s", a, f"{b}-{c}"))


def test_every_pair_of_nasty_ids_is_a_stream_of_its_own() -> None:
    texts = {str(InventoryId(product, store).stream) for product in NASTY_IDENTIFIERS for store in NASTY_IDENTIFIERS}
    assert len(texts) == len(NASTY_IDENTIFIERS) ** 2


@given(inventory_ids(), inventory_ids())
def test_inventories_are_equal_by_their_parts(one: InventoryId, other: InventoryId) -> None:
    is_same = (one.product_id, one.store_id) == (other.product_id, other.store_id)
    assert (one == other) is is_same
    assert (one.stream == other.stream) is is_same
    assert hash(one) == hash(InventoryId(one.product_id, one.store_id))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s",
        "s-",
        "S-a",
        "-a",
        "s-a-",
        "s-%2D",
        "s-%41",
        "s-%zz",
        "s-%",
        "s-%ff",
        "s-a\x00",
        "s-\ud800",
        f"s-%30f8fad5b-{PIECES[1]}",
        "1-a",
    ],
)
def test_what_no_stream_writes_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"stream id|category|codec"):
        StreamId.parse(text)


@pytest.mark.parametrize("category", ["", "A", "1a", "_a", "a-b", "a b", "é", "a" * 65, "a\n", None, b"a"])
def test_category_is_plain(category: str) -> None:
    with pytest.raises(ValueError, match="category"):
        StreamId(category, "a")


@pytest.mark.parametrize("category", ["a", "a" * 64, "a_1", "inventory"])
def test_category_may_have_these(category: str) -> None:
    assert StreamId.parse(str(StreamId(category, "x"))).category == category


COUNT, LENGTH = "a stream id has 1 to 16 parts after its category, not", "a part of a stream id is a text of 1 to 128 characters"
SURROGATE = "a part of a stream id has a lone surrogate, which no encoding can carry"
WRONG_PARTS: list[tuple[tuple[Any, ...], str]] = [
    ((), f"{COUNT} 0"),
    (("a",) * 17, f"{COUNT} 17"),
    (("",), LENGTH),
    (("x" * 129,), LENGTH),
    ((3,), LENGTH),
    ((None,), LENGTH),
    (("a", b"b"), LENGTH),
    (("\ud800",), SURROGATE),
    (("a", "é\udfff"), SURROGATE),
]


@pytest.mark.parametrize("parts, problem", WRONG_PARTS, ids=range(len(WRONG_PARTS)))
def test_parts_are_texts_of_1_to_128_characters(parts: tuple[Any, ...], problem: str) -> None:
    with pytest.raises(ValueError, match=f"^{problem}$"):
        StreamId("s", *parts)


def test_the_longest_parts_are_legal() -> None:
    stream = StreamId("s", *("\U0001f4e6" * 128,) * MAX_PARTS)
    assert StreamId.parse(str(stream)) == stream


def test_it_shows_how_to_make_it() -> None:
    assert repr(StreamId("s", "a-b")) == "StreamId.parse('s-a%2db')"
    assert StreamId("s", "a") != "s-a"


@pytest.mark.parametrize("stream", [StreamId("other", "a", "b"), StreamId("inventory", "a"), StreamId("inventory", "a", "b", "c")])
def test_not_every_stream_is_an_inventory(stream: StreamId) -> None:
    with pytest.raises(ValueError, match="is not the stream of an inventory"):
        InventoryId.from_stream(stream)
