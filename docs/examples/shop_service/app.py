"""The API of a shop's stock. A write is idempotent by its key; what is no success is a problem document."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, cast

from fastapi import APIRouter, Depends, FastAPI, Header, Request, Response

from inventory_es import (
    ConcurrencyError,
    HistoryEntry,
    InsufficientStockError,
    InventoryId,
    InventoryService,
    ReservationRef,
    StoreUnavailableError,
    StreamId,
    commands,
    errors,
)
from inventory_es.processes import OrderItem, OrderReservation, Orders, Transfer, TransferItem, Transfers

from . import models as m
from .problems import Problem, ProblemDetails, answer_with_problems, documented, invalid_request

# ── refusals of this service, and examples of those that its routes document ──────────────────────

SHELF = StreamId("inventory", "espresso-1kg", "berlin")
ORDER, TRANSFER = StreamId("order", "order-1001"), StreamId("transfer", "transfer-7")
CART: dict[str, Any] = {"inventory": SHELF, "reservation_id": "cart-1001"}


def reservation_ended(reservation_id: str, state: str) -> Problem:
    """Return the answer to a repeated reservation that holds nothing any more."""
    detail = f"The reservation {reservation_id!r} was made earlier, and is {state}."
    return Problem(409, "reservation_ended", detail, {"state": state})


def version_not_reached(status: int, absent: errors.InvalidQuantityError) -> Problem:
    """Return the answer to a version that the stock has not reached, which only the stock can refuse."""
    return Problem(status, "version_not_reached", absent.message)


def process_ended(answer: m.Order | m.Transfer) -> Problem:
    """Return the answer to a command whose order or transfer can't have its goods. The facts say why."""
    kind = type(answer).__name__.lower()
    detail = f"The {kind} is {answer.status}."
    return Problem(409, f"{kind}_{answer.status.lower()}", detail, answer.model_dump(mode="json"))


AWAY = StoreUnavailableError(store="", reason="")
INVALID = invalid_request([{"where": "body.quantity", "problem": "Input should be greater than or equal to 1"}])
READ = (INVALID, AWAY)
POST = (
    *READ,
    Problem(408, "request_timeout", "The body did not arrive within 5 s.", retryable=True),
    Problem(413, "body_too_large", "A body has at most 262144 bytes.", {"limit": 262_144}),
)
WRITE = (*POST, ConcurrencyError(stream=SHELF, expected=1, actual=2))
REUSED = errors.CommandIdReusedError(inventory=SHELF, command_id="delivery-7")
UNKNOWN = errors.ReservationNotFoundError(**CART)
ENDED = (
    errors.ReservationExpiredError(**CART, expired_at=datetime(2026, 3, 1, 12, 15, tzinfo=UTC)),
    errors.ReservationAlreadyReleasedError(**CART),
    errors.ReservationAlreadyCommittedError(**CART),
)
FEWER = errors.QuantityExceedsReservationError(**CART, requested=3, remaining=2)
PROMISED = errors.WouldBreakReservationsError(inventory=SHELF, shortfall=2)
NO_ORDER = errors.ProcessNotFoundError(process=ORDER)
NO_TRANSFER = errors.ProcessNotFoundError(process=TRANSFER)
ORDER_REUSED = errors.ProcessIdReusedError(process=ORDER, reused_id="order-1001")
TRANSFER_REUSED = errors.ProcessIdReusedError(process=TRANSFER, reused_id="transfer-7")
ORDER_STATE = errors.ProcessStateError(process=ORDER, status="DONE", command="CancelOrder")
TRANSFER_STATE = errors.ProcessStateError(process=TRANSFER, status="CLOSED", command="DispatchTransfer")
ORDER_SHORT = process_ended(m.example(m.Order, status="REJECTED"))
ORDER_REFUND = process_ended(m.example(m.Order, status="NEEDS_REFUND"))
TRANSFER_SHORT = process_ended(m.example(m.Transfer, status="REJECTED"))
TOO_MANY = errors.QuantityExceedsProcessError(process=ORDER, inventory=SHELF, requested=3, remaining=2)

# ── what the routes ask for ───────────────────────────────────────────────────────────────────────


def service(request: Request) -> InventoryService:
    """Return the service that the lifespan opened."""
    return cast(InventoryService, request.app.state.inventory)


def shelf(product_id: m.ProductId, store_id: m.StoreId) -> InventoryId:
    """Return the inventory that the path names."""
    return InventoryId(product_id, store_id)


def documented_ids(
    traceparent: Annotated[
        str, Header(description="W3C trace context: recorded with the events, and sent back.")
    ] = "",
    x_correlation_id: Annotated[
        str,
        Header(
            description="Id of the business transaction: recorded with the events, and sent back; else made."
        ),
    ] = "",
) -> None:
    """Document the headers that the edge reads."""


def tag(response: Response, version: int) -> None:
    """Name the version of what is answered."""
    response.headers["ETag"] = f'"{version}"'


Inventory = Annotated[InventoryService, Depends(service)]
Shelf = Annotated[InventoryId, Depends(shelf)]


class Write:
    """A write to one inventory, under the key of the request, and to the version that it expects."""

    def __init__(
        self, inventory: Inventory, place: Shelf, key: m.Key, response: Response, if_match: m.IfMatch = None
    ) -> None:
        self.inventory = inventory
        self.place = place
        self.key = key
        self.response = response
        self.if_match = if_match

    async def __call__(self, make: Callable[..., commands.Command], body: m.Body, **ids: str) -> Any:
        """Execute a command, and tag the answer with the version after it."""
        command = make(inventory_id=self.place, **ids, **body.fields())
        outcome = await self.inventory.execute(command, expected_version=self.if_match)
        tag(self.response, outcome.version)
        return outcome


Writing = Annotated[Write, Depends()]
api = APIRouter(dependencies=[Depends(documented_ids)])

# ── stock ─────────────────────────────────────────────────────────────────────────────────────────

PRODUCT = "/products/{product_id}/stores"
STORE = f"{PRODUCT}/{{store_id}}"


@api.get(PRODUCT, response_model=list[m.StockRow], responses=documented(*READ), tags=["stock"])
async def stock_by_store(inventory: Inventory, product_id: m.ProductId) -> object:
    """List the stock of a product by store, from the read model: cheap, and a moment behind the writes."""
    return (await inventory.queries.product_inventory(product_id)).rows


@api.get(STORE, response_model=m.Stock, responses=documented(*READ), tags=["stock"])
async def stock(inventory: Inventory, place: Shelf, response: Response) -> object:
    """Return the stock now. Its version is the ETag."""
    level = await inventory.stock(place.product_id, place.store_id)
    tag(response, level.version)
    return level


@api.post(f"{STORE}/receipts", response_model=m.Change, responses=documented(*WRITE, REUSED), tags=["stock"])
async def receive_stock(write: Writing, body: m.Receipt) -> object:
    """Add units that came in."""
    return await write(commands.AddStock, body, command_id=write.key)


NEGATIVE = errors.NegativeStockError(inventory=SHELF, on_hand=1, delta=-2)


@api.post(
    f"{STORE}/adjustments",
    response_model=m.Change,
    responses=documented(*WRITE, NEGATIVE, PROMISED, REUSED),
    tags=["stock"],
)
async def adjust_stock(write: Writing, body: m.Adjustment) -> object:
    """Adjust the units on hand by a difference."""
    return await write(commands.AdjustStock, body, command_id=write.key)


NO_VERSION = errors.InvalidQuantityError(
    name="version", problem=f"9 of {SHELF} is not there yet: its version is 2"
)
SUPERSEDED = errors.CountSupersededError(inventory=SHELF, observed_version=1, last_count_version=2)


@api.post(
    f"{STORE}/counts",
    response_model=m.Change,
    responses=documented(*WRITE, SUPERSEDED, version_not_reached(409, NO_VERSION), PROMISED, REUSED),
    tags=["stock"],
)
async def count_stock(write: Writing, body: m.Count) -> object:
    """Record a count of the shelf. Movements since `observed_version` are taken into account."""
    try:
        return await write(commands.RecordCount, body, command_id=write.key)
    except errors.InvalidQuantityError as absent:
        raise version_not_reached(409, absent) from absent


# ── reservations ──────────────────────────────────────────────────────────────────────────────────

RESERVATIONS = f"{STORE}/reservations"
RESERVATION = f"{RESERVATIONS}/{{reservation_id}}"
SHORT = InsufficientStockError(inventory=SHELF, requested=3, available=2)
TAKEN = errors.ReservationIdTakenError(**CART)


@api.post(
    RESERVATIONS,
    status_code=201,
    response_model=m.Held,
    responses={
        200: {"model": m.Held, "description": "Made earlier, and still open"},
        **documented(*WRITE, SHORT, TAKEN, reservation_ended("cart-1001", "RELEASED")),
    },
    tags=["reservations"],
)
async def reserve(write: Writing, body: m.Reserve) -> object:
    """Hold units. The key becomes the id of the reservation."""
    held = await write(commands.ReserveStock, body, reservation_id=write.key)
    if held.state != "OPEN":  # a repetition, perhaps much later: another buyer may have the units
        raise reservation_ended(write.key, held.state)
    if held.replayed:
        write.response.status_code = 200
    return held


@api.get(RESERVATION, response_model=m.Reservation, responses=documented(*READ, UNKNOWN), tags=["reservations"])
async def reservation(
    inventory: Inventory, place: Shelf, reservation_id: m.ReservationId, response: Response
) -> object:
    """Return the state of a reservation now."""
    state = await inventory.reservation(ReservationRef(place.product_id, place.store_id, reservation_id))
    tag(response, state.version)
    return state


@api.post(
    f"{RESERVATION}/extension",
    response_model=m.Change,
    responses=documented(*WRITE, UNKNOWN, *ENDED, REUSED),
    tags=["reservations"],
)
async def extend(write: Writing, reservation_id: m.ReservationId, body: m.Extend) -> object:
    """Hold the units until `ttl_seconds` from now, if that is later than before."""
    return await write(commands.ExtendReservation, body, command_id=write.key, reservation_id=reservation_id)


@api.post(
    f"{RESERVATION}/confirmation",
    response_model=m.Change,
    responses=documented(*WRITE, UNKNOWN, *ENDED, REUSED),
    tags=["reservations"],
)
async def confirm(write: Writing, reservation_id: m.ReservationId, body: m.Confirm) -> object:
    """Make the reservation firm, so that it never expires."""
    return await write(commands.ConfirmReservation, body, command_id=write.key, reservation_id=reservation_id)


@api.post(
    f"{RESERVATION}/release",
    response_model=m.Change,
    responses=documented(*WRITE, UNKNOWN, ENDED[2], FEWER, REUSED),
    tags=["reservations"],
)
async def release(write: Writing, reservation_id: m.ReservationId, body: m.Release) -> object:
    """Give units back. No effect on a reservation that was released or has expired."""
    return await write(commands.ReleaseStock, body, command_id=write.key, reservation_id=reservation_id)


@api.post(
    f"{RESERVATION}/commit",
    response_model=m.Change,
    responses=documented(*WRITE, UNKNOWN, *ENDED, FEWER, REUSED),
    tags=["reservations"],
)
async def commit(write: Writing, reservation_id: m.ReservationId, body: m.Commit) -> object:
    """Take units off the books that have left."""
    return await write(commands.CommitStock, body, command_id=write.key, reservation_id=reservation_id)


# ── the past ──────────────────────────────────────────────────────────────────────────────────────


@api.get(f"{STORE}/history", response_model=m.History, responses=documented(*READ), tags=["past"])
async def history(inventory: Inventory, place: Shelf, after: m.After = 0, limit: m.Limit = 100) -> m.History:
    """List every event with its cause, oldest first."""
    entries: list[m.Entry] = []
    found = cast(
        AsyncGenerator[HistoryEntry, None], inventory.history(place.product_id, place.store_id, after=after)
    )
    async with aclosing(found):
        async for entry in found:
            if len(entries) == limit:
                return m.History(entries=entries, next_after=entries[-1].version)
            entries.append(m.Entry.of(entry))
    return m.History(entries=entries, next_after=None)


@api.get(f"{STORE}/as-of", response_model=m.Stock, responses=documented(*READ), tags=["past"])
async def stock_as_of(inventory: Inventory, place: Shelf, time: m.Time) -> object:
    """Return the stock at an instant of the past."""
    return await inventory.as_of(place.product_id, place.store_id, time=time)


@api.get(
    f"{STORE}/versions/{{version}}",
    response_model=m.Stock,
    responses=documented(*READ, version_not_reached(404, NO_VERSION)),
    tags=["past"],
)
async def stock_at_version(inventory: Inventory, place: Shelf, version: m.Version) -> object:
    """Return the stock right after a version."""
    try:
        return await inventory.as_of(place.product_id, place.store_id, version=version)
    except errors.InvalidQuantityError as absent:
        raise version_not_reached(404, absent) from absent


@api.get(f"{STORE}/explanation", response_model=m.Explanation, responses=documented(*READ), tags=["past"])
async def explain(inventory: Inventory, place: Shelf) -> object:
    """Explain the available figure by the open reservations, the last movements and the last count."""
    return m.Explanation.of(await inventory.explain(place.product_id, place.store_id))


# ── orders ────────────────────────────────────────────────────────────────────────────────────────

REFUSED = {"REJECTED", "CANCELLED", "EXPIRED", "NEEDS_REFUND", "NEEDS_ATTENTION"}
ONE_ORDER = "/orders/{order_id}"


def orders_of(inventory: Inventory) -> Orders:
    """Return the orders of the service."""
    return Orders(inventory)


OfOrders = Annotated[Orders, Depends(orders_of)]


def items(lines: list[m.OrderLine] | None) -> list[OrderItem] | None:
    """Return the items of a request; ``None`` for all that are left."""
    return None if lines is None else [OrderItem(one.product_id, one.store_id, one.quantity) for one in lines]


def show_order(order: OrderReservation, response: Response, *, accepted: bool = False) -> m.Order:
    """Return an order; with ``accepted``, a problem where its goods can't be had."""
    if order.version == 0:
        raise errors.ProcessNotFoundError(process=order.stream)
    answer = m.Order.model_validate(order)
    if accepted and answer.status in REFUSED:
        raise process_ended(answer)
    tag(response, answer.version)
    return answer


@api.post(
    "/orders",
    status_code=201,
    response_model=m.Order,
    responses=documented(*POST, ORDER_SHORT, ORDER_REUSED),
    tags=["orders"],
)
async def place_order(orders: OfOrders, key: m.Key, body: m.PlaceOrder, response: Response) -> object:
    """Hold every line or none. The key becomes the id of the order."""
    ttl = timedelta(seconds=body.ttl_seconds)
    return show_order(
        await orders.reserve(key, items(body.lines) or (), ttl=ttl, owner_id=body.owner_id),
        response,
        accepted=True,
    )


@api.get(ONE_ORDER, response_model=m.Order, responses=documented(*READ, NO_ORDER), tags=["orders"])
async def order(orders: OfOrders, order_id: m.OrderId, response: Response) -> object:
    """Return an order."""
    return show_order(await orders.order(order_id), response)


@api.post(
    f"{ONE_ORDER}/payments",
    response_model=m.Order,
    responses=documented(*POST, NO_ORDER, ORDER_STATE, ORDER_REFUND, ORDER_REUSED),
    tags=["orders"],
)
async def pay_order(orders: OfOrders, order_id: m.OrderId, key: m.Key, response: Response) -> object:
    """Make every line firm, since the money is there. The key becomes the id of the payment."""
    return show_order(await orders.authorise_payment(order_id, key), response, accepted=True)


@api.post(
    f"{ONE_ORDER}/shipments",
    response_model=m.Order,
    responses=documented(*POST, NO_ORDER, ORDER_STATE, TOO_MANY, ORDER_REUSED),
    tags=["orders"],
)
async def ship_order(
    orders: OfOrders, order_id: m.OrderId, key: m.Key, body: m.Ship, response: Response
) -> object:
    """Take lines off the books that have left. The key becomes the id of the shipment."""
    return show_order(await orders.ship(order_id, key, items(body.lines)), response, accepted=True)


@api.post(
    f"{ONE_ORDER}/cancellation",
    response_model=m.Order,
    responses=documented(*POST, NO_ORDER, ORDER_STATE),
    tags=["orders"],
)
async def cancel_order(orders: OfOrders, order_id: m.OrderId, response: Response) -> object:
    """Release everything. Goods that have left need a person: the order is NEEDS_ATTENTION then."""
    return show_order(await orders.cancel(order_id), response)


@api.post(
    f"{ONE_ORDER}/resolution",
    response_model=m.Order,
    responses=documented(*POST, NO_ORDER, ORDER_STATE),
    tags=["orders"],
)
async def resolve_order(orders: OfOrders, order_id: m.OrderId, response: Response) -> object:
    """End an order that needed attention or a refund, once a person has dealt with it."""
    return show_order(await orders.resolve(order_id), response)


# ── transfers ─────────────────────────────────────────────────────────────────────────────────────

ONE_TRANSFER = "/transfers/{transfer_id}"
MOVING = documented(*POST, NO_TRANSFER, TRANSFER_STATE, TOO_MANY, TRANSFER_REUSED)


def transfers_of(inventory: Inventory) -> Transfers:
    """Return the transfers of the service."""
    return Transfers(inventory)


OfTransfers = Annotated[Transfers, Depends(transfers_of)]


def goods(lines: list[m.TransferLine] | None) -> list[TransferItem] | None:
    """Return the goods of a request; ``None`` for all that are in transit."""
    return None if lines is None else [TransferItem(one.product_id, one.quantity) for one in lines]


def show_transfer(transfer: Transfer, response: Response, *, accepted: bool = False) -> m.Transfer:
    """Return a transfer; with ``accepted``, a problem where its goods can't be had."""
    if transfer.version == 0:
        raise errors.ProcessNotFoundError(process=transfer.stream)
    answer = m.Transfer.model_validate(transfer)
    if accepted and answer.status in REFUSED:
        raise process_ended(answer)
    tag(response, answer.version)
    return answer


@api.post(
    "/transfers",
    status_code=201,
    response_model=m.Transfer,
    responses=documented(*POST, TRANSFER_SHORT, TRANSFER_REUSED),
    tags=["transfers"],
)
async def draft_transfer(
    transfers: OfTransfers, key: m.Key, body: m.DraftTransfer, response: Response
) -> object:
    """Hold goods at the source, all or none. The key becomes the id of the transfer."""
    drafted = await transfers.draft(
        key, goods(body.lines) or (), source=body.source, destination=body.destination
    )
    return show_transfer(drafted, response, accepted=True)


@api.get(ONE_TRANSFER, response_model=m.Transfer, responses=documented(*READ, NO_TRANSFER), tags=["transfers"])
async def transfer(transfers: OfTransfers, transfer_id: m.TransferId, response: Response) -> object:
    """Return a transfer."""
    return show_transfer(await transfers.transfer(transfer_id), response)


@api.post(
    f"{ONE_TRANSFER}/dispatch",
    response_model=m.Transfer,
    responses=documented(*POST, NO_TRANSFER, TRANSFER_STATE),
    tags=["transfers"],
)
async def dispatch_transfer(transfers: OfTransfers, transfer_id: m.TransferId, response: Response) -> object:
    """Let the goods leave the source."""
    return show_transfer(await transfers.dispatch(transfer_id), response, accepted=True)


@api.post(f"{ONE_TRANSFER}/receipts", response_model=m.Transfer, responses=MOVING, tags=["transfers"])
async def receive_transfer(
    transfers: OfTransfers, transfer_id: m.TransferId, key: m.Key, body: m.Move, response: Response
) -> object:
    """Receive goods at the destination. The key becomes the id of the receipt."""
    return show_transfer(await transfers.receive(transfer_id, key, goods(body.lines)), response)


@api.post(f"{ONE_TRANSFER}/returns", response_model=m.Transfer, responses=MOVING, tags=["transfers"])
async def take_back_transfer(
    transfers: OfTransfers, transfer_id: m.TransferId, key: m.Key, body: m.Move, response: Response
) -> object:
    """Take goods back at the source. The key becomes the id of the return."""
    return show_transfer(await transfers.take_back(transfer_id, key, goods(body.lines)), response)


@api.post(f"{ONE_TRANSFER}/losses", response_model=m.Transfer, responses=MOVING, tags=["transfers"])
async def write_off_transfer(
    transfers: OfTransfers, transfer_id: m.TransferId, key: m.Key, body: m.Move, response: Response
) -> object:
    """Write goods off. The key becomes the id of the loss."""
    return show_transfer(await transfers.write_off(transfer_id, key, goods(body.lines)), response)


@api.post(
    f"{ONE_TRANSFER}/cancellation",
    response_model=m.Transfer,
    responses=documented(*POST, NO_TRANSFER, TRANSFER_STATE),
    tags=["transfers"],
)
async def cancel_transfer(transfers: OfTransfers, transfer_id: m.TransferId, response: Response) -> object:
    """Release everything at the source. Goods that have left are taken back or written off instead."""
    return show_transfer(await transfers.cancel(transfer_id), response)


# ── health ────────────────────────────────────────────────────────────────────────────────────────

health = APIRouter(prefix="/health", tags=["health"])


@health.get("/live", response_model=m.Health)
async def live() -> m.Health:
    """Answer. Restart a process that doesn't."""
    return m.Health(status="alive")


@health.get("/ready", response_model=m.Health, responses=documented(AWAY))
async def ready(inventory: Inventory) -> m.Health:
    """Ask the event store and the read model. Send no requests to a process that can't."""
    await inventory.stock("health", "ready")
    await inventory.followers.status()
    return m.Health(status="ready")


@health.get("/followers", response_model=m.Followers, responses=documented(AWAY))
async def followers(inventory: Inventory) -> m.Followers:
    """Tell how each follower is, whichever process runs it. Reservations don't wait for them."""
    found = [
        m.Follower(
            name=str(one.projection_id),
            alive=one.owner is not None,
            stopped=one.state == "stopped",
            leader=one.owner,
            lag_events=one.lag_events,
            lag_seconds=max(0.0, one.lag_seconds),
            dead_letters=one.dead_letters,
        )
        for one in await inventory.followers.status()
    ]
    return m.Followers(healthy=all(one.alive and not one.stopped for one in found), followers=found)


# ── the application ───────────────────────────────────────────────────────────────────────────────


def create_app(lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]]) -> FastAPI:
    """Return the application.

    Args:
        lifespan: sets ``app.state.inventory`` to an open service with read models, and closes it.
    """
    app = FastAPI(
        title="Shop stock",
        version="1",
        summary="Stock that is never sold twice.",
        lifespan=lifespan,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,  # operation ids that a client can be made of
        docs_url=None,  # both pages load scripts from a CDN
        redoc_url=None,
    )
    app.include_router(api)
    app.include_router(health)
    answer_with_problems(app)
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        schema = plain()
        schema["components"]["schemas"].setdefault(ProblemDetails.__name__, ProblemDetails.model_json_schema())
        return schema

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI documents it
    return app
