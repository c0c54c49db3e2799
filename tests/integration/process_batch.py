"""What one append of a replay through orders will do."""

from collections.abc import Sequence
from datetime import datetime

from inventory_es.application.processes.orders import OrderSession, PlannedOrderStep
from inventory_es.cli.replay.invoices import Invoice
from inventory_es.cli.replay.planning import Plan
from inventory_es.cli.replay.totals import Totals
from inventory_es.domain.commands import Command
from tests.integration.order_actions import Action
from tests.integration.process_totals import ProcessTotals


class ProcessBatch:
    """Whole actions, planned one after the other.

    Attributes:
        actions: the actions.
        commands: to inventories, in order.
        times: of each command.
        sessions: the orders that are moved, as they will be.
        tally: what is counted when it is stored.
        invoices: those of its actions, each with whether all of it is in then.
    """

    def __init__(self) -> None:
        self.actions: list[Action] = []
        self.commands: list[Command] = []
        self.times: list[datetime] = []
        self.sessions: dict[str, OrderSession] = {}
        self.tally: ProcessTotals = ProcessTotals()
        self.invoices: dict[Invoice, bool] = {}

    @property
    def size(self) -> int:
        """Events at least."""
        return len(self.commands) + sum(len(session.new_events) for session in self.sessions.values())

    def add(self, at: datetime, plan: Plan) -> None:
        """Do this too, at its time."""
        self._add(plan.commands, [at] * len(plan.commands))
        self.tally += plan.tally

    def take(self, step: PlannedOrderStep, tally: Totals) -> None:
        """Take this step of an order too."""
        self._add(step.commands, [step.at] * len(step.commands))
        self.sessions[step.session.state.order_id] = step.session
        self.tally += tally

    def _add(self, commands: Sequence[Command], times: Sequence[datetime]) -> None:
        self.commands.extend(commands)
        self.times.extend(times)
