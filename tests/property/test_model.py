"""The naive model as a host uses it: with rules and policies of the host's own, for decisions, machines and services."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import Any, ClassVar

import attrs
import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from inventory_es.application.service import InventoryService
from inventory_es.domain.commands import AddStock, CommitStock, ReserveStock
from inventory_es.domain.errors import InsufficientStockError, PolicyRejectedError, ReservationNotFoundError
from inventory_es.domain.identifiers import InventoryId
from inventory_es.domain.inventory import Policy
from inventory_es.testing.clock import ManualClock
from inventory_es.testing.domain.agreement import check_decision
from inventory_es.testing.domain.history import PropertyError
from inventory_es.testing.domain.machine import InventoryMachine
from inventory_es.testing.domain.model import Model
from inventory_es.testing.domain.program import Call, Program
from inventory_es.testing.domain.reference_handler import ReferenceHandler
from inventory_es.testing.domain.rules import RULES, Facts, Refusal, Stock
from inventory_es.testing.domain.scenarios import SHELF, START
from inventory_es.testing.domain.service_check import check_service
from inventory_es.testing.faults import Faults
from inventory_es.wiring import open_inventory

ADD = AddStock(inventory_id=SHELF, command_id="add", quantity=10)
RESERVE = ReserveStock(inventory_id=SHELF, reservation_id="R", quantity=8, ttl=timedelta(seconds=600))
UNTIL_IT_FAILS = settings(max_examples=300, stateful_step_count=30, phases=[Phase.generate])


@attrs.frozen
class WriteOff:
    inventory_id: InventoryId
    command_id: str
    reservation_id: str


def write_off(stock: Stock, command: WriteOff, _t: datetime) -> Iterator[Facts]:
    hold = stock["open"].get(command.reservation_id)
    if hold is None:
        raise Refusal(ReservationNotFoundError, reservation_id=command.reservation_id)
    facts = {"reservation_id": command.reservation_id, "quantity": hold["remaining"], "remaining": 0, "reason": "SCRAPPED"}
    yield {"event": "StockCommittedEvent", **facts}


def both() -> tuple[ReferenceHandler, Model]:
    handler, model = ReferenceHandler(SHELF), Model(SHELF, rules={**RULES, WriteOff: write_off})
    for command in (ADD, RESERVE):
        handler.execute(command, at=START)
        model.execute(command, at=START)
    return handler, model


def committed(handler: ReferenceHandler, reason: str, held: str = "R") -> Any:
    command = CommitStock(inventory_id=SHELF, command_id="off", reservation_id=held, reason=reason)
    return lambda: handler.inventory.decide(command, at=START)


def test_a_decider_of_a_command_of_ones_own_is_compared() -> None:
    handler, model = both()
    verdict = check_decision(model, WriteOff(SHELF, "off", "R"), at=START, decide=committed(handler, "SCRAPPED"))
    assert verdict.stock == {"on_hand": 2, "reserved": 0, "available": 2, "version": 3}
    check_decision(model, WriteOff(SHELF, "none", "nobody's"), at=START, decide=committed(handler, "SCRAPPED", "nobody's"))


def test_a_wrong_event_and_a_wrong_refusal_are_told() -> None:
    handler, model = both()
    with pytest.raises(PropertyError) as found:
        check_decision(model, WriteOff(SHELF, "off", "R"), at=START, decide=committed(handler, "SOLD"))
    assert str(found.value).splitlines()[1:] == [
        "  command   WriteOff(command_id='off', reservation_id='R') at 2026-01-05T09:00:00+00:00",
        "  expected  StockCommittedEvent(reservation_id='R', quantity=8, remaining=0, reason='SCRAPPED', on_hand=2, reserved=0)",
        "  got       StockCommittedEvent(quantity=8, reservation_id='R', remaining=0, reason=SOLD, on_hand=2, reserved=0)",
        "  differs   #1 reason: expected 'SCRAPPED', got SOLD",
    ]
    with pytest.raises(PropertyError, match=r"expected it to be accepted, got ReservationNotFoundError\(reservation_id='Q'\)"):
        check_decision(both()[1], WriteOff(SHELF, "off", "R"), at=START, decide=committed(handler, "SCRAPPED", "Q"))


def test_a_fact_of_a_refusal_is_compared() -> None:
    handler, model = both()
    too_many = attrs.evolve(RESERVE, reservation_id="S", quantity=3)

    def told_wrong() -> tuple[()]:
        raise InsufficientStockError(inventory=SHELF.stream, requested=3, available=10)

    assert handler.execute(too_many, at=START).error is not None
    with pytest.raises(PropertyError, match="available of InsufficientStockError: expected 2, got 10"):
        check_decision(model, too_many, at=START, decide=told_wrong)


def four_fifths(view: Any, command: Any, _at: datetime) -> None:
    if isinstance(command, ReserveStock) and 5 * (view.reserved + command.quantity) > 4 * view.on_hand:
        reason = "four_fifths"
        raise PolicyRejectedError(reason)


def two_fifths(view: Any, command: Any, _at: datetime) -> None:
    if isinstance(command, ReserveStock) and 5 * (view.reserved + command.quantity) > 2 * view.on_hand:
        reason = "four_fifths"
        raise PolicyRejectedError(reason)


class TwoStatements(InventoryMachine):
    policies: ClassVar[Sequence[Policy]] = (four_fifths,)

    def open_model(self) -> Model:
        return Model(self.inventory_id, policies=[two_fifths])


def test_two_statements_of_one_policy_are_compared() -> None:
    with pytest.raises(PropertyError, match=r"expected PolicyRejectedError\(reason='four_fifths', details=\{\}\), but it was accepted"):
        run_state_machine_as_test(TwoStatements, settings=UNTIL_IT_FAILS)


def test_a_service_is_held_against_a_model_of_the_hosts() -> None:
    def open_service(clock: ManualClock, _faults: Faults) -> AbstractAsyncContextManager[InventoryService]:
        return open_inventory("memory:", clock=clock, policies=[four_fifths])

    program = Program(inventory_id=SHELF, steps=(Call(ADD, START), Call(RESERVE, START)))
    assert len(check_service(program, open_service, policies=[four_fifths])) == 2 + 2  # two more are sent at the end
    with pytest.raises(PropertyError, match="but it was accepted"):
        check_service(program, open_service, policies=[four_fifths], model=Model(SHELF, policies=[two_fifths]))
