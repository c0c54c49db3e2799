"""P33: rows built in any pieces equal rows built in one go, and an independent reading of the events."""

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import Any
from uuid import UUID

import anyio
import attrs
from hypothesis import given
from hypothesis import strategies as st

from inventory_es.adapters.memory import MemoryReadModel
from inventory_es.adapters.serialization import JsonEventCodec
from inventory_es.application.following.projection import Projection
from inventory_es.application.following.subscription import Pace
from inventory_es.application.projections import daily_summary, ledger, low_stock, open_reservations, stock_levels, stock_totals
from inventory_es.domain.events import StockAddedEvent, StockAdjustedEvent, StockCommittedEvent, StockReleasedEvent, StockReservedEvent
from inventory_es.domain.identifiers import InventoryId
from inventory_es.domain.reasons import CommitReason
from inventory_es.ports import FeedPage, NewEvent, RecordedEvent
from inventory_es.testing import ManualClock
from inventory_es.testing.domain import histories
from tests.integration.read_side import rows_of, runner

SHIPPED = (stock_levels(), stock_totals(), open_reservations(), ledger(), daily_summary(), low_stock(lambda _: 5))
PLACES = tuple(InventoryId(product, store) for product, store in (("a", "x"), ("a", "y"), ("b", "x")))
CODEC = JsonEventCodec()


@attrs.frozen
class Feed:
    """A feed of the events up to a position."""

    events: Sequence[RecordedEvent]

    async def read_all(self, *, after: int, limit: int) -> FeedPage:
        page = self.events[after : after + limit]
        return FeedPage(page, after + len(page), is_end=after + len(page) == len(self.events))

    async def head(self) -> int:
        return len(self.events)

    async def wait_for_position(self, position: int, *, timeout: float) -> bool:
        raise NotImplementedError


@st.composite
def feeds(draw: st.DrawFn) -> list[RecordedEvent]:
    """Draw valid histories of a few inventories, interleaved."""
    streams = [list(draw(histories(inventory_id=place, max_steps=12))) for place in PLACES]
    turns = draw(st.permutations([number for number, stream in enumerate(streams) for _ in stream]))
    events: list[RecordedEvent] = []
    for number in turns:
        one = streams[number].pop(0)
        form = CODEC.encode(one.event)
        position = len(events) + 1
        new = NewEvent(UUID(int=position), form.event_type, form.schema_version, one.recorded_at, form.data)
        events.append(RecordedEvent(PLACES[number].stream, one.version, position, **attrs.asdict(new)))
    return events


async def built(projection: Projection, events: Sequence[RecordedEvent], pieces: Sequence[tuple[int, int]]) -> list[Any]:
    """Return the rows after a sequence of runners, each with its own end position and batch size."""
    model, clock = MemoryReadModel(), ManualClock()
    for end, size in (*pieces, (len(events), 1_000)):
        pace = Pace(batch_size=size)
        for _ in range(2):  # the second run is a no-op: an event counts once
            await runner(projection, Feed(events[:end]), model, clock, pace=pace).catch_up()
    return [await rows_of(model, projection, table.name) for table in projection.tables]


@given(feeds(), st.data())
def test_rows_built_in_any_pieces_equal_those_built_at_once(events: list[RecordedEvent], data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(events)), max_size=3)))
    pieces = [(cut, data.draw(st.integers(1, 7))) for cut in cuts]

    async def body() -> None:
        for projection in SHIPPED:
            assert await built(projection, events, pieces) == await built(projection, events, ())

    anyio.run(body)


@given(feeds())
def test_days_and_totals_are_what_an_own_reading_says(events: list[RecordedEvent]) -> None:
    async def body() -> None:
        ((days,), totals) = [await built(projection, events, ()) for projection in (daily_summary(), stock_totals())]
        assert days == _days(events)
        for (column, part), rows in zip((("product_id", 0), ("store_id", 1)), totals, strict=True):
            last = {event.stream.parts: CODEC.decode(event) for event in events}
            for row in rows:
                of_it = [balance for parts, balance in last.items() if parts[part] == row[column]]
                on_hand, reserved = sum(one.on_hand for one in of_it), sum(one.reserved for one in of_it)
                figures = (row["inventories"], row["on_hand"], row["reserved"], row["available"])
                assert figures == (len(of_it), on_hand, reserved, on_hand - reserved)
                assert row["position"] == max(event.position for event in events if event.stream.parts[part] == row[column])

    anyio.run(body)


def _days(events: Sequence[RecordedEvent]) -> list[dict[str, Any]]:
    """Count one row per inventory and day."""
    rows = []
    for (product, store, day), group in groupby(sorted(events, key=_by_day), key=lambda event: _by_day(event)[:3]):
        of_it = list(group)
        moved: Counter[str] = Counter(dict.fromkeys(("added", "sold", "withdrawn", "adjusted", "promised", "released"), 0))
        for event in map(CODEC.decode, of_it):
            match event:
                case StockAddedEvent():
                    moved["added"] += event.quantity
                case StockCommittedEvent(reason=CommitReason.SOLD):
                    moved["sold"] += event.quantity
                case StockCommittedEvent():
                    moved["withdrawn"] += event.quantity
                case StockAdjustedEvent():
                    moved["adjusted"] += event.delta
                case StockReservedEvent():
                    moved["promised"] += event.quantity
                case StockReleasedEvent():
                    moved["released"] += event.quantity
                case _:
                    pass
        last, end = of_it[-1], CODEC.decode(of_it[-1])
        row = {"product_id": product, "store_id": store, "day": day, **moved, "movements": len(of_it)}
        row |= {"on_hand": end.on_hand, "reserved": end.reserved, "version": last.version, "position": last.position}
        rows.append(row | {"recorded_at": last.recorded_at.isoformat(timespec="microseconds").replace("+00:00", "Z")})
    return rows


def _by_day(event: RecordedEvent) -> tuple[str, str, str, int]:
    product, store = event.stream.parts
    return product, store, event.recorded_at.date().isoformat(), event.position
