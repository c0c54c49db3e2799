"""Arguments of a wrong kind: each is refused by an error of ours that names the argument, at every door of the service."""

import inspect
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, date, datetime
from functools import partial
from typing import Any
from uuid import UUID

import anyio
import pytest

from inventory_es import sync
from inventory_es.application.processes.orders import Orders
from inventory_es.application.processes.transfers import Transfers
from inventory_es.application.service import InventoryService
from inventory_es.domain.commands import AddStock, ReserveStock
from inventory_es.domain.errors import InvalidIdentifierError, InvalidQuantityError, InventoryError, ReservationNotFoundError
from inventory_es.domain.identifiers import InventoryId, ReservationRef
from inventory_es.ports.errors import ReadModelBehindError
from inventory_es.wiring import open_inventory
from tests.integration.command_side import SHELF, P, S, ref, seconds

NONSENSE: tuple[Any, ...] = (
    None, True, 3, -1, 1.5, float("nan"), 2**80, "nonsense", "", "\x00", "\ud800", "a/b", "%ff/b/c", b"bytes", [], {}, {"a": 1}, (),
    [None], ["x"], [1, 2, 3], {"x": 1, "y": 2, "z": 3}, object(), UUID(int=1), datetime(2026, 1, 1, tzinfo=UTC),
    datetime(2026, 1, 1, tzinfo=UTC).replace(tzinfo=None),
    date(2026, 1, 1), seconds(5), ReservationRef("p", "s", "r"), InventoryId("p", "s"), ValueError("x"), int, lambda: 1,
)  # fmt: skip
NO_ARGUMENTS = {"aclose", "close", "name", "watched", "touch", "look", "parts", "prepare"}
GOOD: Mapping[str, Any] = {
    "product_id": P, "store_id": S, "quantity": 1, "ttl": seconds(60), "held": ref("R1"), "delta": 1, "reason": "FOUND", "counted": 1,
    "observed_version": 1, "command": AddStock(inventory_id=SHELF, command_id="add", quantity=1), "version": 1,
    "commands": [AddStock(inventory_id=SHELF, command_id="add", quantity=1)],
}  # fmt: skip
OF_PROCESSES: Mapping[str, Any] = {
    "order_id": "o", "items": [(P, S, 1)], "ttl": seconds(60), "payment_id": "p", "shipment_id": "s", "orders": [], "transfer_id": "t",
    "source": S, "destination": "elsewhere", "goods": [(P, 1)], "receipt_id": "r", "return_id": "r", "loss_id": "l",
}  # fmt: skip


def calls(owner: object, good: Mapping[str, Any]) -> list[tuple[str, str, Callable[[], Any]]]:
    """Each method with nonsense in one of its arguments, and good values in those that it needs besides."""
    found: list[tuple[str, str, Callable[[], Any]]] = []
    for name, method in inspect.getmembers(owner, callable):
        if name.startswith("_") or name in NO_ARGUMENTS:
            continue
        parameters = inspect.signature(method).parameters
        for parameter in parameters:
            for value in NONSENSE:
                needed = {one: good.get(one) for one, given in parameters.items() if given.default is inspect.Parameter.empty}
                if name == "as_of" and parameter not in {"version", "time"}:
                    needed["version"] = 1
                arguments = {**needed, parameter: value}
                found.append((f"{name}({parameter}={value!r:.40})", parameter, partial(method, **arguments)))
    return found


def problem_with(parameter: str, error: Exception) -> str | None:
    """``None`` where the error says what is wrong with the argument, or is an answer of the domain to one that is right."""
    if isinstance(error, InventoryError):
        return None
    if isinstance(error, ValueError | TypeError) and parameter.rstrip("s") in str(error).lower():
        return None
    return f"{type(error).__name__}: {error}"


async def answer_of(call: Callable[[], Any]) -> None:
    answer = call()
    if isinstance(answer, AsyncIterator):
        async for _ in answer:
            pass
    elif inspect.isawaitable(answer):
        await answer


def test_nonsense_of_each_type_is_refused_by_name(backend: str) -> None:
    async def case() -> None:
        unclear: list[str] = []
        async with open_inventory("memory:", read_models="memory:") as service:
            await service.add_stock(P, S, 100)
            await service.reserve(P, S, 1, ttl=None, reservation_id="R1")
            for reader in service.queries._readers.values():
                reader.patience = 0
            owners = [(service, GOOD), (service.queries, GOOD), (Orders(service), OF_PROCESSES), (Transfers(service), OF_PROCESSES)]
            for owner, good in owners:
                for told, parameter, call in calls(owner, good):
                    try:
                        await answer_of(call)
                    except Exception as error:  # noqa: BLE001  # judged below
                        problem = problem_with(parameter, error)
                        unclear += [f"{type(owner).__name__}.{told}: {problem}"] if problem else []
        assert unclear == []

    anyio.run(case, backend=backend)


def test_nonsense_is_refused_without_await_too() -> None:
    unclear: list[str] = []
    with sync.open_inventory("memory:", read_models="memory:") as service:
        service.add_stock(P, S, 100)
        service.reserve(P, S, 1, ttl=None, reservation_id="R1")
        for told, parameter, call in calls(service, GOOD):
            try:
                answer = call()
                if inspect.isgenerator(answer):
                    list(answer)
            except Exception as error:  # noqa: BLE001  # judged below
                problem = problem_with(parameter, error)
                unclear += [f"{told}: {problem}"] if problem else []
    assert unclear == []


METHODS: list[tuple[str, dict[str, Any]]] = [
    ("extend", {"ttl": seconds(700)}),
    ("confirm", {}),
    ("reservation", {}),
    ("release", {"quantity": 1}),
    ("commit", {}),
]


@pytest.mark.parametrize("product", [P, "a/b%2f c", "é"])
def test_the_text_that_a_host_kept_addresses_the_reservation(backend: str, product: str) -> None:
    async def case() -> None:
        async with open_inventory("memory:") as service:
            await service.add_stock(product, S, 5)
            hold = await service.reserve(product, S, 3, ttl=seconds(600), reservation_id="order/1001")
            for method, arguments in METHODS:
                await getattr(service, method)(str(hold.ref), **arguments)
            level = await service.stock(product, S)
            assert (level.on_hand, level.reserved) == (3, 0)
            with pytest.raises(ReservationNotFoundError):
                await service.commit(f"{product}/{S}/nobody's".replace("/b%2f c", "%2Fb%252f%20c"))

    anyio.run(case, backend=backend)


def test_the_text_addresses_the_reservation_without_await() -> None:
    with sync.open_inventory("memory:") as service:
        service.add_stock("espresso-1kg", "berlin", 5)
        service.reserve("espresso-1kg", "berlin", 3, ttl=seconds(600), reservation_id="order-1001")
        for method, arguments in METHODS:
            getattr(service, method)("espresso-1kg/berlin/order-1001", **arguments)
        assert service.stock("espresso-1kg", "berlin").on_hand == 3


@pytest.mark.parametrize("wrong", [
    None, 7, b"espresso/berlin/R1", {"product_id": P, "store_id": S, "reservation_id": "R1"}, ["espresso", "berlin", "R1"], SHELF,
    "R1", "", "a/b", "a/b/c/d", "//", "%ff/b/c", "a/b/%00", "espresso/berlin/" + "x" * 129,
], ids=repr)  # fmt: skip
@pytest.mark.parametrize("method, arguments", METHODS)
def test_what_addresses_no_reservation_is_an_invalid_identifier(method: str, arguments: dict[str, Any], wrong: Any) -> None:
    async def case() -> None:
        async with open_inventory("memory:") as service:
            with pytest.raises(InvalidIdentifierError):
                await getattr(service, method)(wrong, **arguments)

    anyio.run(case)


def test_an_answer_about_a_reservation_is_none(backend: str) -> None:
    async def case() -> None:
        async with open_inventory("memory:") as service:
            await service.add_stock(P, S, 5)
            hold: Any = await service.reservation(await service.reserve(P, S, 1, ttl=None))
            with pytest.raises(InvalidIdentifierError, match="its ref or the text of it, not a ReservationState"):
                await service.commit(hold)

    anyio.run(case, backend=backend)


def test_a_position_that_is_far_ahead_is_not_waited_for_without_bound(backend: str) -> None:
    async def case() -> None:
        async with open_inventory("memory:", read_models="memory:") as service:
            for reader in service.queries._readers.values():
                reader.patience = 0
            with pytest.raises(ReadModelBehindError):
                await service.queries.stock(P, S, wait_for_position=3)

    anyio.run(case, backend=backend)


@pytest.mark.parametrize(
    "commands",
    [None, "x", 3, [None], [ref("R1")], {"a": 1}, iter(())],
    ids=["None", "text", "number", "[None]", "[ref]", "dict", "iterator"],
)
def test_a_basket_of_something_else_is_refused(commands: Any) -> None:
    async def case(service: InventoryService) -> None:
        with pytest.raises(TypeError, match="commands must be a sequence of commands"):
            await service.execute_all(commands)
        reserve = ReserveStock(inventory_id=SHELF, reservation_id="R", quantity=1, ttl=None)
        with pytest.raises(TypeError, match="writes must be a sequence of StreamWrite"):
            await service.execute_all([reserve], writes=[reserve])  # type: ignore[list-item]  # what is tested
        with pytest.raises(InvalidQuantityError, match="expected_version must be a whole number from 0"):
            await service.execute(reserve, expected_version="1")  # type: ignore[arg-type]  # what is tested

    async def body() -> None:
        async with open_inventory("memory:") as service:
            await case(service)

    anyio.run(body)
