"""What a replay believes to stand on the shelf, so that it need not ask about every line."""

from collections.abc import Iterable, Mapping

from inventory_es.application.service import InventoryService
from inventory_es.cli.replay.steps import Step, StepKind
from inventory_es.domain.identifiers import InventoryId


class Shelf:
    """Available units by inventory, read once and kept in step with what is planned.

    A belief only: the inventory decides. When they differ, since somebody else sold too, it is to be forgotten and read again.

    Args:
        inventory: what is believed to be known.

    Attributes:
        is_bare: whether to believe that what is not known was never opened, without a look: the store is empty.
    """

    def __init__(self, inventory: InventoryService) -> None:
        self._inventory = inventory
        self.is_bare: bool = False
        self._units: dict[InventoryId, int] = {}
        self._unopened: set[InventoryId] = set()

    async def learn(self, inventory_ids: Iterable[InventoryId]) -> None:
        """Read those that are not known."""
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
        """Know nothing about these any more, and believe nothing of others."""
        self.is_bare = False
        for inventory_id in inventory_ids:
            self._units.pop(inventory_id, None)
            self._unopened.discard(inventory_id)

    def forget_all(self) -> None:
        """Know nothing any more, and believe nothing."""
        self.is_bare = False
        self._units.clear()
        self._unopened.clear()

    def knows(self, inventory_id: InventoryId) -> bool:
        """Whether it was read, or is believed to be bare."""
        return inventory_id in self._units

    def is_unopened(self, inventory_id: InventoryId) -> bool:
        """Whether nothing ever happened in it."""
        return inventory_id in self._unopened

    def shortages(self, wanted: Mapping[InventoryId, int]) -> dict[InventoryId, int]:
        """What lacks, by inventory; nothing where there is enough."""
        return {one: units - self._units[one] for one, units in wanted.items() if units > self._units[one]}

    def take(self, step: Step) -> None:
        """The step is done: units leave with an order or a write-off, and come back with a return."""
        for line in step.lines:
            if line.quantity and not step.is_in:
                self.move(line.inventory_id, line.quantity if step.kind is StepKind.WRITE_OFF else -line.quantity)

    def move(self, inventory_id: InventoryId, units: int) -> None:
        """Units come in, or leave if below zero."""
        self._units[inventory_id] += units
        self._unopened.discard(inventory_id)
