"""The shop service in several processes, and with a store that goes away."""

import time
from pathlib import Path

import httpx

from tests.hosts.shop_server import PATIENCE, shop_process, shop_server
from tests.servers.postgresql import server
from tests.servers.valkey import DURABLE, running_valkey

SHELF = "/products/espresso-1kg/stores/berlin"


def test_followers_and_relay_run_in_a_process_of_their_own(tmp_path: Path) -> None:
    with running_valkey(DURABLE) as bus:
        places = {"SHOP_BUS": bus.url}
        with shop_server(tmp_path, "api", environment=places) as url:
            before = httpx.get(f"{url}/health/followers").json()
            assert (before["healthy"], {one["alive"] for one in before["followers"]}) == (False, {False})
            made = httpx.post(f"{url}{SHELF}/receipts", json={"quantity": 2}, headers={"Idempotency-Key": "delivery-1"})
            assert made.status_code == 200
            assert httpx.get(f"{url}/health/ready").status_code == 200
            with shop_process(tmp_path, "followers", environment=places) as followers:
                found: dict[str, dict[str, object]] = {}
                give_up = time.monotonic() + PATIENCE
                while not found or not all(one["alive"] and one["lag_events"] == 0 for one in found.values()):
                    found = {one["name"]: one for one in httpx.get(f"{url}/health/followers").json()["followers"]}
                    assert time.monotonic() < give_up, found
                assert "relay v1" in found
            assert followers.returncode == 0
            assert [row["on_hand"] for row in httpx.get(f"{url}/products/espresso-1kg/stores").json()] == [2]
            after = httpx.get(f"{url}/health/followers").json()
            assert {one["alive"] for one in after["followers"]} == {False}


def test_a_store_that_is_away_is_no_fault_of_the_request(tmp_path: Path) -> None:
    with server() as away, shop_server(tmp_path, "api", environment={"SHOP_STORE": away.url}) as url:
        away.stop()
        for answer in (
            httpx.get(f"{url}{SHELF}", timeout=PATIENCE),
            httpx.post(f"{url}{SHELF}/receipts", json={"quantity": 2}, headers={"Idempotency-Key": "d"}, timeout=PATIENCE),
            httpx.get(f"{url}/health/ready", timeout=PATIENCE),
        ):
            assert (answer.status_code, answer.json()["retryable"]) == (503, True), answer.text
            assert int(answer.headers["Retry-After"]) >= 1
            assert str(away.port) not in answer.text
        assert httpx.get(f"{url}/health/live").status_code == 200
        away.start()
        again = httpx.post(f"{url}{SHELF}/receipts", json={"quantity": 2}, headers={"Idempotency-Key": "d"}, timeout=PATIENCE)
        assert again.json()["on_hand"] == 2
