"""Audit at the end of a replay: every stream that the orders moved is folded from its first event, and counted independently."""

from collections import Counter
from collections.abc import Mapping, Sequence

import attrs

from inventory_es.adapters.serialization import JsonEventCodec
from inventory_es.cli.replay.progress import Totals
from inventory_es.cli.replay.steps import Survey
from inventory_es.domain.errors import CorruptStreamError
from inventory_es.domain.events import Event, Recorded, StockAddedEvent, StockAdjustedEvent, StockCommittedEvent, StockReservedEvent
from inventory_es.domain.identifiers import InventoryId
from inventory_es.domain.inventory import Inventory
from inventory_es.domain.reasons import AddReason
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import EventStore
from inventory_es.ports.errors import EventDecodeError
from inventory_es.ports.toolkit.page_rules import read_stream_page

_PAGE = 10_000


@attrs.frozen
class Audit:
    """Result of an audit.

    Attributes:
        inventories: the number of streams in which the replay has events.
        violations: one sentence per contradiction.
        sold: the units that the replay sold, by inventory.
        on_hand: the units at the end, by inventory.
    """

    inventories: int
    violations: Sequence[str]
    sold: Mapping[InventoryId, int]
    on_hand: Mapping[InventoryId, int]


async def audit(store: EventStore, survey: Survey, replay: StreamId, totals: Totals) -> Audit:
    """Fold every stream that the orders move, and compare it with the totals.

    The fold itself refuses an impossible version, time or balance. The audit adds three checks. On hand is what was added less what left.
    No unit that the replay reserved is still reserved. The sums over its events are its totals.

    Args:
        store: the store with the streams.
        survey: the survey, which names the inventories.
        replay: the replay's own stream; its name is the correlation id of the replay's events.
        totals: the totals that the replay counted.
    """
    violations: list[str] = []
    sold: dict[InventoryId, int] = {}
    on_hand: dict[InventoryId, int] = {}
    found = Counter[str]()
    for inventory_id in survey.first_moved:
        fold = _StreamFold(inventory_id, replay.text)
        try:
            await fold.read(store)
        except (CorruptStreamError, EventDecodeError) as problem:
            violations.append(str(problem))
            continue
        violations.extend(fold.violations())
        found.update(fold.own)
        if fold.own["events"]:
            sold[inventory_id] = fold.own["units_sold"]
            on_hand[inventory_id] = fold.inventory.units_on_hand
    expected = {
        "events": totals.events,
        "returns": totals.returns,
        "adjustments": totals.adjustments - totals.adjustments_refused,
        "units_sold": totals.units_sold,
        "units_returned": totals.units_returned,
        "units_written_off": totals.units_written_off,
        "units_received": totals.units_received,
        "units_opening": totals.units_opening,
    }
    violations.extend(
        f"the replay counted {counted} {name.replace('_', ' ')}, its streams have {found[name]}"
        for name, counted in expected.items()
        if counted != found[name]
    )
    return Audit(len(sold), violations, sold, on_hand)


class _StreamFold:
    """Fold and count of one stream."""

    _codec = JsonEventCodec()

    def __init__(self, inventory_id: InventoryId, correlation_id: str) -> None:
        self.inventory = Inventory(inventory_id)
        self.own = Counter[str]()
        self._correlation_id = correlation_id
        self._moved = 0

    async def read(self, store: EventStore) -> None:
        stream, is_end = self.inventory.inventory_id.stream, False
        while not is_end:
            page = await read_stream_page(store, stream, after=self.inventory.version, limit=_PAGE)
            for recorded in page.events:
                event: Event = self._codec.decode(recorded)
                self.inventory.apply(Recorded(event, recorded.version, recorded.recorded_at))
                self._moved += _moved(event)
                if self._codec.decode_metadata(recorded).correlation_id == self._correlation_id:
                    self._count(event)
            is_end = page.is_end

    def violations(self) -> list[str]:
        stream, found = self.inventory.inventory_id.stream, self.inventory
        wrong: list[str] = []
        if self._moved != found.units_on_hand:
            wrong.append(f"stream {stream} says {found.units_on_hand} on hand, its movements add up to {self._moved}")
        if self.own["units_reserved"] != self.own["units_sold"]:
            wrong.append(
                f"stream {stream} has {self.own['units_reserved'] - self.own['units_sold']} units reserved by orders and never sold"
            )
        return wrong

    def _count(self, event: Event) -> None:
        match event:
            case StockAddedEvent():
                self.own[_ADDED[event.reason]] += event.quantity
                self.own["returns"] += event.reason is AddReason.RETURNED
            case StockReservedEvent():
                self.own["units_reserved"] += event.quantity
            case StockCommittedEvent():
                self.own["units_sold"] += event.quantity
            case StockAdjustedEvent():
                self.own["units_written_off"] -= event.delta
                self.own["adjustments"] += 1
            case _:
                return
        self.own["events"] += 1


_ADDED = {AddReason.OPENING: "units_opening", AddReason.RECEIVED: "units_received", AddReason.RETURNED: "units_returned"}


def _moved(event: Event) -> int:
    match event:
        case StockAddedEvent():
            return event.quantity
        case StockCommittedEvent():
            return -event.quantity
        case StockAdjustedEvent():
            return event.delta
        case _:
            return 0
