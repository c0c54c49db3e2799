"""What one append of a replay through orders will do."""

from collections.abc import Sequence
from datetime import datetime

from inventory_es.application.processes.order_steps import Draft, PlannedStep
from inventory_es.cli.replay.invoices import Invoice
from inventory_es.cli.replay.order_actions import Action
from inventory_es.cli.replay.planning import Plan
from inventory_es.cli.replay.process_totals import ProcessTotals
from inventory_es.cli.replay.totals import Totals
from inventory_es.domain.commands import Command


class ProcessBatch:
    """Whole actions, planned one after the other.

    Attributes:
        actions: the actions.
        commands: to inventories, in order.
        times: of each command.
        drafts: the orders that are moved, as they will be.
        tally: what is counted when it is stored.
        invoices: those of its actions, each with whether all of it is in then.
    """

    def __init__(self) -> None:
        self.actions: list[Action] = []
        self.commands: list[Command] = []
        self.times: list[datetime] = []
        self.drafts: dict[str, Draft] = {}
        self.tally: ProcessTotals = ProcessTotals()
        self.invoices: dict[Invoice, bool] = {}

    @property
    def size(self) -> int:
        """Events at least."""
        return len(self.commands) + sum(len(draft.drafted) for draft in self.drafts.values())

    def add(self, at: datetime, plan: Plan) -> None:
        """Do this too, at its time."""
        self._add(plan.commands, [at] * len(plan.commands))
        self.tally += plan.tally

    def take(self, step: PlannedStep, tally: Totals) -> None:
        """Take this step of an order too."""
        self._add(step.commands, step.times)
        self.drafts[step.draft.state.order_id] = step.draft
        self.tally += tally

    def _add(self, commands: Sequence[Command], times: Sequence[datetime]) -> None:
        self.commands.extend(commands)
        self.times.extend(times)
