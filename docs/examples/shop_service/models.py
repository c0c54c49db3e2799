"""Requests and answers. A model checks a request, and reads an answer from a result of the package."""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, TypeVar, cast
from urllib.parse import unquote

from fastapi import Header, Path, Query
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic.json_schema import SkipJsonSchema

from inventory_es import Explanation as ExplanationResult
from inventory_es import HistoryEntry

Model = TypeVar("Model", bound=BaseModel)
LARGEST = 1_000_000_000
TEXT = r"^[^\x00-\x1f\x7f-\x9f]+$"
PROCESS = r"^[^\x00-\x1f\x7f-\x9f:%]+$"
KEY = r"^[A-Za-z0-9._~-]+$"


def _whole(value: object) -> object:
    return (
        int(value) if isinstance(value, float) and value.is_integer() else value
    )  # JSON knows one kind of number


def _digits(value: object) -> object:
    if isinstance(value, str) and not re.fullmatch(r"-?[0-9]{1,16}", value):
        msg = "must be a whole number"
        raise ValueError(msg)
    return value


def _version(tag: object) -> int:
    if not isinstance(tag, str) or not (found := re.fullmatch(r'"?([0-9]{1,15})"?', tag)):
        msg = 'must be the ETag of an earlier answer, such as "7"'
        raise ValueError(msg)
    return int(found[1])


def _instant(value: object) -> object:
    if isinstance(value, str) and not re.match(
        r"\d{4}-\d\d-\d\d[Tt ]", value
    ):  # a number would be taken for seconds
        msg = "must be a date and time with an offset, such as 2026-03-01T12:00:00Z"
        raise ValueError(msg)
    return value


Whole = BeforeValidator(_whole)
Units = Annotated[int, Field(strict=True, ge=1, le=LARGEST, examples=[2]), Whole]
Delta = (
    Annotated[int, Field(strict=True, ge=1, le=LARGEST), Whole]
    | Annotated[int, Field(strict=True, ge=-LARGEST, le=-1), Whole]
)
Seconds = Annotated[int, Field(strict=True, ge=1, le=86_400 * 366), Whole]
Text = Annotated[str, Field(min_length=1, max_length=128, pattern=TEXT)]
Reference = Annotated[str, Field(min_length=1, max_length=512, pattern=TEXT)]

PathText = Annotated[str, Path(min_length=1, max_length=128, pattern=TEXT), BeforeValidator(unquote)]
ProductId = Annotated[PathText, Path(examples=["espresso-1kg"])]
StoreId = Annotated[PathText, Path(examples=["berlin"])]
ReservationId = Annotated[PathText, Path(examples=["cart-1001"])]
ProcessId = Annotated[str, Path(min_length=1, max_length=64, pattern=PROCESS), BeforeValidator(unquote)]
OrderId = Annotated[ProcessId, Path(examples=["order-1001"])]
TransferId = Annotated[ProcessId, Path(examples=["transfer-7"])]
Version = Annotated[int, Path(ge=1, le=2**53 - 1, examples=[1]), BeforeValidator(_digits)]

Key = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=40,
        pattern=KEY,
        description="The id of the command, and of what it makes. The same key and body have the same outcome.",
        examples=["cart-1001"],
    ),
]
IfMatch = Annotated[
    int | SkipJsonSchema[None],
    Header(
        alias="If-Match",
        description="The version that the stock must have, as its ETag; another one is a conflict (409).",
        examples=['"1"'],
    ),
    BeforeValidator(_version),
    WithJsonSchema({"type": "string", "pattern": r'^"?[0-9]{1,15}"?$'}),
]
Time = Annotated[AwareDatetime, Query(examples=["2026-03-01T12:00:00Z"]), BeforeValidator(_instant)]
After = Annotated[
    int, Query(ge=0, le=2**53 - 1, description="The version after which to begin."), BeforeValidator(_digits)
]
Limit = Annotated[int, Query(ge=1, le=1_000), BeforeValidator(_digits)]


class Body(BaseModel):
    """The body of a request. An unknown field is refused."""

    model_config = ConfigDict(extra="forbid")

    def fields(self) -> dict[str, Any]:
        """Return the fields as arguments of the command."""
        given = self.model_dump()
        if "ttl_seconds" in given:
            seconds = given.pop("ttl_seconds")
            given["ttl"] = None if seconds is None else timedelta(seconds=seconds)
        return given


class Answer(BaseModel):
    """The body of an answer."""

    model_config = ConfigDict(from_attributes=True)


def _example(**example: Any) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [example]})


def example(kind: type[Model], **changes: Any) -> Model:
    """Return the documented example of a model, with some fields changed."""
    extra = cast(dict[str, Any], kind.model_config["json_schema_extra"])
    return kind.model_validate(extra["examples"][0] | changes)


class Receipt(Body):
    """Units that came in."""

    model_config = _example(quantity=100, reason="RECEIVED", reference="purchase-order:55")

    quantity: Units
    reason: Literal["OPENING", "RECEIVED", "RETURNED", "FOUND"] = "RECEIVED"
    reference: Reference | None = None


class Adjustment(Body):
    """A difference between the shelf and the books."""

    model_config = _example(delta=-2, reason="DAMAGE")

    delta: Delta
    reason: Literal["DAMAGE", "LOSS", "THEFT", "FOUND", "SPOILED", "CORRECTION"]
    shortfall: Literal["REJECT", "BUMP"] = "REJECT"
    reference: Reference | None = None


class Count(Body):
    """A count of the shelf, made when the stock had `observed_version`. Later movements are added."""

    model_config = _example(counted=97, observed_version=1)

    counted: Annotated[int, Field(strict=True, ge=0, le=LARGEST), Whole]
    observed_version: Annotated[int, Field(strict=True, ge=0, le=2**53 - 1), Whole]
    shortfall: Literal["REJECT", "BUMP"] = "REJECT"
    reference: Reference | None = None


class Reserve(Body):
    """Units to hold. `ttl_seconds` of null is a firm hold, which never expires."""

    model_config = _example(quantity=2, ttl_seconds=900, owner_id="customer-7")

    quantity: Units
    ttl_seconds: Seconds | None = 900
    owner_id: Text | None = None
    keep_available: Annotated[int, Field(strict=True, ge=0, le=LARGEST), Whole] = 0
    reference: Reference | None = None


class Extend(Body):
    """The time from now for which the units stay held."""

    model_config = _example(ttl_seconds=1_800)

    ttl_seconds: Seconds
    reference: Reference | None = None


class Confirm(Body):
    """Nothing but a reason."""

    model_config = _example(reference="payment:88")

    reference: Reference | None = None


class Release(Body):
    """Units to give back; null for all that are held."""

    model_config = _example(quantity=None)

    quantity: Units | None = None
    reference: Reference | None = None


class Commit(Body):
    """Units that have left; null for all that are held."""

    model_config = _example(quantity=None)

    quantity: Units | None = None
    remainder: Literal["KEEP", "RELEASE"] = "KEEP"
    reason: Literal["SOLD", "CONSUMED", "SCRAPPED"] = "SOLD"
    reference: Reference | None = None


class OrderLine(Body):
    """Units of one product in one store."""

    model_config = _example(product_id="espresso-1kg", store_id="berlin", quantity=2)

    product_id: Text
    store_id: Text
    quantity: Units


class PlaceOrder(Body):
    """Lines to hold, all or none."""

    model_config = _example(
        lines=[{"product_id": "espresso-1kg", "store_id": "berlin", "quantity": 2}], ttl_seconds=900
    )

    lines: Annotated[list[OrderLine], Field(min_length=1, max_length=100)]
    ttl_seconds: Seconds = 900
    owner_id: Text | None = None


class Ship(Body):
    """Lines that have left; null for all that are left."""

    model_config = _example(lines=None)

    lines: Annotated[list[OrderLine], Field(min_length=1, max_length=100)] | None = None


class TransferLine(Body):
    """Units of one product."""

    model_config = _example(product_id="espresso-1kg", quantity=5)

    product_id: Text
    quantity: Units


class DraftTransfer(Body):
    """Goods to hold at the source, all or none."""

    model_config = _example(
        source="berlin", destination="hamburg", lines=[{"product_id": "espresso-1kg", "quantity": 5}]
    )

    source: Text
    destination: Text
    lines: Annotated[list[TransferLine], Field(min_length=1, max_length=100)]


class Move(Body):
    """Goods that arrived, went back or are lost; null for all that are in transit."""

    model_config = _example(lines=None)

    lines: Annotated[list[TransferLine], Field(min_length=1, max_length=100)] | None = None


NOW = "2026-03-01T12:00:00Z"
PLACE = {"product_id": "espresso-1kg", "store_id": "berlin"}
LEVEL = {
    **PLACE,
    "on_hand": 100,
    "reserved": 2,
    "due": 0,
    "available": 98,
    "version": 2,
    "position": 2,
    "at": NOW,
}
HELD = {
    "reservation_id": "cart-1001",
    "remaining": 2,
    "owner_id": "customer-7",
    "expires_at": "2026-03-01T12:15:00Z",
}


class Place(Answer):
    """A product in a store."""

    model_config = _example(**PLACE)

    product_id: str
    store_id: str


class Stock(Place):
    """The stock of one product in one store, from its events. A pair that nobody has used has version 0."""

    model_config = _example(**LEVEL)

    on_hand: int
    reserved: int
    due: int
    available: int
    version: int
    position: int
    at: datetime


class StockRow(Place):
    """The stock of one store, from the read model. It is behind the events as far as the followers are."""

    model_config = _example(
        **PLACE, on_hand=100, reserved=2, available=98, version=2, position=2, recorded_at=NOW
    )

    on_hand: int
    reserved: int
    available: int
    version: int
    position: int
    recorded_at: datetime


class Change(Answer):
    """The outcome of a command."""

    model_config = _example(
        inventory_id=PLACE,
        command_id="delivery-7",
        changed=True,
        version=1,
        position=1,
        at=NOW,
        on_hand=100,
        reserved=0,
        replayed=False,
    )

    inventory_id: Place
    command_id: str
    changed: bool
    version: int
    position: int
    at: datetime
    on_hand: int
    reserved: int
    replayed: bool


class Held(Place):
    """A reservation, as it was made; `state` and `remaining` are of now."""

    model_config = _example(
        **PLACE, **HELD, quantity=2, reserved_at=NOW, version=2, position=2, replayed=False, state="OPEN"
    )

    reservation_id: str
    quantity: int
    owner_id: str | None
    reserved_at: datetime
    expires_at: datetime | None
    version: int
    position: int
    replayed: bool
    state: str
    remaining: int


class Reservation(Place):
    """The state of a reservation now."""

    model_config = _example(**PLACE, **HELD, status="OPEN", committed=0, released=0, version=2, at=NOW)

    reservation_id: str
    status: str
    remaining: int
    committed: int
    released: int
    expires_at: datetime | None
    owner_id: str | None
    version: int
    at: datetime


ENTRY: Mapping[str, Any] = {
    "version": 1,
    "position": 1,
    "recorded_at": NOW,
    "type": "StockAddedEvent",
    "event": {**PLACE, "quantity": 100, "reason": "RECEIVED", "on_hand": 100, "reserved": 0},
    "command_id": "delivery-7",
    "actor_id": "web",
    "correlation_id": "order-1001",
    "reference": "purchase-order:55",
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
}


class Entry(Answer):
    """One event with its place and the ids of its cause."""

    model_config = _example(**ENTRY)

    version: int
    position: int
    recorded_at: datetime
    type: str
    event: dict[str, Any]
    command_id: str | None
    actor_id: str | None
    correlation_id: str | None
    reference: str | None
    traceparent: str | None

    @classmethod
    def of(cls, entry: HistoryEntry) -> "Entry":
        """Return an event of the package as it is shown."""
        said = entry.metadata
        return cls(
            version=entry.version,
            position=entry.position,
            recorded_at=entry.recorded_at,
            type=type(entry.event).__name__,
            event=entry.to_dict()["event"],
            command_id=said.command_id,
            actor_id=said.actor_id,
            correlation_id=said.correlation_id,
            reference=said.reference,
            traceparent=said.extra.get("traceparent"),
        )


class History(Answer):
    """A page of events, oldest first. Ask for the next one with `after`; null at the end."""

    model_config = _example(entries=[ENTRY], next_after=None)

    entries: list[Entry]
    next_after: int | None


class Hold(Answer):
    """An open reservation, and the command that will free its units."""

    reservation_id: str
    remaining: int
    owner_id: str | None
    reserved_at: datetime
    expires_at: datetime | None
    waits_for: str


class Explanation(Answer):
    """The open reservations, oldest first, the last movements, newest first, and the last count."""

    model_config = _example(
        level=LEVEL,
        holds=[{**HELD, "reserved_at": NOW, "waits_for": "commit, release or expiry"}],
        holds_left_out=0,
        movements=[ENTRY],
        last_count=None,
    )

    level: Stock
    holds: list[Hold]
    holds_left_out: int
    movements: list[Entry]
    last_count: Entry | None

    @classmethod
    def of(cls, told: ExplanationResult) -> "Explanation":
        """Return an explanation of the package as it is shown."""
        return cls(
            level=Stock.model_validate(told.level),
            holds=[Hold.model_validate(hold) for hold in told.holds],
            holds_left_out=told.holds_left_out,
            movements=[Entry.of(entry) for entry in told.movements],
            last_count=None if told.last_count is None else Entry.of(told.last_count),
        )


class Line(Place):
    """A line of an order."""

    model_config = _example(**PLACE, line=1, quantity=2)

    line: int
    quantity: int


class LineUnits(Answer):
    """Units of one line."""

    line: int
    quantity: int


class Shipment(Answer):
    """Units of an order that left together."""

    shipment_id: str
    lines: list[LineUnits]
    is_committed: bool


class Shortage(Answer):
    """The reason why a line could not be had."""

    line: int
    product_id: str
    store_id: str
    requested: int
    available: int | None
    code: str


class Order(Answer):
    """An order over many products."""

    model_config = _example(
        order_id="order-1001",
        status="HELD",
        version=2,
        lines=[{"line": 1, **PLACE, "quantity": 2}],
        owner_id=None,
        expires_at="2026-03-01T12:15:00Z",
        payment_id=None,
        shipments=[],
        shortages=[],
    )

    order_id: str
    status: str
    version: int
    lines: list[Line]
    owner_id: str | None
    expires_at: datetime | None
    payment_id: str | None
    shipments: list[Shipment]
    shortages: list[Shortage]


class Goods(Answer):
    """A line of a transfer."""

    line: int
    product_id: str
    quantity: int


class Transfer(Answer):
    """Goods on their way from one store to another. `in_transit` has the units under way of each line."""

    model_config = _example(
        transfer_id="transfer-7",
        status="RESERVED",
        version=2,
        source_store_id="berlin",
        destination_store_id="hamburg",
        lines=[{"line": 1, "product_id": "espresso-1kg", "quantity": 5}],
        in_transit={},
        shortages=[],
    )

    transfer_id: str
    status: str
    version: int
    source_store_id: str
    destination_store_id: str
    lines: list[Goods]
    in_transit: dict[int, int]
    shortages: list[Shortage]


class Health(Answer):
    """The process answers, and so do its stores."""

    model_config = _example(status="ready")

    status: Literal["alive", "ready"]


FOLLOWER = {
    "name": "ledger v1",
    "alive": True,
    "stopped": False,
    "lag_events": 0,
    "lag_seconds": 0.0,
    "dead_letters": 0,
}


class Follower(Answer):
    """A projection, or the relay to the bus, whichever process runs it."""

    name: str
    alive: bool
    stopped: bool
    leader: str | None
    lag_events: int
    lag_seconds: float
    dead_letters: int


class Followers(Answer):
    """The followers: healthy if each has a leader and none is stopped."""

    model_config = _example(
        healthy=True, followers=[{**FOLLOWER, "leader": "01a23454-3bd1-7a74-9251-6fcf59ce27d4"}]
    )

    healthy: bool
    followers: list[Follower]
