"""From steps to commands. Their ids derive from invoice, day and line, so that what is sent twice happens once."""

from collections.abc import Sequence

import attrs

from inventory_es.cli.replay.shelf import Shelf
from inventory_es.cli.replay.steps import Step, StepKind
from inventory_es.cli.replay.totals import Totals
from inventory_es.domain.commands import AddStock, AdjustStock, Command, CommitStock, ReserveStock
from inventory_es.domain.reasons import AddReason, AdjustReason, Shortfall


@attrs.frozen
class Plan:
    """Commands, and what is counted when they are accepted. Each makes one event."""

    commands: Sequence[Command]
    tally: Totals


def plan_opening(step: Step, shelf: Shelf, units: int) -> Plan:
    """Open the inventories that the step is the first to move."""
    commands: list[Command] = []
    for inventory_id in step.inventory_ids():
        if units and shelf.is_unopened(inventory_id):
            commands.append(AddStock(inventory_id=inventory_id, command_id="opening", quantity=units, reason=AddReason.OPENING))
            shelf.move(inventory_id, units)
    return Plan(commands, Totals(units_opening=units * len(commands), events=len(commands)))


def plan_receipts(step: Step, shelf: Shelf) -> Plan:
    """Receive exactly what the step lacks. Orders and write-offs have ids that end differently, since a number may have a / in it."""
    id_end = "received" if step.kind is StepKind.ORDER else "received-first"
    commands: list[Command] = []
    received = 0
    for inventory_id, units in shelf.shortages(step.wanted()).items():
        commands.append(AddStock(inventory_id=inventory_id, command_id=f"{step.name}/{id_end}", quantity=units))
        shelf.move(inventory_id, units)
        received += units
    return Plan(commands, Totals(units_received=received, events=len(commands)))


def plan_step(step: Step) -> Plan:
    """Do what the step says, or nothing where it is in already."""
    rows = len(step.lines)
    first = step.lines[0]
    if step.is_in:
        return Plan((), Totals(rows=rows, invoices_in_before=int(step.is_first)))
    match step.kind:
        case StepKind.NOTHING:
            return Plan((), Totals(rows=rows))
        case StepKind.RETURN:
            units = -first.quantity
            back = AddStock(
                inventory_id=first.inventory_id,
                command_id=f"{step.name}/returned",
                quantity=units,
                reason=AddReason.RETURNED,
            )
            return Plan([back], Totals(rows=rows, returns=1, units_returned=units, events=1))
        case StepKind.WRITE_OFF:
            off = AdjustStock(
                inventory_id=first.inventory_id,
                command_id=f"{step.name}/written-off",
                delta=first.quantity,
                reason=AdjustReason.DAMAGE,
                shortfall=Shortfall.REJECT,
            )
            return Plan([off], Totals(rows=rows, adjustments=1, units_written_off=-first.quantity, events=1))
        case StepKind.ORDER:
            sold = sum(line.quantity for line in step.lines)
            return Plan(_order(step), Totals(rows=rows, orders=1, units_sold=sold, events=2 * rows))


def refusal(step: Step) -> Totals:
    """What is counted when a step is refused."""
    rows = len(step.lines)
    if step.kind is StepKind.ORDER:
        return Totals(rows=rows, orders=1, orders_refused=1)
    return Totals(rows=rows, adjustments=1, adjustments_refused=1)


def _order(step: Step) -> list[Command]:
    reserves: list[Command] = []
    commits: list[Command] = []
    for line in step.lines:
        name = f"{step.name}/{line.nth}"
        reserves.append(ReserveStock(inventory_id=line.inventory_id, reservation_id=name, quantity=line.quantity, ttl=None))
        commits.append(CommitStock(inventory_id=line.inventory_id, command_id=f"{name}/sold", reservation_id=name))
    return reserves + commits
