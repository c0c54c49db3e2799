"""The gateway of the docs: nginx before two replicas of the shop service, which share a store."""

import json
import re
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import jwt
import pytest

from docs.examples.shop_service.problems import MEDIA_TYPE, Problem, ProblemDetails
from docs.examples.shop_service.tokens import AUDIENCE, SECRET, claims_of
from tests.hosts.sale import SHELF, BrokenAnswerError, body_of, buy, exchange, expected
from tests.hosts.shop_server import PATIENCE, shop_process, wait_until_ready
from tests.servers.nginx import NGINX, WIDE, Gateway, gateway
from tests.servers.postgresql import free_port

pytestmark = pytest.mark.skipif(NGINX is None, reason="apt-get install nginx-light")

WEB, DEPOT, OTHER = "a" * 64, "b" * 64, "c" * 64
KEYS = {WEB: "web read sell", DEPOT: "depot read stock"}
SIGNED_WITH = "d" * 64


class Replica:
    """A process of the service on a port of its own, which may be killed and started again."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.port = free_port()
        self._folder = folder
        self._environment = environment

    @contextmanager
    def run(self) -> Iterator[subprocess.Popen[bytes]]:
        with shop_process(self._folder, "api", "--port", str(self.port), environment=self._environment) as process:
            yield process

    def wait(self, process: subprocess.Popen[bytes]) -> None:
        wait_until_ready(f"http://127.0.0.1:{self.port}", process, self._folder / "api.log")


@contextmanager
def shop(folder: Path, store: str) -> Iterator[list[tuple[Replica, subprocess.Popen[bytes]]]]:
    environment = {"SHOP_STORE": f"{store}:{folder / 'stock'}", "SHOP_GATEWAY": "yes", SECRET: SIGNED_WITH}
    with ExitStack() as running:
        found = [
            (replica, running.enter_context(replica.run())) for replica in (Replica(folder, environment), Replica(folder, environment))
        ]
        for replica, process in found:
            replica.wait(process)
        yield found


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[int]]:
    """The ports of two replicas that no test ends."""
    with shop(tmp_path_factory.mktemp("shop"), "file") as found:
        yield [replica.port for replica, _ in found]


@pytest.fixture
def one(replicas: Sequence[int], tmp_path: Path) -> Iterator[Gateway]:
    with gateway(tmp_path, replicas, KEYS, WIDE) as running:
        yield running


def post(url: str, path: str, key: str, body: Mapping[str, Any], **headers: str) -> httpx.Response:
    return httpx.post(f"{url}{path}", json=body, headers={"Idempotency-Key": key, **headers}, timeout=PATIENCE, verify=False)


def get(url: str, path: str, **headers: str) -> httpx.Response:
    return httpx.get(f"{url}{path}", headers=headers, timeout=PATIENCE, verify=False)  # no TLS: its context takes longer than the request


def by_key(key: str) -> dict[str, str]:
    return {"X-Api-Key": key}


def by_token(secret: str = SIGNED_WITH, algorithm: str = "HS256", **claims: object) -> dict[str, str]:
    whole = {"sub": "app", "aud": AUDIENCE, "scope": "read sell", "exp": int(time.time()) + 600} | claims
    return {"Authorization": f"Bearer {jwt.encode({name: said for name, said in whole.items() if said is not None}, secret, algorithm)}"}


def problem(answer: httpx.Response, status: int, code: str) -> ProblemDetails:
    """Require that an answer is a problem document in the form of the service, with the ids that every answer has."""
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, MEDIA_TYPE), answer.text
    found = ProblemDetails.model_validate(answer.json())
    assert (found.status, found.code, set(answer.json())) == (status, code, set(ProblemDetails.model_fields))
    assert answer.headers["X-Correlation-ID"]
    assert found.retryable == (status in {429, 503}) == ("Retry-After" in answer.headers)
    assert int(answer.headers.get("Retry-After", 1)) >= 1
    return found


# ── who ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_key_does_what_its_scopes_say(one: Gateway) -> None:
    assert get(one.url, SHELF, **by_key(WEB)).status_code == 200
    assert post(one.url, f"{SHELF}/receipts", "delivery-keys", {"quantity": 9}, **by_key(DEPOT)).status_code == 200
    assert post(one.url, f"{SHELF}/reservations", "cart-keys", {"quantity": 1}, **by_key(WEB)).status_code == 201
    missing = problem(post(one.url, f"{SHELF}/receipts", "delivery-no", {"quantity": 9}, **by_key(WEB)), 403, "missing_scope")
    assert "'stock'" in missing.detail
    problem(post(one.url, f"{SHELF}/reservations", "cart-no", {"quantity": 1}, **by_key(DEPOT)), 403, "missing_scope")
    entries = get(one.url, f"{SHELF}/history", **by_key(WEB)).json()["entries"]
    assert {entry["command_id"]: entry["actor_id"] for entry in entries}["delivery-keys"] == "depot"
    assert "delivery-no" not in {entry["command_id"] for entry in entries}


@pytest.mark.parametrize("headers", [{}, by_key(""), by_key(OTHER), by_key(WEB[:-1]), by_key("web"), by_key("web read sell")], ids=repr)
def test_a_key_that_nobody_has_is_refused(headers: Mapping[str, str], one: Gateway) -> None:
    assert problem(get(one.url, SHELF, **headers), 401, "unauthorized").facts == {}
    assert get(one.url, SHELF, **headers).headers["WWW-Authenticate"] == "Bearer"
    # a valid token makes a wrong key no better
    assert get(one.url, SHELF, **headers, **by_token()).status_code == (401 if headers.get("X-Api-Key") else 200)


@pytest.mark.parametrize(
    "method,path,needs",
    [
        ("POST", f"{SHELF}/%72eceipts", "stock"),
        ("POST", f"{SHELF}/receipts?x=/reservations", "stock"),
        ("POST", f"{SHELF}/reservations/cart-1/unheard", "stock"),
        ("POST", f"{SHELF}/%72eservations", "stock"),
        ("DELETE", SHELF, "stock"),
        ("POST", "/transfers", "stock"),
        ("POST", "/orders/order-1/resolution", "stock"),
        ("POST", "/orders/order-1/payments", "sell"),
        ("POST", f"{SHELF}/reservations/cart-1/commit?x=1", "sell"),
    ],
)
def test_what_has_no_line_needs_the_scope_of_the_few(method: str, path: str, needs: str, one: Gateway) -> None:
    owner = DEPOT if needs == "sell" else WEB
    answer = httpx.request(method, f"{one.url}{path}", headers={**by_key(owner), "Idempotency-Key": "k"}, timeout=PATIENCE)
    assert f"'{needs}'" in problem(answer, 403, "missing_scope").detail


def test_a_revoked_key_is_refused_after_the_reload(one: Gateway) -> None:
    assert get(one.url, SHELF, **by_key(WEB)).status_code == 200
    one.reload_keys({DEPOT: KEYS[DEPOT]})
    revoked = time.monotonic()
    while (answer := get(one.url, SHELF, **by_key(WEB))).status_code == 200:  # the workers before go on for 100 ms
        assert time.monotonic() < revoked + PATIENCE, one.log()
    problem(answer, 401, "unauthorized")
    assert get(one.url, SHELF, **by_key(DEPOT)).status_code == 200


def test_a_token_does_what_its_scopes_say(one: Gateway) -> None:
    made = post(one.url, "/products/mug/stores/berlin/receipts", "delivery-1", {"quantity": 9}, **by_token(scope="stock"))
    assert made.status_code == 200
    sold = post(one.url, "/products/mug/stores/berlin/reservations", "cart-1", {"quantity": 1}, **by_token(), **{"X-Client": "root"})
    assert sold.status_code == 201
    refused = post(one.url, "/products/mug/stores/berlin/receipts", "delivery-2", {"quantity": 9}, **by_token())
    assert "'stock'" in problem(refused, 403, "missing_scope").detail
    entries = get(one.url, "/products/mug/stores/berlin/history", **by_token()).json()["entries"]
    assert [entry["actor_id"] for entry in entries] == ["app", "app"]


@pytest.mark.parametrize(
    "headers",
    [
        by_token("e" * 64),
        by_token("", "none"),
        by_token(algorithm="HS512"),
        by_token(exp=int(time.time()) - 1),
        by_token(exp=None),
        by_token(sub=None),
        by_token(scope=None),
        by_token(aud="another-service"),
        by_token(sub="two\nlines"),
        {"Authorization": "Bearer x"},
        {"Authorization": "Basic YTpi"},
    ],
    ids=["secret", "unsigned", "algorithm", "over", "endless", "nobody", "scopeless", "audience", "name", "no token", "another scheme"],
)
def test_a_token_that_is_not_valid_is_refused(headers: Mapping[str, str], one: Gateway) -> None:
    assert problem(get(one.url, SHELF, **headers), 401, "unauthorized").facts == {}


def test_without_a_secret_no_token_is_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SECRET, raising=False)
    with pytest.raises(Problem) as refused:
        claims_of(by_token()["Authorization"])
    assert refused.value.status_code == 401
    monkeypatch.setenv(SECRET, SIGNED_WITH)
    assert claims_of(by_token()["Authorization"])["sub"] == "app"


# ── how often ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

FLOOD, BURST = 60, 10


async def flood(url: str, keys: Sequence[str], answers: list[tuple[int, bytes]]) -> None:
    """Send many requests at once, with these API keys one after the other."""

    async def ask(key: str) -> None:
        received = await exchange(url, f"GET {SHELF} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\nX-Api-Key: {key}\r\n\r\n".encode())
        answers.append((int(received.split(b" ")[1]), received))

    async with anyio.create_task_group() as tasks:
        for number in range(FLOOD):
            tasks.start_soon(ask, keys[number % len(keys)])


@pytest.mark.parametrize(
    "zone,other,keys,allowed",
    [("callers", 200, [WEB], 200), ("addresses", 400, [WEB, DEPOT], 200), ("addresses", 400, ["f" * 64, "e"], 401)],
)
def test_a_flood_is_refused(zone: str, other: int, keys: list[str], allowed: int, replicas: Sequence[int], tmp_path: Path) -> None:
    rate = {"callers": "rate=100r/s", "addresses": "rate=200r/s"}[zone]
    narrow = {**WIDE, rate: "rate=1r/s", f"burst={other}": f"burst={BURST}"}
    with gateway(tmp_path, replicas, KEYS, narrow) as limited:
        answers: list[tuple[int, bytes]] = []
        anyio.run(flood, limited.url, keys, answers)
        if zone == "callers":  # another client is not held up by it
            assert get(limited.url, SHELF, **by_key(DEPOT)).status_code == 200
    statuses = Counter(status for status, _ in answers)
    assert set(statuses) == {allowed, 429}
    assert statuses[allowed] > BURST
    for status, received in answers:
        if status == 429:
            assert b"Retry-After: 1\r\n" in received
            assert json.loads(body_of(received))["code"] == "too_many_requests"


# ── which replica ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def replicas_by_path(running: Gateway, count: int) -> dict[str, set[str]]:
    """Return, by path, which replicas answered, once the log has as many lines."""
    give_up = time.monotonic() + PATIENCE
    while len(lines := (running.folder / "access.log").read_text().splitlines()) < count:
        assert time.monotonic() < give_up, lines
    found: dict[str, set[str]] = {}
    for line in map(json.loads, lines):
        found.setdefault(line["request"].split(" ")[1], set()).add(line["replica"])
    return found


def test_a_product_meets_one_replica(one: Gateway) -> None:
    paths = [f"/products/product-{number}/stores/{store}" for number in range(24) for store in ("berlin", "hamburg")]
    for path in [*paths, *paths[:8]]:
        assert get(one.url, path, **by_key(WEB)).status_code == 200
    found = replicas_by_path(one, len(paths) + 8)
    assert all(found[path] == found[path.replace("berlin", "hamburg")] for path in paths)
    assert {len(some) for some in found.values()} == {1}
    assert len(set[str]().union(*found.values())) == 2


@pytest.mark.parametrize("product", ["a/b", "a%2Fb", "a b", "€", "a?b", "a;b&c=d", "a//b"], ids=repr)
def test_an_id_goes_through_as_it_is(product: str, one: Gateway) -> None:
    path = f"/products/{httpx.QueryParams({'': product})}".replace("=", "", 1).replace("+", "%20")
    made = post(one.url, f"{path}/stores/berlin/receipts", f"delivery-{product.encode().hex()}", {"quantity": 2}, **by_key(DEPOT))
    assert (made.status_code, made.json()["inventory_id"]["product_id"]) == (200, product)
    level = get(one.url, f"{path}/stores/berlin", **by_key(WEB))
    assert (level.json()["product_id"], level.json()["on_hand"]) == (product, 2)


def test_ids_of_the_request_go_through(one: Gateway) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    ids = {"X-Correlation-ID": "order-1001", "traceparent": trace, "If-Match": '"0"'}
    made = post(one.url, "/products/pot/stores/berlin/receipts", "delivery-1", {"quantity": 2}, **by_key(DEPOT), **ids)
    assert (made.status_code, made.headers["ETag"], made.headers["X-Correlation-ID"], made.headers["traceparent"]) == (
        200,
        '"1"',
        "order-1001",
        trace,
    )
    refused = get(one.url, SHELF, **ids)
    problem(refused, 401, "unauthorized")
    assert refused.headers["X-Correlation-ID"] == "order-1001"


# ── problems of its own ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "path", ["/", "/health/ready", "/%68ealth/live", "/products/../health/live", "/token", "//token", "/_auth", "/_problem"]
)
def test_what_is_not_for_clients_is_not_there(path: str, one: Gateway) -> None:
    problem(get(one.url, path, **by_key(WEB)), 404, "not_found")


GET = f"GET {SHELF} HTTP/1.1\r\nHost: shop\r\nX-Api-Key: {WEB}\r\n"
BUY = f"POST {SHELF}/reservations HTTP/1.1\r\nHost: shop\r\nX-Api-Key: {WEB}\r\n"


@pytest.mark.parametrize(
    "request_text,status,code",
    [
        ("nonsense\r\n\r\n", 400, "bad_request"),
        ("GET / HTTP/1.1\r\n\r\n", 400, "bad_request"),
        ("GET /products/%00 HTTP/1.1\r\nHost: shop\r\n\r\n", 400, "bad_request"),
        ("GET / HTTP/3.1\r\nHost: shop\r\n\r\n", 400, "bad_request"),
        (f"{BUY}Transfer-Encoding: zip\r\n\r\n", 400, "bad_request"),
        ("TRACE / HTTP/1.1\r\nHost: shop\r\n\r\n", 405, "method_not_allowed"),
        (f"{BUY}Content-Length: 300000\r\n\r\n", 413, "body_too_large"),
        (f"{BUY}Transfer-Encoding: chunked\r\n\r\n50000\r\n{'x' * 0x50000}\r\n0\r\n\r\n", 413, "body_too_large"),
        (f"GET /{'x' * 9_000} HTTP/1.1\r\nHost: shop\r\n\r\n", 414, "uri_too_long"),
        (f"{GET}X-Long: {'x' * 9_000}\r\n\r\n", 431, "headers_too_large"),
    ],
    ids=["nonsense", "host", "nul", "version", "encoding", "method", "declared", "chunked", "path", "header"],
)
def test_a_request_that_nginx_refuses_gets_a_problem_document(request_text: str, status: int, code: str, one: Gateway) -> None:
    with socket.create_connection(("127.0.0.1", one.port), timeout=PATIENCE) as client:
        client.sendall(request_text.encode())
        with client.makefile("rb") as file:
            head = b"".join(iter(file.readline, b"\r\n"))
            length = re.search(rb"Content-Length: (\d+)", head)
            assert length is not None, head
            body = file.read(int(length[1]))  # nginx goes on reading what the client has declared
    headers = dict(line.split(": ", 1) for line in head.decode().splitlines()[1:])
    problem(httpx.Response(int(head.split(b" ")[1]), headers=headers, content=body), status, code)


@pytest.mark.parametrize("begun", ["GET /prod", f"{BUY}Content-Length: 14\r\n\r\n{{"], ids=["headers", "body"])
def test_a_client_that_is_slow_is_left(begun: str, replicas: Sequence[int], tmp_path: Path) -> None:
    short = {**WIDE, "client_header_timeout 5s": "client_header_timeout 1s", "client_body_timeout 5s": "client_body_timeout 1s"}
    with gateway(tmp_path, replicas, KEYS, short) as running:
        with socket.create_connection(("127.0.0.1", running.port), timeout=PATIENCE) as client:
            client.sendall(begun.encode())
            assert client.recv(1_000) == b""
        assert get(running.url, SHELF, **by_key(WEB)).status_code == 200


# ── a replica that dies ───────────────────────────────────────────────────────────────────────────────────────────────────────────

UNITS, BUYERS = 40, 160


async def sell_and_kill(url: str, victim: subprocess.Popen[bytes], answers: Counter[tuple[int, str]]) -> None:
    """Send all buyers, and kill a replica when the first quarter of them has an answer.

    A replica may die between the head and the body of an answer, which nginx has passed on by then. Such a buyer sends the request again.
    """
    limit = anyio.CapacityLimiter(40)

    async def come(buyer: int) -> None:
        try:
            await buy(url, buyer, answers, limit, WEB)
        except BrokenAnswerError:
            assert answers.total() >= BUYERS // 4, "nobody had died"
            await buy(url, buyer, answers, limit, WEB)
        if answers.total() == BUYERS // 4:
            victim.kill()

    async with anyio.create_task_group() as tasks:
        for buyer in range(BUYERS):
            tasks.start_soon(come, buyer)


async def buy_again(url: str, answers: Counter[tuple[int, str]]) -> None:
    """Send every buyer's request again, with the key that it had."""
    limit = anyio.CapacityLimiter(40)
    async with anyio.create_task_group() as tasks:
        for buyer in range(BUYERS):
            tasks.start_soon(buy, url, buyer, answers, limit, WEB)


def test_replicas_die_in_mid_sale_and_the_stock_is_sold_once(tmp_path: Path) -> None:
    with shop(tmp_path, "sqlite") as found, gateway(tmp_path, [replica.port for replica, _ in found], KEYS, WIDE) as running:
        stocked = post(running.url, f"{SHELF}/receipts", "delivery-1", {"quantity": UNITS}, **by_key(DEPOT))
        assert stocked.status_code == 200
        serving = next(iter(replicas_by_path(running, 1).values())).pop()
        (_, victim), (survivor, last) = sorted(found, key=lambda one: not serving.endswith(f":{one[0].port}"))

        answers: Counter[tuple[int, str]] = Counter()
        anyio.run(sell_and_kill, running.url, victim, answers)
        victim.wait(PATIENCE)
        assert victim.returncode == -signal.SIGKILL
        # What the replica had executed before it died is repeated, by the gateway or the buyer: the answer is 200 then.
        sold = answers[201, "OPEN"] + answers[200, "OPEN"]
        assert (sold, answers[409, "insufficient_stock"], answers.total()) == (UNITS, BUYERS - UNITS, BUYERS), answers

        again: Counter[tuple[int, str]] = Counter()
        anyio.run(buy_again, running.url, again)
        assert again == {(200, "OPEN"): UNITS, (409, "insufficient_stock"): BUYERS - UNITS}
        level = get(running.url, SHELF, **by_key(WEB)).json()
        assert (level["on_hand"], level["reserved"], level["available"]) == (UNITS, UNITS, 0)

        last.kill()
        last.wait(PATIENCE)
        for answer in (
            get(running.url, SHELF, **by_key(WEB)),
            get(running.url, SHELF, **by_token()),
            post(running.url, f"{SHELF}/receipts", "delivery-2", {"quantity": 1}, **by_key(DEPOT)),
        ):
            problem(answer, 503, "unavailable")
        assert get(running.url, SHELF, **by_key(OTHER)).status_code == 401  # needs no replica

        with survivor.run() as started:
            survivor.wait(started)
            give_up = time.monotonic() + PATIENCE
            while (back := post(running.url, f"{SHELF}/receipts", "delivery-2", {"quantity": 1}, **by_key(DEPOT))).status_code == 503:
                assert time.monotonic() < give_up, running.log()
            assert (back.status_code, back.json()["on_hand"]) == (200, UNITS + 1)
            assert get(running.url, SHELF, **by_token()).json()["on_hand"] == UNITS + 1


def test_a_sale_without_a_death_has_the_answers_of_the_service(one: Gateway) -> None:
    url, answers = one.url, Counter[tuple[int, str]]()
    before = get(url, SHELF, **by_key(WEB)).json()["available"]
    post(url, f"{SHELF}/receipts", "delivery-sale", {"quantity": UNITS}, **by_key(DEPOT))

    async def rush() -> None:
        limit = anyio.CapacityLimiter(40)
        async with anyio.create_task_group() as tasks:
            for buyer in range(BUYERS):
                tasks.start_soon(buy, url, f"sale-{buyer}", answers, limit, WEB)

    anyio.run(rush)
    assert answers == expected(UNITS + before, BUYERS)
