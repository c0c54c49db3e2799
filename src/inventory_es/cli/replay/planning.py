"""Planning: from steps to commands, in batches of one append each.

The ids of commands derive from invoice, day and line, so that a command that is sent twice is accepted once.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import attrs

from inventory_es.application.service import InventoryService
from inventory_es.cli.replay.progress import Totals
from inventory_es.cli.replay.steps import Invoice, Step, StepKind
from inventory_es.domain.commands import AddStock, AdjustStock, Command, CommitStock, ReserveStock
from inventory_es.domain.identifiers import InventoryId
from inventory_es.domain.reasons import AddReason, AdjustReason, Shortfall


class Shelf:
    """Available units by inventory, read once and updated with each planned step.

    A belief only: the inventory decides. After a rejection, since somebody else sold too, forget it and read again.

    Args:
        inventory: the service over the store.

    Attributes:
        is_bare: True to take unknown inventories as never opened, without reading them: the store is empty.
    """

    def __init__(self, inventory: InventoryService) -> None:
        self._inventory = inventory
        self.is_bare: bool = False
        self._units: dict[InventoryId, int] = {}
        self._unopened: set[InventoryId] = set()

    async def learn(self, inventory_ids: Iterable[InventoryId]) -> None:
        """Read the inventories that are not known."""
        for inventory_id in inventory_ids:
            if inventory_id in self._units:
                continue
            if self.is_bare:
                self._units[inventory_id] = 0
                self._unopened.add(inventory_id)
            else:
                level = await self._inventory.stock(inventory_id.product_id, inventory_id.store_id)
                self._units[inventory_id] = level.available
                if level.version == 0:
                    self._unopened.add(inventory_id)

    def forget(self, inventory_ids: Iterable[InventoryId]) -> None:
        """Forget these inventories, and take no other as never opened."""
        self.is_bare = False
        for inventory_id in inventory_ids:
            self._units.pop(inventory_id, None)
            self._unopened.discard(inventory_id)

    def forget_all(self) -> None:
        """Forget all inventories."""
        self.is_bare = False
        self._units.clear()
        self._unopened.clear()

    def is_unopened(self, inventory_id: InventoryId) -> bool:
        """Return True if the inventory was never moved."""
        return inventory_id in self._unopened

    def shortages(self, wanted: Mapping[InventoryId, int]) -> dict[InventoryId, int]:
        """Return the missing units, by inventory; inventories with enough units are left out."""
        return {one: units - self._units[one] for one, units in wanted.items() if units > self._units[one]}

    def take(self, step: Step) -> None:
        """Update the units after a step: they leave with an order or a write-off, and come back with a return."""
        for line in step.lines:
            if line.quantity and not step.is_in:
                self.move(line.inventory_id, line.quantity if step.kind is StepKind.WRITE_OFF else -line.quantity)

    def move(self, inventory_id: InventoryId, units: int) -> None:
        """Add units, or subtract them if below zero. An inventory that is not known stays to be read."""
        if inventory_id in self._units:
            self._units[inventory_id] += units
            self._unopened.discard(inventory_id)


@attrs.frozen
class Plan:
    """Commands of one event each, with their totals.

    Attributes:
        commands: the commands, in order.
        tally: the totals to add once the commands are accepted.
    """

    commands: Sequence[Command]
    tally: Totals


def plan_opening(step: Step, shelf: Shelf, units: int) -> Plan:
    """Plan the opening of the inventories that the step is the first to move."""
    commands: list[Command] = []
    for inventory_id in step.inventory_ids():
        if units and shelf.is_unopened(inventory_id):
            commands.append(AddStock(inventory_id=inventory_id, command_id="opening", quantity=units, reason=AddReason.OPENING))
            shelf.move(inventory_id, units)
    return Plan(commands, Totals(units_opening=units * len(commands), events=len(commands)))


def plan_receipts(step: Step, shelf: Shelf) -> Plan:
    """Plan the receipt of exactly the units that the step lacks.

    The ids of orders and write-offs end differently, since the number of an invoice may contain a slash.
    """
    id_end = "received" if step.kind is StepKind.ORDER else "received-first"
    commands: list[Command] = []
    received = 0
    for inventory_id, units in shelf.shortages(step.wanted()).items():
        commands.append(AddStock(inventory_id=inventory_id, command_id=f"{step.name}/{id_end}", quantity=units))
        shelf.move(inventory_id, units)
        received += units
    return Plan(commands, Totals(units_received=received, events=len(commands)))


def plan_step(step: Step) -> Plan:
    """Plan the step itself; a step that the store has already is no-op."""
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
    """Return the totals of a refused step."""
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


class Batch:
    """Whole steps of one append.

    Attributes:
        steps: the steps.
        commands: their commands, in order.
        times: the time of each command.
        tally: the totals to add once the batch is stored.
        invoices: the invoices of its steps, each with True if the batch completes it.
    """

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.commands: list[Command] = []
        self.times: list[datetime] = []
        self.tally: Totals = Totals()
        self.invoices: dict[Invoice, bool] = {}

    @property
    def is_empty(self) -> bool:
        """True if there is nothing to store."""
        return not self.steps and not self.commands

    def finish(self, step: Step) -> None:
        """Add a step whose commands were added before."""
        self.steps.append(step)
        if step.invoice is not None and not step.is_in:
            self.invoices[step.invoice] = step.is_last

    def add(self, at: datetime, plan: Plan) -> None:
        """Add a plan at its time."""
        self.commands.extend(plan.commands)
        self.times.extend([at] * len(plan.commands))
        self.tally += plan.tally
