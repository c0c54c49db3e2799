"""The simulation: the mistakes that it finds, its reports, and its play of a given program."""

import re
from typing import NoReturn

import pytest

from inventory_es.application.results import Reservation
from inventory_es.domain.commands import AddStock, Command, ReserveStock
from inventory_es.domain.errors import InsufficientStockError
from inventory_es.domain.identifiers import InventoryId
from inventory_es.testing import BrokenPromiseError, Simulation, simulate
from inventory_es.testing.domain import SHELF, START, Call, Program, PropertyError
from inventory_es.testing.simulation import Disturbance, Plan, Subject
from inventory_es.testing.simulation.__main__ import main
from tests.unit.testing.simulation.mutants import MUTANTS


def finding(name: str, backend: str = "asyncio") -> BrokenPromiseError:
    for seed in range(100):
        try:
            simulate(seed=seed, subject=MUTANTS[name][0], backend=backend)
        except BrokenPromiseError as error:
            return error
    pytest.fail(f"a hundred seeds found nothing wrong with {name}")


@pytest.mark.parametrize("name", MUTANTS)
def test_a_wrong_application_is_found(name: str) -> None:
    assert set(finding(name).promise.id.split(", ")) & MUTANTS[name][1]


def test_a_finding_is_the_same_on_the_other_event_loop() -> None:
    on_asyncio, on_trio = (str(finding("a store that tears orders", backend)).replace(backend, "loop") for backend in ("asyncio", "trio"))
    assert on_asyncio == on_trio
    assert re.search(r"repeat +simulate\(seed=\d+, backend='loop', subject=<the same parts>\)$", on_asyncio)


def test_a_finding_in_our_own_parts_repeats_from_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    subject, _ = MUTANTS["a consumer that counts twice"]
    monkeypatch.setattr("inventory_es.testing.simulation.simulation.Subject", lambda: subject)
    with pytest.raises(BrokenPromiseError, match=r"repeat +python -m inventory_es\.testing\.simulation --seed 0 --backend trio$"):
        simulate(seed=0, backend="trio")


def test_a_property_of_the_log_is_told_with_its_id(monkeypatch: pytest.MonkeyPatch) -> None:
    def break_it(_history: object) -> NoReturn:
        msg = "on hand is below reserved"
        raise PropertyError(msg, frozenset({"P1"}))

    monkeypatch.setattr("inventory_es.testing.simulation.referee.check_history", break_it)
    with pytest.raises(BrokenPromiseError, match=r"(?s)P1  What a log alone shows.*on hand is below reserved.*--seed 2 ") as error:
        simulate(seed=2)
    assert error.value.promise.id == "P1"


def test_any_other_failure_tells_its_seed() -> None:
    def broken(*_parts: object) -> NoReturn:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as failure:
        simulate(seed=4, subject=Subject(assemble=broken))
    assert failure.value.__notes__ == ["while simulating; repeat with simulate(seed=4, backend='asyncio', subject=<the same parts>)"]


def race(units: int, racers: int) -> Program:
    calls = [Call(ReserveStock(inventory_id=SHELF, reservation_id=f"R{number}", quantity=1, ttl=None), START) for number in range(racers)]
    setup = (Call(AddStock(inventory_id=SHELF, command_id="add", quantity=units), START),)
    return Program(inventory_id=SHELF, setup=setup, parallel=tuple(calls), faults=((1, "fail_after"), (3, "drop")))


def winners(simulation: Simulation) -> set[str]:
    return {one.command.command_id for one in simulation.answers if isinstance(one.outcome, Reservation)}


@pytest.mark.parametrize("units, racers", [(1, 6), (4, 4), (5, 12)])
def test_as_many_win_as_there_are_units(units: int, racers: int, backend: str) -> None:
    for seed in range(10):
        simulation = simulate(race(units, racers), seed=seed, backend=backend)
        assert len(winners(simulation)) == min(units, racers)
        assert simulation.counts.faults >= 1


def plan(*disturbances: Disturbance) -> Plan:
    shelves = [InventoryId(f"product-{number}", "store") for number in range(2)]
    opening = [Program(inventory_id=one, setup=(Call(AddStock(inventory_id=one, command_id="add", quantity=3), START),)) for one in shelves]
    order: list[Command] = [ReserveStock(inventory_id=one, reservation_id="order", quantity=2, ttl=None) for one in shelves]
    again: list[Command] = [ReserveStock(inventory_id=one, reservation_id="other order", quantity=2, ttl=None) for one in shelves]
    return Plan(programs=tuple(opening), orders=(tuple(order), tuple(again)), fault_rate=0.0, disturbances=disturbances)


def test_one_of_two_orders_wins_all_its_lines(backend: str) -> None:
    for seed in range(10):
        simulation = simulate(plan(), seed=seed, backend=backend)
        assert winners(simulation) in ({"order"}, {"other order"})
        refused = [one for one in simulation.answers if isinstance(one.outcome, Exception)]
        loser = {"order", "other order"} - winners(simulation)
        assert {one.command.command_id for one in refused if isinstance(one.outcome, InsufficientStockError)} == loser


def test_disturbances_come_when_they_are_planned() -> None:
    disturbances = (
        Disturbance(turn=1, kind="restart", node=1),
        Disturbance(turn=2, kind="jump", node=0, seconds=90.0),
        Disturbance(turn=3, kind="forget"),
    )
    simulation = simulate(plan(*disturbances), seed=3)
    assert (simulation.counts.restarts, simulation.counts.jumps) == (1, 1)
    trace = "\n".join(simulation.trace)
    for happened in ("node-1.2 ends and starts again", "the clock of node-0.1 jumps by 90 s", "the cache loses everything"):
        assert happened in trace
    assert simulate(plan(), seed=3).digest != simulation.digest


def test_a_program_of_the_hosts_own_repeats_as_a_call() -> None:
    subject, _ = MUTANTS["a store that loses what it acknowledged"]
    with pytest.raises(
        BrokenPromiseError, match=r"repeat +simulate\(<the same program>, seed=5, backend='trio', subject=<the same parts>\)"
    ):
        simulate(race(8, 8), seed=5, backend="trio", subject=subject)


def test_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "3", "--first", "7"]) == 0
    assert re.search(r"(?s)3 seeds on asyncio: .* turns, .* restarts.*\n0 violations in", capsys.readouterr().out)
    assert main(["--seed", "7", "--backend", "trio", "--trace"]) == 0
    assert f"trace {simulate(seed=7).digest}" in capsys.readouterr().out


def test_command_line_tells_what_broke(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    subject, _ = MUTANTS["a consumer that counts twice"]
    monkeypatch.setattr("inventory_es.testing.simulation.__main__.simulate", lambda **chosen: simulate(**chosen, subject=subject))
    assert main(["--seed", "0"]) == 1
    told = capsys.readouterr().out
    assert told.startswith("SIM-3  Once faults stop")
    assert "1 violations" in told
