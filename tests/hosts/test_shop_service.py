"""The shop service of the docs over HTTP: what a shop does with it, and what it answers to requests that are wrong."""

import json
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.hosts.shop_server import shop_server

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with shop_server(tmp_path_factory.mktemp("shop")) as started:
        yield started


@pytest.fixture
def client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=60) as opened:
        yield opened


@pytest.fixture
def shelf(request: pytest.FixtureRequest) -> str:
    """The path of an inventory that no other test uses."""
    return f"/products/{request.node.name.replace('[', '-').replace(']', '')}/stores/berlin"


def post(client: httpx.Client, path: str, key: str, body: Any = None, **headers: str) -> httpx.Response:
    return client.post(path, json=body, headers={"Idempotency-Key": key, **headers})


def told(answer: httpx.Response) -> tuple[int, str]:
    """Return the status and the code of a problem document, whose form is checked."""
    assert answer.headers["Content-Type"] == "application/problem+json", answer.text
    document = answer.json()
    assert set(document) == {"type", "title", "status", "detail", "code", "retryable", "facts"}
    assert document["status"] == answer.status_code
    return answer.status_code, document["code"]


def test_a_buyer_goes_through(client: httpx.Client, shelf: str) -> None:
    received = post(client, f"{shelf}/receipts", "delivery-7", {"quantity": 10})
    assert (received.status_code, received.headers["ETag"], received.json()["on_hand"]) == (200, '"1"', 10)
    wanted: dict[str, Any] = {"quantity": 3, "ttl_seconds": 900, "owner_id": "customer-7"}
    held = post(client, f"{shelf}/reservations", "cart-1", wanted)
    assert (held.status_code, held.headers["ETag"], held.json()["reservation_id"], held.json()["remaining"]) == (201, '"2"', "cart-1", 3)
    again = post(client, f"{shelf}/reservations", "cart-1", wanted)
    assert (again.status_code, again.json()["replayed"]) == (200, True)
    cart = f"{shelf}/reservations/cart-1"
    assert post(client, f"{cart}/extension", "later", {"ttl_seconds": 1_800}).status_code == 200
    assert post(client, f"{cart}/confirmation", "firm", {}).status_code == 200
    assert client.get(cart).json()["expires_at"] is None
    assert post(client, f"{cart}/release", "one back", {"quantity": 1}).status_code == 422  # the key has a blank
    assert post(client, f"{cart}/release", "one-back", {"quantity": 1}).json()["reserved"] == 2
    sold = post(client, f"{cart}/commit", "sold", {})
    assert (sold.json()["on_hand"], sold.json()["replayed"]) == (8, False)
    assert post(client, f"{cart}/commit", "sold", {}).json()["replayed"] is True
    ended = post(client, f"{shelf}/reservations", "cart-1", wanted)
    assert (*told(ended), ended.json()["facts"]["state"]) == (409, "reservation_ended", "COMMITTED")
    level = client.get(shelf)
    assert (level.json()["available"], level.headers["ETag"]) == (8, f'"{level.json()["version"]}"')


def test_a_refusal_says_why(client: httpx.Client, shelf: str) -> None:
    post(client, f"{shelf}/receipts", "delivery-7", {"quantity": 2})
    short = post(client, f"{shelf}/reservations", "cart-1", {"quantity": 3})
    assert (*told(short), short.json()["facts"]["available"], short.json()["facts"]["shortfall"]) == (409, "insufficient_stock", 2, 1)
    assert told(post(client, f"{shelf}/receipts", "delivery-7", {"quantity": 3})) == (409, "command_id_reused")
    assert told(post(client, f"{shelf}/adjustments", "broken", {"delta": -3, "reason": "DAMAGE"})) == (409, "negative_stock")
    assert told(client.get(f"{shelf}/reservations/cart-9")) == (404, "reservation_not_found")


def test_a_version_that_has_passed_is_a_conflict(client: httpx.Client, shelf: str) -> None:
    first = post(client, f"{shelf}/receipts", "delivery-1", {"quantity": 2}, **{"If-Match": '"0"'})
    assert first.headers["ETag"] == '"1"'
    late = post(client, f"{shelf}/receipts", "delivery-2", {"quantity": 2}, **{"If-Match": '"0"'})
    assert (*told(late), late.json()["facts"]["actual"]) == (409, "concurrency", 1)
    assert post(client, f"{shelf}/receipts", "delivery-2", {"quantity": 2}, **{"If-Match": first.headers["ETag"]}).status_code == 200
    assert told(post(client, f"{shelf}/receipts", "delivery-3", {"quantity": 2}, **{"If-Match": "W/x"})) == (422, "invalid_request")


def test_ids_go_in_through_and_out(client: httpx.Client, shelf: str) -> None:
    ids = {"X-Correlation-ID": "order-1001", "traceparent": TRACE}
    answer = post(client, f"{shelf}/receipts", "delivery-7", {"quantity": 2, "reference": "purchase-order:55"}, **ids)
    assert {name: answer.headers[name] for name in ids} == ids
    made = post(client, f"{shelf}/receipts", "delivery-8", {"quantity": 2}).headers["X-Correlation-ID"]
    entries = client.get(f"{shelf}/history").json()["entries"]
    assert [(one["correlation_id"], one["traceparent"], one["reference"]) for one in entries] == [
        ("order-1001", TRACE, "purchase-order:55"),
        (made, None, None),
    ]
    refused = post(client, f"{shelf}/reservations", "cart-1", {"quantity": 9}, **ids)
    assert {name: refused.headers[name] for name in ids} == ids


def test_the_past_is_there(client: httpx.Client, shelf: str) -> None:
    first = post(client, f"{shelf}/receipts", "delivery-1", {"quantity": 5}).json()
    post(client, f"{shelf}/reservations", "cart-1", {"quantity": 2})
    assert post(client, f"{shelf}/counts", "count-1", {"counted": 4, "observed_version": 1}).json()["on_hand"] == 4
    assert told(post(client, f"{shelf}/counts", "count-2", {"counted": 4, "observed_version": 1})) == (409, "count_superseded")
    assert told(post(client, f"{shelf}/counts", "count-3", {"counted": 4, "observed_version": 99})) == (409, "version_not_reached")
    page = client.get(f"{shelf}/history", params={"limit": 2}).json()
    assert [one["type"] for one in page["entries"]] == ["StockAddedEvent", "StockReservedEvent"]
    rest = client.get(f"{shelf}/history", params={"after": page["next_after"]}).json()
    assert ([one["version"] for one in rest["entries"]], rest["next_after"]) == ([3], None)
    assert client.get(f"{shelf}/as-of", params={"time": first["at"]}).json()["on_hand"] == 5
    assert client.get(f"{shelf}/as-of", params={"time": "2001-01-01T00:00:00+02:00"}).json()["version"] == 0
    assert told(client.get(f"{shelf}/as-of", params={"time": "2001-01-01T00:00:00"})) == (422, "invalid_request")
    assert client.get(f"{shelf}/versions/2").json()["reserved"] == 2
    assert told(client.get(f"{shelf}/versions/9")) == (404, "version_not_reached")
    explained = client.get(f"{shelf}/explanation").json()
    assert [hold["reservation_id"] for hold in explained["holds"]] == ["cart-1"]
    assert (explained["level"]["available"], explained["last_count"]["command_id"]) == (2, "count-1")


def test_an_order_is_held_paid_and_shipped(client: httpx.Client, shelf: str) -> None:
    product = shelf.split("/")[2]
    post(client, f"{shelf}/receipts", "delivery-1", {"quantity": 5})
    lines = [{"product_id": product, "store_id": "berlin", "quantity": 3}]
    placed = post(client, "/orders", "order-1", {"lines": lines})
    assert (placed.status_code, placed.json()["status"], placed.headers["ETag"]) == (201, "HELD", f'"{placed.json()["version"]}"')
    short = post(client, "/orders", "order-2", {"lines": lines})
    assert (*told(short), short.json()["facts"]["shortages"][0]["available"]) == (409, "order_rejected", 2)
    assert client.get("/orders/order-2").json()["status"] == "REJECTED"
    assert told(post(client, "/orders/order-1/shipments", "parcel-1", {"lines": None})) == (409, "process_state")
    assert client.post("/orders/order-1/payments", headers={"Idempotency-Key": "payment-1"}).json()["status"] == "FIRM"
    assert told(post(client, "/orders/order-1/shipments", "parcel-1", {"lines": [lines[0] | {"quantity": 4}]})) == (
        409,
        "quantity_exceeds_process",
    )
    assert post(client, "/orders/order-1/shipments", "parcel-1", {"lines": [lines[0] | {"quantity": 1}]}).json()["status"] == "FIRM"
    assert post(client, "/orders/order-1/shipments", "parcel-2", {}).json()["status"] == "DONE"
    assert told(client.get("/orders/order-9")) == (404, "process_not_found")
    assert told(client.post("/orders/order-9/cancellation")) == (404, "process_not_found")
    assert client.get(shelf).json()["on_hand"] == 2


def test_a_transfer_is_drafted_dispatched_and_received(client: httpx.Client, shelf: str) -> None:
    product = shelf.split("/")[2]
    post(client, f"{shelf}/receipts", "delivery-1", {"quantity": 5})
    draft: dict[str, Any] = {"source": "berlin", "destination": "hamburg", "lines": [{"product_id": product, "quantity": 4}]}
    assert post(client, "/transfers", "transfer-1", draft).json()["status"] == "RESERVED"
    assert told(post(client, "/transfers", "transfer-2", draft)) == (409, "transfer_rejected")
    assert told(post(client, "/transfers", "transfer-3", draft | {"destination": "berlin"})) == (422, "invalid_identifier")
    assert client.post("/transfers/transfer-1/dispatch").json()["in_transit"] == {"1": 4}
    for path, key, units in (("receipts", "r1", 2), ("returns", "b1", 1)):
        assert (
            post(client, f"/transfers/transfer-1/{path}", key, {"lines": [{"product_id": product, "quantity": units}]}).status_code == 200
        )
    assert post(client, "/transfers/transfer-1/losses", "l1", {}).json()["status"] == "CLOSED"
    assert client.get(shelf.replace("berlin", "hamburg")).json()["on_hand"] == 2
    assert client.get(shelf).json()["on_hand"] == 2
    assert told(client.post("/transfers/transfer-1/cancellation")) == (409, "process_state")
    assert told(client.get("/transfers/transfer-9")) == (404, "process_not_found")


@pytest.mark.parametrize(
    "path,product,store",
    [
        ("/products/a%2Fb/stores/%E2%82%AC", "a/b", "€"),
        ("/products/a%252Fb/stores/100%25", "a%2Fb", "100%"),
        ("/products/%F0%9F%8D%B5%20tea/stores/%3F%23", "🍵 tea", "?#"),
    ],
    ids=["slash", "percent", "emoji"],
)
def test_ids_may_be_any_text(client: httpx.Client, path: str, product: str, store: str) -> None:
    assert post(client, f"{path}/receipts", "delivery-1", {"quantity": 1}).json()["inventory_id"] == {
        "product_id": product,
        "store_id": store,
    }
    level = client.get(path).json()
    assert (level["product_id"], level["store_id"], level["on_hand"]) == (product, store, 1)


@pytest.mark.parametrize("part", ["%ff", "%00", "%C2%85", "x" * 129, "%ED%A0%80"], ids=["no UTF-8", "null", "control", "long", "surrogate"])
def test_ids_that_are_none_are_refused(client: httpx.Client, part: str) -> None:
    assert told(client.get(f"/products/tea/stores/{part}")) == (422, "invalid_request")
    assert told(client.get(f"/products/{part}/stores")) == (422, "invalid_request")


BROKEN = {
    "broken": b'{"quantity": 1',
    "no JSON": b"<quantity>1</quantity>",
    "no UTF-8": b'{"quantity": 1, "owner_id": "\xff"}',
    "lone surrogate": b'{"quantity": 1, "owner_id": "\\ud800"}',
    "control character": b'{"quantity": 1, "owner_id": "\\u0000"}',
    "deep": b"[" * 100_000,
    "deep, closed": b'{"quantity":' * 10_000 + b"1" + b"}" * 10_000,
    "empty": b"",
    "null": b"null",
    "list": b"[1]",
    "text": b'{"quantity": "1"}',
    "boolean": b'{"quantity": true}',
    "fraction": b'{"quantity": 1.5}',
    "no number": b'{"quantity": NaN}',
    "endless": b'{"quantity": 1e999}',
    "long number": b'{"quantity": ' + b"9" * 5_000 + b"}",
    "zero": b'{"quantity": 0}',
    "large": b'{"quantity": 1000000001}',
    "unknown field": b'{"quantity": 1, "price": 2}',
    "too long a ttl": b'{"quantity": 1, "ttl_seconds": 99999999999}',
}


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN)
def test_a_body_that_is_wrong_is_refused(client: httpx.Client, shelf: str, body: bytes) -> None:
    headers = {"Idempotency-Key": "cart-1", "Content-Type": "application/json"}
    answer = client.post("/products/tea/stores/berlin/reservations", content=body, headers=headers)
    assert told(answer) == (422, "invalid_request")
    assert len(answer.content) < 2_000


def test_a_whole_number_may_be_written_as_a_fraction(client: httpx.Client, shelf: str) -> None:
    headers = {"Idempotency-Key": "delivery-1", "Content-Type": "application/json"}
    assert client.post(f"{shelf}/receipts", content=b'{"quantity": 2.0}', headers=headers).json()["on_hand"] == 2


def test_what_is_not_there_is_a_problem_document(client: httpx.Client) -> None:
    assert told(client.get("/")) == (404, "not_found")
    assert told(client.get("/products/tea/stores/berlin/")) == (404, "not_found")
    assert told(client.get("/docs")) == (404, "not_found")
    wrong = client.delete("/products/tea/stores/berlin")
    assert (*told(wrong), wrong.headers["Allow"]) == (405, "method_not_allowed", "GET")
    assert told(client.post("/orders", json={})) == (422, "invalid_request")  # without a key
    assert told(post(client, "/orders", "k" * 41, {"lines": []})) == (422, "invalid_request")


def test_a_huge_body_is_refused(client: httpx.Client) -> None:
    headers = {"Idempotency-Key": "cart-1", "Content-Type": "application/json"}
    path = "/products/tea/stores/berlin/reservations"
    assert told(client.post(path, content=b" " * 300_000, headers=headers)) == (413, "body_too_large")

    def chunks() -> Iterator[bytes]:
        for _ in range(10):
            yield b" " * 30_000

    assert told(client.post(path, content=chunks(), headers=headers)) == (413, "body_too_large")


def test_a_slow_body_is_ended(url: str) -> None:
    with socket.create_connection(("127.0.0.1", urlsplit(url).port or 0), timeout=60) as slow:
        slow.sendall(b"POST /orders HTTP/1.1\r\nHost: shop\r\nIdempotency-Key: a\r\nContent-Length: 100\r\n\r\n{")
        answer = b"".join(iter(lambda: slow.recv(65_536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408")
    assert json.loads(body)["code"] == "request_timeout"


def test_the_read_model_follows_the_writes(client: httpx.Client, shelf: str) -> None:
    post(client, f"{shelf}/receipts", "delivery-1", {"quantity": 2})
    while not (rows := client.get(shelf.rpartition("/")[0]).json()):
        assert client.get("/health/followers").json()["healthy"]
    assert [(row["store_id"], row["on_hand"]) for row in rows] == [("berlin", 2)]


def test_health_says_who_follows(client: httpx.Client) -> None:
    assert client.get("/health/live").json() == {"status": "alive"}
    assert client.get("/health/ready").json() == {"status": "ready"}
    told_health = client.get("/health/followers").json()
    assert told_health["healthy"] is True
    assert {one["name"] for one in told_health["followers"]} >= {"stock_levels v1", "open_reservations v1"}
    assert all(one["alive"] and one["leader"] and not one["stopped"] for one in told_health["followers"])
