"""A shop's stock over HTTP: a WSGI application for any server with threads, such as gunicorn or Django's.

POST /reservations   {"product": "espresso-1kg", "quantity": 2, "order": "order-1001"}
POST /commits        {"reservation": "espresso-1kg/berlin/order-1001"}
GET  /stock/espresso-1kg
"""

import json
from collections.abc import Callable, Iterable
from datetime import timedelta
from http import HTTPStatus
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

from inventory_es import ConflictError, FaultError
from inventory_es.errors import InvalidInputError, NotFoundError, RefusedError
from inventory_es.sync import InventoryService

STORE = "berlin"
HOLD = timedelta(minutes=15)
Answer = tuple[HTTPStatus, dict[str, Any]]


class ShopApi:
    """A router from requests to an inventory, and from its errors to statuses. The package knows no HTTP."""

    def __init__(self, inventory: InventoryService) -> None:
        self._inventory = inventory
        self._posts: dict[str, Callable[[dict[str, Any]], Answer]] = {
            "/reservations": self._reserve,
            "/commits": self._commit,
        }

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        status, body = self._answer(environ["REQUEST_METHOD"], environ["PATH_INFO"], environ)
        start_response(f"{status.value} {status.phrase}", [("Content-Type", "application/json")])
        return [json.dumps(body).encode()]

    def _answer(self, method: str, path: str, environ: WSGIEnvironment) -> Answer:
        try:
            if method == "GET" and path.startswith("/stock/"):
                return HTTPStatus.OK, self._inventory.stock(path.removeprefix("/stock/"), STORE).to_dict()
            if method == "POST" and path in self._posts:
                body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
                return self._posts[path](json.loads(body))
        except InvalidInputError as error:
            return HTTPStatus.UNPROCESSABLE_ENTITY, error.to_dict()
        except NotFoundError as error:
            return HTTPStatus.NOT_FOUND, error.to_dict()
        except RefusedError as error:  # the domain said no: the caller can act on it
            return HTTPStatus.CONFLICT, error.to_dict()
        except ConflictError as error:  # other writers were faster: try again
            return HTTPStatus.SERVICE_UNAVAILABLE, error.to_dict()
        except FaultError as error:
            status = HTTPStatus.SERVICE_UNAVAILABLE if error.retryable else HTTPStatus.INTERNAL_SERVER_ERROR
            return status, error.to_dict()
        return HTTPStatus.NOT_FOUND, {"code": "not_found"}

    def _reserve(self, asked: dict[str, Any]) -> Answer:
        hold = self._inventory.reserve(
            asked["product"], STORE, asked["quantity"], ttl=HOLD, reservation_id=asked["order"]
        )
        if hold.state != "OPEN":  # made earlier, and closed since: another buyer may have the units
            status = HTTPStatus.CONFLICT
        else:
            status = HTTPStatus.OK if hold.replayed else HTTPStatus.CREATED
        return status, {"reservation": str(hold.ref), **hold.to_dict()}

    def _commit(self, asked: dict[str, Any]) -> Answer:
        hold = asked["reservation"]
        return HTTPStatus.OK, self._inventory.commit(hold, command_id=f"commit/{hold}").to_dict()
