"""The problem documents of the shop service: a status for every error, facts for refusals, no internals of faults."""

import importlib
import json
import pkgutil
from collections.abc import Iterator
from datetime import timedelta

import anyio
import httpx
import pytest
from fastapi import FastAPI
from starlette.types import Message, Scope

import inventory_es
from docs.examples.shop_service.app import create_app
from docs.examples.shop_service.edge import Edge, decoded_path
from docs.examples.shop_service.problems import MEDIA_TYPE, STATUS, Problem
from docs.examples.shop_service.run import lifespan
from inventory_es import ConflictError, FaultError, InventoryError, RejectionError, StreamId, errors

BRANCHES = {InventoryError, RejectionError, FaultError}
"""Classes that nothing raises: only their subclasses have statuses."""


def all_errors() -> Iterator[type[InventoryError]]:
    """Yield every error class of the package, also of modules that nobody has imported yet."""
    for module in pkgutil.walk_packages(inventory_es.__path__, "inventory_es."):
        if not module.name.startswith(("inventory_es.testing", "inventory_es.cli")) and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found: list[type[InventoryError]] = [InventoryError]
    for kind in found:
        found += [one for one in kind.__subclasses__() if one not in found and one.__module__.startswith("inventory_es.")]
    yield from (kind for kind in found if kind not in BRANCHES)


def test_every_error_has_a_row() -> None:
    kinds = list(all_errors())
    assert {kind.__name__ for kind in kinds} >= set(errors.__all__) - {kind.__name__ for kind in BRANCHES}
    assert [kind.__name__ for kind in kinds if not set(kind.__mro__) & set(STATUS)] == []


def test_every_row_is_of_an_error_and_the_statuses_are_those_that_are_promised() -> None:
    assert set(STATUS) <= set(all_errors())
    statuses = {kind: next(STATUS[one] for one in kind.__mro__ if one in STATUS) for kind in all_errors()}
    for kind, status in statuses.items():
        if issubclass(kind, RejectionError | ConflictError):
            assert status == (422 if issubclass(kind, errors.InvalidInputError) else 404 if issubclass(kind, errors.NotFoundError) else 409)
        else:
            assert status == (503 if kind.retryable else 500), kind


def test_a_refusal_tells_its_facts() -> None:
    error = errors.InsufficientStockError(inventory=StreamId("inventory", "tea", "berlin"), requested=3, available=2)
    assert Problem.of(error).document == {
        "type": "about:blank",
        "title": "Conflict",
        "status": 409,
        "detail": "inventory-tea-berlin has 2 available, 3 were asked for: 1 short",
        "code": "insufficient_stock",
        "retryable": False,
        "facts": {"inventory": "inventory-tea-berlin", "requested": 3, "available": 2, "keep_available": 0, "shortfall": 1},
    }


@pytest.mark.parametrize(
    "error,status,wait",
    [
        (errors.StoreUnavailableError(store="secret", reason="secret", retry_after=2.2), 503, "3"),
        (errors.StoreUnavailableError(store="secret", reason="secret", remedy="secret"), 503, "1"),
        (errors.AppendOutcomeUnknownError(store="secret", reason="secret", command="secret"), 503, "1"),
        (errors.ClockJumpError(jump=timedelta(1), max_clock_jump=timedelta(0)), 503, "1"),
        (errors.CorruptStoreError(store="secret", place="secret", problem="secret"), 500, None),
        (errors.HostFunctionError(role="secret", function="secret", returned="secret", expected="secret"), 500, None),
    ],
    ids=["away", "needs a person", "unknown outcome", "clock", "corrupt", "host function"],
)
def test_a_fault_tells_its_code_alone(error: InventoryError, status: int, wait: str | None) -> None:
    response = Problem.of(error).response()
    told = json.loads(bytes(response.body))
    assert (response.status_code, told["code"], told["facts"]) == (status, error.code, {})
    assert response.headers.get("Retry-After") == wait
    assert "secret" not in bytes(response.body).decode()


def test_an_error_of_a_host_without_a_row_is_a_fault() -> None:
    class OwnError(InventoryError):
        code = "own"

    assert Problem.of(OwnError()).document["status"] == 500


def test_a_bug_is_a_problem_document_without_its_words(backend: str) -> None:
    app: FastAPI = create_app(lifespan)  # never started: no inventory is there

    async def body() -> httpx.Response:
        transport = httpx.ASGITransport(Edge(app), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.get("/health/ready", headers={"X-Correlation-ID": "order-1001"})

    answer = anyio.run(body, backend=backend)
    assert (answer.status_code, answer.headers["Content-Type"], answer.json()["code"]) == (500, MEDIA_TYPE, "internal_error")
    assert answer.headers["X-Correlation-ID"] == "order-1001"
    assert "inventory" not in answer.text


def test_a_body_that_never_comes_is_a_problem_document(backend: str) -> None:
    sent: list[Message] = []
    scope: Scope = {"type": "http", "method": "POST", "path": "/orders", "raw_path": b"/orders", "headers": []}

    async def receive() -> Message:
        await anyio.sleep_forever()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    async def body() -> None:
        with anyio.fail_after(10):
            await Edge(create_app(lifespan), patience=0.01)(scope, receive, send)

    anyio.run(body, backend=backend)
    assert sent[0]["status"] == 408
    assert json.loads(sent[1]["body"])["code"] == "request_timeout"


@pytest.mark.parametrize(
    "raw,path",
    [
        (b"/a%2Fb", "/a%2Fb"),
        (b"/a%2fb", "/a%2Fb"),
        (b"/a%252Fb", "/a%252Fb"),
        (b"/%E2%82%AC%20?q=%ff", "/€ "),
        (b"/%", "/%"),
    ],
    ids=repr,
)
def test_an_encoded_slash_separates_nothing(raw: bytes, path: str) -> None:
    assert decoded_path(raw) == path


@pytest.mark.parametrize("raw", [b"/%ff", b"/%ED%A0%80", b"/\xff"], ids=repr)
def test_a_path_that_is_no_text_is_refused(raw: bytes) -> None:
    with pytest.raises(Problem) as refused:
        decoded_path(raw)
    assert refused.value.document["status"] == 422
