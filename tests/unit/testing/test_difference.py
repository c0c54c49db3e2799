"""The one comparison of records: the first field that differs is named, whatever the port."""

from datetime import timedelta

import attrs
import pytest

from inventory_es.ports import CacheEntry, Checkpoint, ProjectionId, RowsPage
from inventory_es.testing.contracts.core.difference import difference
from inventory_es.testing.contracts.core.event_labels import EventLabels, recorded, stream_id

EVENT = EventLabels().event("a")
RECORDED = recorded(stream_id("x"), 1, 7, EVENT)
EMPTY = RowsPage([], Checkpoint(position=3), is_end=True, active=ProjectionId("stock", 1))


@pytest.mark.parametrize(
    "before, after, named",
    [
        (RECORDED, RECORDED, None),
        (EVENT, RECORDED, None),
        (RECORDED, attrs.evolve(RECORDED, metadata=b"{}"), """metadata was b'{"number":1}' and is b'{}'"""),
        (RECORDED, attrs.evolve(RECORDED, schema_version=2), "schema_version was 1 and is 2"),
        (
            EVENT,
            attrs.evolve(RECORDED, recorded_at=EVENT.recorded_at + timedelta(microseconds=1)),
            "recorded_at was 2026-01-05T09:00:00.123457+00:00 and is 2026-01-05T09:00:00.123458+00:00",
        ),
        (CacheEntry(b"", 1), CacheEntry(b"", True), "version was 1 and is True (int, then bool)"),
        (CacheEntry(b"x" * 100, 1), CacheEntry(b"x" * 50 + b"y", 1), "value differs from place 50 on: was b'" + "x" * 20 + "' and is b'y'"),
        (
            RowsPage([{"p": "a", "n": 1}, {"p": "b", "n": 2}], Checkpoint(position=3), is_end=True, active=ProjectionId("stock", 1)),
            RowsPage([{"p": "a", "n": 1}, {"p": "b", "n": None}], Checkpoint(position=3), is_end=True, active=ProjectionId("stock", 1)),
            "rows[1]['n'] was 2 and is None (int, then NoneType)",
        ),
        (
            RowsPage([], Checkpoint(position=3), is_end=True, active=ProjectionId("stock", 1)),
            RowsPage([], Checkpoint(position=3, epoch=1), is_end=True, active=ProjectionId("stock", 1)),
            "checkpoint.epoch was 0 and is 1",
        ),
        ([1, 2], [1], "[1] was 2 and is missing"),
        ({"a": 1}, {"a": 1, "b": 2}, "['b'] was missing and is 2"),
        ((1, "a"), (1, "b"), "[1] was 'a' and is 'b'"),
        (3, 3, None),
        (3, 4, "it was 3 and is 4"),
    ],
)
def test_the_first_field_that_differs_is_named(before: object, after: object, named: str | None) -> None:
    assert difference(before, after) == named
