"""A small shop day and what projections of it must say, computed apart from them."""

import json
from collections.abc import Sequence
from datetime import timedelta
from random import Random
from typing import Any

from inventory_es import open_inventory
from inventory_es.adapters.serialization import JsonEventCodec
from inventory_es.application.following.projection import Projection
from inventory_es.application.following.runner import ProjectionRunner
from inventory_es.application.following.subscription import Pace
from inventory_es.errors import RejectionError
from inventory_es.ports import EventFeed, EventStore, ReadModel, RecordedEvent, Row
from inventory_es.testing import ManualClock

CODEC = JsonEventCodec()
LEASE = timedelta(seconds=0.09)


async def trade(store: EventStore, clock: ManualClock, *, seed: int = 1, steps: int = 60) -> None:
    """Do business: deliveries, holds, sales, releases, counts, over three products in two stores."""
    chance = Random(seed)
    held = []
    async with open_inventory(store, clock=clock) as inventory:
        for _ in range(steps):
            clock.advance(timedelta(seconds=chance.randint(1, 90)))
            product, shop = f"p{chance.randint(0, 2)}", f"s{chance.randint(0, 1)}"
            try:
                match chance.randint(0, 5):
                    case 0 | 1:
                        await inventory.add_stock(product, shop, chance.randint(1, 20))
                    case 2 | 3:
                        held.append(
                            await inventory.reserve(product, shop, chance.randint(1, 5), ttl=timedelta(minutes=chance.randint(1, 90)))
                        )
                    case 4 if held:
                        await inventory.commit(held.pop(0))
                    case 5 if held:
                        await inventory.release(held.pop())
                    case _:
                        await inventory.adjust(product, shop, -1, reason="DAMAGE")
            except RejectionError:
                continue


def runner(projection: Projection, feed: object, model: ReadModel, clock: ManualClock, **settings: object) -> ProjectionRunner:
    """A runner with a small pace, as ``settings`` say."""
    assert isinstance(feed, EventFeed)
    given = {"owner": "one", "on_failure": "stop", "pace": Pace(batch_size=7, longest_wait=0.05, first_pause=0.01), "lease": LEASE}
    return ProjectionRunner(projection, feed=feed, read_model=model, codec=CODEC, clock=clock, **(given | settings))  # type: ignore[arg-type]


async def whole_feed(feed: object) -> list[RecordedEvent]:
    """Every event."""
    assert isinstance(feed, EventFeed)
    return list((await feed.read_all(after=0, limit=1_000)).events)


async def rows_of(model: ReadModel, projection: Projection, table: str) -> list[dict[str, Any]]:
    """Every row of a table."""
    page = await model.select(projection.projection_id, table, limit=10_000)
    assert page.is_end
    return [dict(row) for row in page.rows]


def figures(rows: Sequence[Row], *names: str) -> list[tuple[object, ...]]:
    """Some columns, sorted."""
    return sorted((tuple(row[name] for name in names) for row in rows), key=repr)


def balances(events: Sequence[RecordedEvent], up_to: int) -> list[tuple[object, ...]]:
    """(product, store, on hand, reserved, version) by an own reading of the payloads, in the order of :func:`figures`."""
    found: dict[object, tuple[object, ...]] = {}
    for event in events:
        if event.position <= up_to:
            data = json.loads(event.data)
            found[event.stream] = (data["product_id"], data["store_id"], data["on_hand"], data["reserved"], event.version)
    return sorted(found.values(), key=repr)
