import unicodedata

import pytest

from inventory_es.adapters.file.store.stream_files import file_name
from inventory_es.domain.stream_id import StreamId

TABLE = [
    (("85123A", "berlin"), "inventory-85123%41-berlin.jsonl"),
    (("a-b", "c"), "inventory-a%2db-c.jsonl"),
    (("a", "b-c"), "inventory-a-b%2dc.jsonl"),
    (("a%2db", "c"), "inventory-a%252db-c.jsonl"),
    (("é", "../x"), "inventory-%c3%a9-..%2fx.jsonl"),
    (("0f8fad5b-d9cb-469f-a165-70867728950e", "s1"), "inventory-0f8fad5b-d9cb-469f-a165-70867728950e-s1.jsonl"),
]
HOSTILE = [
    *("a", "A", "ä", unicodedata.normalize("NFD", "ä"), "..", ".", "/", "a/b", "con", "CON"),
    *("%", "%41", "a\x00", " ", "+", "a+", "ſ", "K", "🦊"),
]


@pytest.mark.parametrize("parts, name", TABLE)
def test_names_are_those_of_the_table(parts: tuple[str, str], name: str) -> None:
    assert file_name(StreamId("inventory", *parts)) == name


def test_hostile_streams_have_plain_and_distinct_names() -> None:
    streams = [StreamId("inventory", one, other) for one in HOSTILE for other in HOSTILE]
    names = {file_name(stream).casefold() for stream in streams}
    assert len(names) == len(streams)
    assert all(name.isascii() and "/" not in name and "\0" not in name for name in names)


def test_long_streams_have_short_and_distinct_names() -> None:
    streams = [StreamId("inventory", "é" * 128, "é" * 127 + end) for end in "abc"] + [StreamId("c", *["x" * 128] * 16)]
    names = {file_name(stream) for stream in streams}
    assert len(names) == len(streams)
    assert all(len(name) <= 255 and "+" in name and name.endswith(".jsonl") for name in names)


def test_the_longest_name_that_fits_is_not_cut() -> None:
    fits = StreamId("c", "x" * 128, "y" * 118)
    assert len(file_name(fits)) == 255
    assert "+" not in file_name(fits)
    assert "+" in file_name(StreamId("c", "x" * 128, "y" * 119))
