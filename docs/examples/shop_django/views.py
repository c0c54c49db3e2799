"""The views. A write is idempotent by its key; a view lets the errors of the stock go to the middleware."""

import json
from datetime import timedelta
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_GET, require_POST

from inventory_es import ReservationRef

from .models import ProductSales
from .problems import Problem
from .stock import inventory

LONGEST = 30 * 24 * 3600
"""The most seconds for which a cart is held."""


def invalid(where: str, problem: str) -> Problem:
    """Return the answer to a request that can't be understood."""
    return Problem(422, "invalid_request", f"{where}: {problem}", {"where": where, "problem": problem})


def key_of(request: HttpRequest) -> str:
    """Return the id of the command."""
    key: str | None = request.headers.get("Idempotency-Key")
    if key is None:
        raise invalid("Idempotency-Key", "the header is required")  # noqa: EM101  # the place
    return key


def body_of(request: HttpRequest, *known: str) -> dict[str, Any]:
    """Return the fields of the body. The stock checks their values."""
    try:
        fields = json.loads(request.body)
    except (ValueError, RecursionError):
        raise invalid("body", "can't be read as JSON") from None  # noqa: EM101  # the place
    if not isinstance(fields, dict) or not set(fields) <= set(known):
        raise invalid("body", f"must be an object with the fields {', '.join(known)}")  # noqa: EM101  # the place
    return fields


@require_GET
def stock(_request: HttpRequest, product_id: str, store_id: str) -> HttpResponse:
    """Return the stock now."""
    return JsonResponse(inventory.stock(product_id, store_id).to_dict())


@require_POST
def receive(request: HttpRequest, product_id: str, store_id: str) -> HttpResponse:
    """Add units that came in."""
    quantity: Any = body_of(request, "quantity").get("quantity")  # the stock refuses what is no number
    received = inventory.add_stock(product_id, store_id, quantity, command_id=key_of(request))
    return JsonResponse(received.to_dict())


@require_POST
def reserve(request: HttpRequest, product_id: str, store_id: str) -> HttpResponse:
    """Hold units. The key becomes the id of the reservation."""
    fields = body_of(request, "quantity", "ttl_seconds")
    quantity: Any = fields.get("quantity")
    seconds = fields.get("ttl_seconds", 900)
    if type(seconds) is not int or not 0 < seconds <= LONGEST:
        raise invalid("ttl_seconds", f"must be a whole number from 1 to {LONGEST}")  # noqa: EM101  # the place
    held = inventory.reserve(
        product_id,
        store_id,
        quantity,
        ttl=timedelta(seconds=seconds),
        reservation_id=key_of(request),
    )
    if held.state != "OPEN":  # a repetition, perhaps much later: another buyer may have the units
        detail = f"The reservation was made earlier, and is {held.state}."
        raise Problem(409, "reservation_ended", detail, {"state": held.state})
    return JsonResponse(held.to_dict(), status=200 if held.replayed else 201)


@require_POST
def commit(request: HttpRequest, product_id: str, store_id: str, reservation_id: str) -> HttpResponse:
    """Take the units off the books: they have left."""
    held = ReservationRef(product_id, store_id, reservation_id)
    return JsonResponse(inventory.commit(held, command_id=key_of(request)).to_dict())


@require_POST
def release(request: HttpRequest, product_id: str, store_id: str, reservation_id: str) -> HttpResponse:
    """Give the units back."""
    held = ReservationRef(product_id, store_id, reservation_id)
    return JsonResponse(inventory.release(held, command_id=key_of(request)).to_dict())


@require_GET
def bestsellers(_request: HttpRequest) -> HttpResponse:
    """List the best-selling products, from this project's own table."""
    rows = ProductSales.objects.order_by("-units", "product_id")[:10]
    return JsonResponse([{"product_id": row.product_id, "units": row.units} for row in rows], safe=False)


@require_GET
def live(_request: HttpRequest) -> HttpResponse:
    """Answer. Restart a process that doesn't."""
    return JsonResponse({"status": "alive"})


@require_GET
def ready(_request: HttpRequest) -> HttpResponse:
    """Ask the event store and the read model. Send no requests to a process that can't."""
    inventory.stock("health", "ready")
    inventory.followers.status()
    return JsonResponse({"status": "ready"})


@require_GET
def followers(_request: HttpRequest) -> HttpResponse:
    """Return how each follower is, whichever process runs it. Reservations don't wait for them."""
    found = [
        {
            "name": str(one.projection_id),
            "alive": one.owner is not None,
            "stopped": one.state == "stopped",
            "lag_events": one.lag_events,
            "dead_letters": one.dead_letters,
        }
        for one in inventory.followers.status()
    ]
    healthy = all(one["alive"] and not one["stopped"] for one in found)
    return JsonResponse({"healthy": healthy, "followers": found})
