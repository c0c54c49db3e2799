"""An impure policy is reported as such, by name, before any other property fails."""

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis.stateful import run_state_machine_as_test

from inventory_es.domain.commands import AddStock, Command, ReserveStock
from inventory_es.domain.errors import HostFunctionError, PolicyRejectedError
from inventory_es.domain.inventory import Policy, StockView
from inventory_es.testing.domain.formatting import describe
from inventory_es.testing.domain.history import PropertyError
from inventory_es.testing.domain.machine import InventoryMachine
from inventory_es.testing.domain.program import Call, Program
from inventory_es.testing.domain.program_properties import check_program
from inventory_es.testing.domain.reference_handler import ReferenceHandler
from inventory_es.testing.domain.scenarios import SHELF, START, scenario
from inventory_es.testing.domain.strategies import programs

IMPURE = r"the policy .*{} is impure: it was asked twice, and answered differently"
ADD = AddStock(inventory_id=SHELF, command_id="once", quantity=3)


def counts() -> Policy:
    asked: list[Command] = []

    def every_seventh(_view: StockView, command: Command, _at: datetime) -> None:
        asked.append(command)
        if len(asked) % 7 == 0:
            reason = "every_seventh"
            raise PolicyRejectedError(reason)

    return every_seventh


def tosses() -> Policy:
    chance = random.Random(1)

    def a_coin(_view: StockView, _command: Command, _at: datetime) -> None:
        if chance.random() < 0.3:
            reason = "tails"
            raise PolicyRejectedError(reason)

    return a_coin


def tells_more_each_time() -> Policy:
    asked: list[Command] = []

    def wordy(_view: StockView, command: Command, _at: datetime) -> None:
        asked.append(command)
        reason = "wordy"
        raise PolicyRejectedError(reason, asked=len(asked))

    return wordy


def fails_in_other_words() -> Policy:
    asked: list[Command] = []

    def broken(_view: StockView, command: Command, _at: datetime) -> None:
        asked.append(command)
        raise KeyError(len(asked))

    return broken


MAKERS = {"every_seventh": counts, "a_coin": tosses, "wordy": tells_more_each_time, "broken": fails_in_other_words}


@pytest.mark.parametrize("name", MAKERS)
def test_the_machine_names_it(name: str) -> None:
    class Impure(InventoryMachine):
        policies: ClassVar[Sequence[Policy]] = (MAKERS[name](),)

    with pytest.raises(PropertyError, match=IMPURE.format(name)):
        run_state_machine_as_test(Impure, settings=settings(max_examples=50, stateful_step_count=20))


@pytest.mark.parametrize("name", MAKERS)
def test_a_drawn_program_names_it(name: str) -> None:
    policies = [MAKERS[name]()]

    @settings(max_examples=50)
    @given(programs(policies=policies))
    def explore(program: Program) -> None:
        check_program(program, policies=policies)

    with pytest.raises(PropertyError, match=IMPURE.format(name)):
        explore()


def test_one_that_changes_its_mind_later_is_found_across_examples() -> None:
    is_closed: list[bool] = []

    def closes(_view: StockView, _command: Command, _at: datetime) -> None:
        if is_closed:
            reason = "closed"
            raise PolicyRejectedError(reason)

    program = Program(inventory_id=SHELF, steps=(Call(ADD, START),))

    def closes_in_between(_view: StockView, command: Command, _at: datetime) -> None:
        if isinstance(command, AddStock):
            is_closed.append(True)

    with pytest.raises(PropertyError, match=IMPURE.format("closes")):
        check_program(program, policies=[closes, closes_in_between])


def test_the_report_says_what_was_asked_and_answered() -> None:
    with pytest.raises(PropertyError) as found:
        scenario(policies=[tells_more_each_time()]).when(ADD)
    assert found.value.broken == {"P25"}
    first, second = (describe(PolicyRejectedError("wordy", asked=number)) for number in (1, 2))
    _, *lines = str(found.value).splitlines()
    assert lines == [
        f"  problem   the policy {__name__}.tells_more_each_time.<locals>.wordy is impure: it was asked twice, and answered differently",
        f"  asked     {describe(ADD)} at 2026-01-05T09:00:00+00:00, on hand 0, reserved 0, version 0",
        f"  answered  first it raised {first}, then it raised {second}",
        "  meaning   a policy may use the stock, the command and the time that it is given: no counter, no clock, no chance, no I/O",
    ]


def test_it_is_found_again_by_whoever_asks_next() -> None:
    impure = counts()

    def ask_seven_times() -> None:
        for number in range(7):
            ReferenceHandler(SHELF, policies=[impure]).execute(AddStock(inventory_id=SHELF, command_id=str(number), quantity=1), at=START)

    for _ in range(2):
        with pytest.raises(PropertyError, match=IMPURE.format("every_seventh")):
            ask_seven_times()


def test_a_pure_policy_is_let_alone() -> None:
    def only_a_few(_view: StockView, command: Command, _at: datetime) -> None:
        if isinstance(command, ReserveStock) and command.quantity > 2:
            reason = "only_a_few"
            raise PolicyRejectedError(reason, most=2)

    at_first = scenario(policies=[only_a_few]).when(ADD).then(*ReferenceHandler(SHELF).execute(ADD, at=START).events)
    reserve = ReserveStock(inventory_id=SHELF, reservation_id="R", quantity=3, ttl=timedelta(1))
    at_first.when(reserve).then_rejected(PolicyRejectedError, reason="only_a_few")


def test_one_that_returns_something_is_told_by_its_own_name() -> None:
    def disagrees(_view: StockView, _command: Command, _at: datetime) -> bool:
        return False

    with pytest.raises(HostFunctionError, match=r"disagrees returned a bool"):
        ReferenceHandler(SHELF, policies=[disagrees]).execute(ADD, at=START)  # type: ignore[list-item]  # as a host does
