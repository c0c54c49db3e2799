"""The stored form of one cache entry: what is read back, and what is none."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from inventory_es.adapters.file.cache import _NAME, decode_entry, encode_entry, entry_name

T0 = datetime(2026, 1, 5, 9, tzinfo=UTC)
HERE = timezone(timedelta(hours=1))
GOOD: dict[str, Any] = {"key": "k", "value": b"v\nw", "version": 0, "since": T0, "until": T0 + timedelta(1)}


def test_an_entry_is_read_back() -> None:
    found = decode_entry(encode_entry(**GOOD), "k")
    assert found is not None
    header, value = found
    assert (header.key, value, header.version, header.since, header.until, header.size) == (*GOOD.values(), 3)


@pytest.mark.parametrize(
    "wrong", [{"key": "other"}, {"version": -1}, {"since": T0.astimezone(HERE)}, {"until": GOOD["until"].astimezone(HERE)}], ids=str
)
def test_one_with_a_good_checksum_that_no_cache_writes_is_none(wrong: dict[str, Any]) -> None:
    assert decode_entry(encode_entry(**(GOOD | wrong)), "k") is None


@pytest.mark.parametrize("change", [(b'"size":3', b'"size":2'), (b"v\nw", b"v\nx"), (b"w", b"wx")], ids=["size", "value", "more"])
def test_one_that_was_changed_is_none(change: tuple[bytes, bytes]) -> None:
    data = encode_entry(**GOOD)
    assert change[0] in data
    assert decode_entry(data.replace(*change), "k") is None


def test_a_name_is_an_entrys_by_its_form() -> None:
    name = entry_name("k")
    assert _NAME.fullmatch(name)
    for other in (name[1:], f"x{name}", "x.entry", name.replace(".entry", ".draft"), "draft"):
        assert not _NAME.fullmatch(other)
