"""One class declares the table of a projection, its changes and its rows."""

from datetime import UTC, datetime
from enum import StrEnum

import attrs
import pytest

from inventory_es.application.projections.rows import AsOf, RowTable
from inventory_es.errors import CorruptStoreError
from inventory_es.ports import Add, Delete, Patch, Put, Table
from inventory_es.ports.read_model import Value, to_text


class Size(StrEnum):
    SMALL = "SMALL"


@attrs.frozen(kw_only=True)
class Box(AsOf):
    size: Size = attrs.field(converter=Size)
    units: int | None
    packed_at: datetime | None


BOXES = RowTable("boxes", Box, key=("product_id", "store_id", "version"), indexes=(("size",),))
AT = datetime(2026, 1, 5, 9, tzinfo=UTC)
ROW: dict[str, Value] = {
    "product_id": "tea",
    "store_id": "berlin",
    "version": 1,
    "size": "SMALL",
    "units": None,
    "packed_at": None,
    "position": 7,
}


def test_columns_are_those_of_the_key_then_of_the_class_then_of_its_bases() -> None:
    text, number = dict.fromkeys(("product_id", "store_id"), str), {"version": int}
    columns = text | number | {"size": str, "units": int, "packed_at": str, "position": int, "recorded_at": str}
    assert BOXES.shape == Table("boxes", columns, ("product_id", "store_id", "version"), (("size",),))
    assert list(BOXES.shape.columns) == list(columns)


def test_changes_name_the_table() -> None:
    key = ("tea", "berlin", 1)
    assert BOXES.put(ROW) == Put("boxes", ROW)
    assert BOXES.patch(key, {"units": 1}) == Patch("boxes", key, {"units": 1})
    assert BOXES.add(key, {"units": 1}, {"position": 8}) == Add("boxes", key, {"units": 1}, {"position": 8})
    assert BOXES.delete(key) == Delete("boxes", key)


def test_rows_are_read_as_objects_with_their_instants() -> None:
    (box,) = BOXES.read([ROW | {"recorded_at": to_text(AT)}])
    assert box == Box(
        product_id="tea", store_id="berlin", version=1, size=Size.SMALL, units=None, packed_at=None, position=7, recorded_at=AT
    )
    with pytest.raises(CorruptStoreError):
        BOXES.read([ROW | {"recorded_at": "yesterday"}])
