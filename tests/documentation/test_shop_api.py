"""The host application of the docs, called by 32 threads as a web server would."""

import io
import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest

from docs.examples.shop_api import ShopApi
from inventory_es.sync import InventoryService, open_inventory


@pytest.fixture
def inventory(tmp_path: Path) -> Iterator[InventoryService]:
    with open_inventory(tmp_path / "stock") as opened:
        opened.add_stock("espresso-1kg", "berlin", 10)
        yield opened


def call(api: ShopApi, method: str, path: str, body: object = None) -> tuple[int, dict[str, Any]]:
    sent = json.dumps(body).encode()
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "CONTENT_LENGTH": str(len(sent)),
        "wsgi.input": io.BytesIO(sent),
    }
    setup_testing_defaults(environ)
    statuses: list[str] = []
    answer = b"".join(api(environ, lambda status, headers, error=None: statuses.append(status)))  # type: ignore[arg-type]  # no write()
    return int(statuses[0].split()[0]), json.loads(answer)


def reserve(api: ShopApi, order: str, quantity: int = 1) -> tuple[int, dict[str, Any]]:
    return call(api, "POST", "/reservations", {"product": "espresso-1kg", "quantity": quantity, "order": order})


def test_an_order_goes_through(inventory: InventoryService) -> None:
    api = ShopApi(inventory)
    status, hold = reserve(api, "order-1", 3)
    assert (status, hold["reservation"]) == (201, "espresso-1kg/berlin/order-1")
    assert reserve(api, "order-1", 3)[0] == 200
    assert call(api, "POST", "/commits", {"reservation": hold["reservation"]})[0] == 200
    assert call(api, "POST", "/commits", {"reservation": hold["reservation"]})[1]["replayed"] is True
    status, level = call(api, "GET", "/stock/espresso-1kg")
    assert (status, level["on_hand"], level["reserved"]) == (200, 7, 0)


def test_an_order_whose_hold_has_ended_is_a_conflict(inventory: InventoryService) -> None:
    api = ShopApi(inventory)
    _, hold = reserve(api, "order-1", 3)
    inventory.release(hold["reservation"])
    status, again = reserve(api, "order-1", 3)
    assert (status, again["state"], again["remaining"]) == (409, "RELEASED", 0)


def test_a_refusal_tells_why(inventory: InventoryService) -> None:
    status, problem = reserve(ShopApi(inventory), "order-1", 11)
    assert (status, problem["code"], problem["available"]) == (409, "insufficient_stock", 10)
    assert call(ShopApi(inventory), "GET", "/elsewhere")[0] == 404


def test_each_kind_of_rejection_has_its_status(inventory: InventoryService) -> None:
    api = ShopApi(inventory)
    for quantity in (0, "1", None, 2**53):
        status, problem = call(api, "POST", "/reservations", {"product": "espresso-1kg", "quantity": quantity, "order": "order-1"})
        assert (status, problem["name"]) == (422, "quantity")
    assert call(api, "POST", "/commits", {"reservation": "espresso-1kg/berlin/order-9"})[0] == 404
    for wrong in ("order-9", None, 9, ["order-9"]):
        assert call(api, "POST", "/commits", {"reservation": wrong})[0] == 422


def test_a_closed_store_is_a_fault(inventory: InventoryService) -> None:
    inventory.close()
    assert reserve(ShopApi(inventory), "order-1")[0] == 500


def test_thirty_two_threads_sell_ten_units(inventory: InventoryService) -> None:
    api = ShopApi(inventory)
    with ThreadPoolExecutor(32) as threads:
        answers = Counter(status for status, _ in threads.map(lambda buyer: reserve(api, f"buyer-{buyer}"), range(320)))
    assert answers == {201: 10, 409: 310}
    assert inventory.stock("espresso-1kg", "berlin").available == 0
