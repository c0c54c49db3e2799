"""P14 and P20–P26 over drawn programs, also under a host's policy, and P28 and P29 over every interleaving of a small race."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

import pytest
from hypothesis import given, settings

from inventory_es.domain.commands import AddStock, Command, ReserveStock
from inventory_es.domain.errors import InsufficientStockError, PolicyRejectedError
from inventory_es.domain.inventory import StockView
from inventory_es.testing.domain.history import PropertyError, check_history
from inventory_es.testing.domain.program import Call, Program, play, race
from inventory_es.testing.domain.program_properties import PROGRAM_PROPERTIES, check_program
from inventory_es.testing.domain.reference_handler import ReferenceHandler
from inventory_es.testing.domain.scenarios import SHELF, START
from inventory_es.testing.domain.strategies import programs
from inventory_es.testing.faults import FaultKind


@pytest.mark.parametrize("property_id", sorted(PROGRAM_PROPERTIES))
def test_every_program_keeps_the_property(property_id: str) -> None:
    @settings(max_examples=100)
    @given(programs(max_steps=30, max_parallel=3))
    def explore(program: Program) -> None:
        record = check_program(program, only=[property_id])
        assert len(record.answers) == len(program.calls) + len(program.parallel)

    explore()


def at_most_half_is_promised(view: StockView, command: Command, at: datetime) -> None:
    if isinstance(command, ReserveStock) and 2 * (view.reserved + command.quantity) > view.on_hand:
        reason = "at_most_half"
        raise PolicyRejectedError(reason, on_hand=view.on_hand, reserved=view.reserved)
    if isinstance(command, ReserveStock) and command.owner_id is not None:
        assert view.at == at
        held = sum(hold.remaining for hold in view.reservations() if hold.owner_id == command.owner_id)
        assert view.reserved_for(command.owner_id) == held
        assert view.reservation(command.reservation_id) is None


@settings(max_examples=100)
@given(programs(max_steps=30, policies=[at_most_half_is_promised]))
def test_every_program_keeps_them_under_a_policy(program: Program) -> None:
    record = check_program(program, policies=[at_most_half_is_promised])
    check_history(record.history)
    for answer in record.answers:
        if isinstance(answer.command, ReserveStock) and answer.appended:
            assert 2 * answer.after.reserved <= answer.after.on_hand


@settings(max_examples=100)
@given(programs(max_steps=12, max_parallel=5))
def test_a_race_is_equivalent_to_some_serial_order(program: Program) -> None:
    record = play(program)
    check_history(record.history)
    serial = ReferenceHandler(program.inventory_id)
    accepted = [answer for answer in record.answers if answer.recorded]
    for answer in sorted(accepted, key=lambda answer: answer.recorded[0].version):
        again = serial.execute(answer.command, at=answer.clock)
        assert again.recorded == answer.recorded
    assert serial.inventory == record.handler.inventory
    assert len(record.answers) == len(program.calls) + len(program.parallel)


@settings(max_examples=50)
@given(programs(max_steps=12, max_parallel=4))
def test_a_program_played_twice_gives_one_record(program: Program) -> None:
    assert play(program) == play(program)


def every_order(run: Callable[[Callable[[int], int]], None]) -> Iterator[list[int]]:
    """Run with every sequence of turns, depth first."""
    taken: list[int] = []
    while True:
        sizes: list[int] = []

        def next_turn(runners: int, sizes: list[int] = sizes) -> int:
            sizes.append(runners)
            if len(sizes) > len(taken):
                taken.append(0)
            return taken[len(sizes) - 1]

        run(next_turn)
        yield list(taken)
        del taken[len(sizes) :]
        while taken and taken[-1] + 1 >= sizes[len(taken) - 1]:
            taken.pop()
        if not taken:
            return
        taken[-1] += 1


@pytest.mark.parametrize("units, racers, faults", [(1, 2, ()), (1, 3, ()), (2, 3, ()), (3, 2, ((1, "fail_after"),))])
def test_exactly_as_many_win_as_there_are_units_under_every_interleaving(
    units: int, racers: int, faults: Sequence[tuple[int, FaultKind]]
) -> None:
    orders = 0
    calls = [Call(ReserveStock(inventory_id=SHELF, reservation_id=f"R{n}", quantity=1, ttl=None), START) for n in range(racers)]
    handlers: list[ReferenceHandler] = []

    def run(next_turn: Callable[[int], int]) -> None:
        handler = ReferenceHandler(SHELF)
        handler.execute(AddStock(inventory_id=SHELF, command_id="add", quantity=units), at=START)
        race(handler, calls, faults, next_turn=next_turn)
        handlers.append(handler)

    for _ in every_order(run):
        orders += 1
        handler = handlers.pop()
        answers = handler.answers[1:]
        winners = [answer for answer in answers if answer.error is None]
        assert len(winners) == min(units, racers) == handler.inventory.units_reserved
        assert all(isinstance(answer.error, InsufficientStockError) for answer in answers if answer not in winners)
        check_history(handler.history)
    assert orders > racers


def test_a_faulty_append_is_sent_again_and_replayed() -> None:
    call = Call(AddStock(inventory_id=SHELF, command_id="once", quantity=3), START)
    kinds: list[tuple[FaultKind, bool]] = [("fail_before", False), ("fail_after", True)]
    for kind, replayed in kinds:
        record = play(Program(inventory_id=SHELF, parallel=(call,), faults=((1, kind),)))
        assert [answer.replayed for answer in record.answers] == [replayed]
        assert record.handler.inventory.units_on_hand == 3


def test_a_broken_property_shows_the_program() -> None:
    program = Program(inventory_id=SHELF, steps=(Call(AddStock(inventory_id=SHELF, command_id="once", quantity=3), START),))
    asked: list[Command] = []

    def fickle(_view: StockView, command: Command, _at: datetime) -> None:
        asked.append(command)
        if len(asked) % 2:
            reason = "fickle"
            raise PolicyRejectedError(reason)

    with pytest.raises(PropertyError, match="P25  Deciding is pure") as broken:
        check_program(program, policies=[fickle], only=["P25"])
    assert "AddStock(command_id='once', reference=None, quantity=3" in str(broken.value)
