"""What one append of a replay will do."""

from datetime import datetime

from inventory_es.cli.replay.invoices import Invoice
from inventory_es.cli.replay.planning import Plan
from inventory_es.cli.replay.steps import Step
from inventory_es.cli.replay.totals import Totals
from inventory_es.domain.commands import Command


class Batch:
    """Whole steps, planned one after the other.

    Attributes:
        steps: the steps.
        commands: theirs, in order.
        times: of each command.
        tally: what is counted when it is stored.
        invoices: those of its steps, each with whether all of it is in then.
    """

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.commands: list[Command] = []
        self.times: list[datetime] = []
        self.tally: Totals = Totals()
        self.invoices: dict[Invoice, bool] = {}

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to store."""
        return not self.steps and not self.commands

    def finish(self, step: Step) -> None:
        """Count a step as done, whose commands were added."""
        self.steps.append(step)
        if step.invoice is not None and not step.is_in:
            self.invoices[step.invoice] = step.is_last

    def add(self, at: datetime, plan: Plan) -> None:
        """Do this too, at its time."""
        self.commands.extend(plan.commands)
        self.times.extend([at] * len(plan.commands))
        self.tally += plan.tally
