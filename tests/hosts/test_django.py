"""The Django project of the docs: gunicorn, its commands, and absent backends. More kills: ``python -m tests.hosts.inbox``."""

import json
import signal
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from inventory_es import sync
from tests.hosts.django_server import THREADS, WORKERS, django_server, following, manage
from tests.hosts.inbox import kill_rounds
from tests.hosts.sale import SHELF, expected, sell
from tests.hosts.shop_server import PATIENCE, running
from tests.servers.postgresql import free_port


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with django_server(tmp_path_factory.mktemp("site"), *THREADS) as (url, _), httpx.Client(base_url=url, timeout=PATIENCE) as opened:
        yield opened


def post(client: httpx.Client, path: str, key: str, body: object = None) -> httpx.Response:
    return client.post(path, json=body, headers={"Idempotency-Key": key})


def told(answer: httpx.Response) -> tuple[int, str]:
    """Return the status and the code of a problem document, whose form is checked."""
    assert answer.headers["Content-Type"] == "application/problem+json", answer.text
    document = answer.json()
    assert set(document) == {"type", "title", "status", "detail", "code", "retryable", "facts"}
    assert document["status"] == answer.status_code
    return answer.status_code, document["code"]


def wait_for(happened: Callable[[], bool]) -> None:
    give_up = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def test_a_thousand_buyers_meet_a_hundred_units(tmp_path: Path) -> None:
    with django_server(tmp_path, "--workers", "2", *THREADS) as (url, process):
        assert sell(url, 100, 1_000) == expected(100, 1_000)
        level = httpx.get(f"{url}{SHELF}", timeout=PATIENCE).json()
    assert (level["reserved"], level["available"]) == (100, 0)
    assert process.returncode == 0


@pytest.mark.parametrize("kind", ["greenlets", "greenlets, preloaded"])
def test_greenlets_sell_exactly_the_stock(kind: str, tmp_path: Path) -> None:
    environment = {"SHOP_STORE": f"file:{tmp_path / 'stock'}"}
    with django_server(tmp_path, "--workers", "2", *WORKERS[kind], environment=environment) as (url, process):
        assert sell(url, 20, 100) == expected(20, 100)
    assert process.returncode == 0


def test_a_buyer_goes_through(client: httpx.Client) -> None:
    shelf = "/products/grinder/stores/berlin"
    assert post(client, f"{shelf}/receipts", "delivery-1", {"quantity": 5}).json()["on_hand"] == 5
    held = post(client, f"{shelf}/reservations", "cart-1", {"quantity": 2, "ttl_seconds": 60})
    assert (held.status_code, held.json()["remaining"]) == (201, 2)
    again = post(client, f"{shelf}/reservations", "cart-1", {"quantity": 2, "ttl_seconds": 60})
    assert (again.status_code, again.json()["replayed"]) == (200, True)
    assert post(client, f"{shelf}/reservations/cart-1/commit", "sold-1").json()["on_hand"] == 3
    assert post(client, f"{shelf}/reservations/cart-1/commit", "sold-1").json()["replayed"] is True
    assert told(post(client, f"{shelf}/reservations", "cart-1", {"quantity": 2, "ttl_seconds": 60})) == (409, "reservation_ended")
    post(client, f"{shelf}/reservations", "cart-2", {"quantity": 1})
    assert post(client, f"{shelf}/reservations/cart-2/release", "back-2").json()["reserved"] == 0
    assert client.get(shelf).json()["available"] == 3


def test_a_refusal_says_why(client: httpx.Client) -> None:
    shelf = "/products/tea/stores/berlin"
    post(client, f"{shelf}/receipts", "delivery-1", {"quantity": 2})
    short = post(client, f"{shelf}/reservations", "cart-1", {"quantity": 3})
    assert (*told(short), short.json()["facts"]["shortfall"]) == (409, "insufficient_stock", 1)
    assert told(post(client, f"{shelf}/reservations/cart-9/commit", "sold-9")) == (404, "reservation_not_found")
    for quantity in (0, "1", None, True, 1.5, 2**53):
        answer = post(client, f"{shelf}/reservations", "cart-1", {"quantity": quantity})
        assert (answer.status_code, answer.json()["facts"]["name"]) == (422, "quantity")
    assert told(post(client, f"{shelf}/reservations", "k" * 200, {"quantity": 1}))[0] == 422


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[1]", b"\xff", b"[" * 100_000, b'{"quantity": 1, "price": 2}', b'{"quantity": 1, "ttl_seconds": 0}'],
    ids=["empty", "broken", "list", "no UTF-8", "deep", "unknown field", "no time"],
)
def test_a_body_that_is_wrong_is_refused(client: httpx.Client, body: bytes) -> None:
    answer = client.post(f"{SHELF}/reservations", content=body, headers={"Idempotency-Key": "cart-1"})
    assert told(answer) == (422, "invalid_request")


def test_answers_of_django_itself_are_problem_documents(client: httpx.Client) -> None:
    assert told(client.get("/")) == (404, "not_found")
    wrong = client.delete(SHELF)
    assert (*told(wrong), wrong.headers["Allow"]) == (405, "method_not_allowed", "GET")
    assert told(client.get(SHELF, headers={"Host": "elsewhere"})) == (400, "bad_request")
    assert told(client.post(f"{SHELF}/receipts", json={"quantity": 1})) == (422, "invalid_request")  # without a key
    assert told(client.get("/bestsellers")) == (500, "internal_server_error")  # its table is missing: nobody ran the migration
    assert told(client.get("/products/a%2Fb/stores/berlin")) == (404, "not_found")


def test_a_store_that_is_away_is_no_fault_of_the_request(tmp_path: Path) -> None:
    port = free_port()
    environment = {"SHOP_STORE": f"postgresql://shop@127.0.0.1:{port}/shop"}
    with django_server(tmp_path, *THREADS, environment=environment, path="/health/live") as (url, _):
        for answer in (
            httpx.get(f"{url}/health/ready", timeout=PATIENCE),
            httpx.post(f"{url}{SHELF}/reservations", json={"quantity": 1}, headers={"Idempotency-Key": "c"}, timeout=PATIENCE),
        ):
            assert (told(answer)[0], answer.json()["retryable"]) == (503, True)
            assert int(answer.headers["Retry-After"]) >= 1
            assert str(port) not in answer.text


def test_a_request_in_hand_is_answered_before_the_server_stops(tmp_path: Path) -> None:
    body = b'{"quantity": 7}'
    head = f"POST {SHELF}/receipts HTTP/1.1\r\nHost: localhost\r\nIdempotency-Key: d-1\r\nContent-Length: {len(body)}\r\n\r\n"
    with django_server(tmp_path, *THREADS) as (url, process):
        with socket.create_connection(("127.0.0.1", urlsplit(url).port or 0), timeout=PATIENCE) as slow:
            slow.sendall(head.encode() + body[:5])
            httpx.get(f"{url}/health/live", timeout=PATIENCE)  # the worker had the first request before this one
            process.send_signal(signal.SIGTERM)
            slow.sendall(body[5:])
            answer = b"".join(iter(lambda: slow.recv(65_536), b""))
        assert process.wait(PATIENCE) == 0
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["on_hand"] == 7
    assert "Traceback" not in (tmp_path / "web.log").read_text(encoding="utf-8")


def test_one_command_follows_waits_for_the_database_and_stops_when_it_is_told(tmp_path: Path) -> None:
    with sync.open_inventory(f"sqlite:{tmp_path / 'shop.db'}", read_models=f"sqlite:{tmp_path / 'shop-queries.db'}") as inventory:
        inventory.add_stock("tea", "berlin", 5)
        inventory.commit(inventory.reserve("tea", "berlin", 3, ttl=None, reservation_id="cart-1"))
        log = tmp_path / "follow-all.log"
        with following(tmp_path) as process:
            wait_for(lambda: "sales_wait_for_the_database" in log.read_text(encoding="utf-8"))
            manage(tmp_path, "migrate")

            def is_counted() -> bool:
                with closing(sqlite3.connect(tmp_path / "shop-site.db")) as site:
                    return site.execute("SELECT units FROM shop_django_productsales").fetchall() == [(3,)]

            wait_for(is_counted)
            wait_for(lambda: all(one.owner is not None and one.lag_events == 0 for one in inventory.followers.status()))
        assert process.returncode == 0
        assert {one.owner for one in inventory.followers.status()} == {None}, "its leases are released"


def test_each_sale_is_counted_once_although_the_process_is_killed(tmp_path: Path) -> None:
    sold, sales, events = kill_rounds(tmp_path, 4)
    assert (sales, events) == ({"espresso-1kg": sold}, 5)


def test_a_task_whose_child_is_killed_reserves_once(tmp_path: Path) -> None:
    log = tmp_path / "tasks.log"
    with running(tmp_path, "tasks", "tests.hosts.celery_worker") as process:
        wait_for(lambda: process.poll() is not None or log.read_text(encoding="utf-8").count("succeeded in") == 3)
    assert process.returncode == 0
    assert log.read_text(encoding="utf-8").count("WorkerLostError") >= 2, "a child dies after each of the two reservations"
    with sync.open_inventory(f"sqlite:{tmp_path / 'shop.db'}") as inventory:
        level = inventory.stock("espresso-1kg", "berlin")
        history = list(inventory.history("espresso-1kg", "berlin"))
    assert (level.on_hand, level.reserved) == (10, 4)
    assert [type(entry.event).__name__ for entry in history] == ["StockAddedEvent", "StockReservedEvent", "StockReservedEvent"]
