"""The machine over the domain, over a service and under a host's own rules, and the mistakes that it finds."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import ClassVar

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule, run_state_machine_as_test

from inventory_es.application.commands.decision import CommandOutcome
from inventory_es.application.service import InventoryService
from inventory_es.domain.commands import Command, ReserveStock
from inventory_es.domain.errors import PolicyRejectedError
from inventory_es.domain.events import Recorded, StockReservedEvent
from inventory_es.domain.inventory import Policy, StockView
from inventory_es.domain.reservation_book import InventorySnapshot
from inventory_es.testing.clock import ManualClock
from inventory_es.testing.domain.history import PropertyError
from inventory_es.testing.domain.machine import InventoryMachine
from inventory_es.wiring import open_inventory

FEW = settings(max_examples=25, stateful_step_count=30)
# An expected failure need not be shrunk.
UNTIL_IT_FAILS = settings(max_examples=300, stateful_step_count=30, phases=[Phase.generate])


class DomainMachine(InventoryMachine):
    """A machine over the domain alone."""


TestDomain = DomainMachine.TestCase
TestDomain.settings = settings(max_examples=60, stateful_step_count=40)


class ServiceMachine(InventoryMachine):
    """A machine over a whole service on the memory store."""

    def open_service(self, clock: ManualClock) -> AbstractAsyncContextManager[InventoryService]:
        return open_inventory("memory:", clock=clock, policies=self.policies)


def test_a_service_answers_like_the_reference(backend: str) -> None:
    opened: list[ManualClock] = []

    class OnThisBackend(ServiceMachine):
        def open_service(self, clock: ManualClock) -> AbstractAsyncContextManager[InventoryService]:
            opened.append(clock)
            return super().open_service(clock)

    OnThisBackend.backend = backend
    run_state_machine_as_test(OnThisBackend, settings=FEW)  # raises where an answer differs
    assert len(opened) >= FEW.max_examples


def at_most_eighty_percent(view: StockView, command: Command, _at: datetime) -> None:
    if isinstance(command, ReserveStock) and 5 * (view.reserved + command.quantity) > 4 * view.on_hand:
        reason = "at_most_eighty_percent"
        raise PolicyRejectedError(reason, on_hand=view.on_hand, reserved=view.reserved)


class EightyPercent(ServiceMachine):
    """A machine with a rule and a command of the host's own. The rule says what no event may do."""

    policies: ClassVar[Sequence[Policy]] = (at_most_eighty_percent,)
    seen: ClassVar[list[bool]] = []

    def on_transition(self, before: InventorySnapshot, event: Recorded, after: InventorySnapshot) -> None:
        assert after.version == before.version + 1 == event.version
        if isinstance(event.event, StockReservedEvent):
            assert 5 * after.reserved <= 4 * after.on_hand

    @rule(units=st.integers(1, 5))
    def gift(self, units: int) -> None:
        command = ReserveStock(inventory_id=self.inventory_id, reservation_id=f"gift {len(self.seen)}", quantity=units, ttl=None)
        self.seen.append(self.send(command).error is None)


def test_a_host_adds_its_own_rules() -> None:
    EightyPercent.seen.clear()
    run_state_machine_as_test(EightyPercent, settings=FEW)
    assert {True, False} <= set(EightyPercent.seen)


def test_a_state_invariant_is_naive() -> None:
    moved: list[Recorded] = []

    class Naive(InventoryMachine):
        policies: ClassVar[Sequence[Policy]] = (at_most_eighty_percent,)

        def on_transition(self, before: InventorySnapshot, event: Recorded, after: InventorySnapshot) -> None:
            moved.append(event)

        @invariant()
        def never_more_than_eighty_percent(self) -> None:
            inventory = self.handler.inventory
            assert 5 * inventory.units_reserved <= 4 * inventory.units_on_hand

    with pytest.raises(AssertionError):
        run_state_machine_as_test(Naive, settings=UNTIL_IT_FAILS)
    assert not isinstance(moved[-1].event, StockReservedEvent), "nobody promised anything: units went away"


def test_a_policy_that_the_service_lacks_is_found() -> None:
    class Forgetful(EightyPercent):
        def open_service(self, clock: ManualClock) -> AbstractAsyncContextManager[InventoryService]:
            return open_inventory("memory:", clock=clock)

    with pytest.raises(PropertyError, match="is refused with None; the reference says PolicyRejectedError"):
        run_state_machine_as_test(Forgetful, settings=UNTIL_IT_FAILS)


class Lying(InventoryService):
    """A service that reports a replay as a new result."""

    async def execute(self, command: Command, *, expected_version: int | None = None) -> CommandOutcome:
        outcome = await super().execute(command, expected_version=expected_version)
        if outcome.replayed:
            return await super().execute(ReserveStock(inventory_id=command.inventory_id, reservation_id="lie", quantity=1, ttl=None))
        return outcome


def test_a_service_that_forgets_what_it_was_told_is_found() -> None:
    class OverLying(InventoryMachine):
        def open_service(self, clock: ManualClock) -> AbstractAsyncContextManager[InventoryService]:
            honest = open_inventory("memory:", clock=clock)
            return Lying(honest._opening._open_store, honest.parts, owns_store=True)

    with pytest.raises(PropertyError, match=r"is replayed False; the reference says True|is refused with"):
        run_state_machine_as_test(OverLying, settings=UNTIL_IT_FAILS)
