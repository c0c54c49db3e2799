"""Projections, tables and columns have names that can stand in a statement; instants sort as texts."""

from datetime import UTC, datetime, timedelta

import pytest

from inventory_es.ports import ProjectionId, Table
from inventory_es.ports.errors import CorruptStoreError
from inventory_es.ports.read_model import from_text, to_text


def test_names_that_could_be_more_than_names_are_refused() -> None:
    for name in ("", "a b", "x;drop", "Upper", "ü", "a" * 65, "a__v1"):
        with pytest.raises(ValueError, match="identifier"):
            ProjectionId(name, 1)
        with pytest.raises(ValueError, match="identifier"):
            Table(name, {"a": int}, ("a",))
        with pytest.raises(ValueError, match="identifier"):
            Table("t", {"a": int, name: str}, ("a",))
    with pytest.raises(ValueError, match="version"):
        ProjectionId("a", 0)
    with pytest.raises(ValueError, match="unknown"):
        Table("t", {"a": int}, ("b",))
    with pytest.raises(ValueError, match="key"):
        Table("t", {"a": int}, ())


def test_instants_sort_as_their_texts_and_are_read_back() -> None:
    start = datetime(2026, 1, 5, 9, tzinfo=UTC)
    instants = [start + timedelta(microseconds=step) for step in (-1, 0, 1, 10, 500_000, 999_999, 1_000_000)]
    texts = [to_text(at) for at in instants]
    assert texts == sorted(texts)
    assert texts[1:3] == ["2026-01-05T09:00:00.000000Z", "2026-01-05T09:00:00.000001Z"]
    assert [from_text(text, column="at") for text in texts] == instants


@pytest.mark.parametrize(
    "value", [None, 7, "", "noon", "2026-01-05", "2026-01-05T09:00:00", "2026-01-05T0):00:00.000000Z", "2026-01-05T09:00:00+99:00"]
)
def test_a_column_without_an_instant_is_damage(value: str | int | None) -> None:
    with pytest.raises(CorruptStoreError, match="column since: what it holds is no instant"):
        from_text(value, column="since")
