"""Simulated day of a gift shop, the same for the same seed: orders, returns, breakages, and a few products that everybody wants."""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random  # noqa: TID251  # seeded: the same day every time

from inventory_es.cli.replay.order_lines import STORE, OrderLine
from inventory_es.domain.identifiers import InventoryId

OPENING = 300
"""The units that each product is opened with."""

_MORNING = datetime(2025, 11, 28, 8, 0, tzinfo=UTC)
_DAY = timedelta(hours=10)
_THINGS = ("mug", "tea towel", "candle", "lantern", "cake tin", "lunch bag", "doormat", "alarm clock", "bird house", "jigsaw")
_LOOKS = ("red spotty", "blue polkadot", "vintage rose", "woodland", "strawberry", "retro")
_WEIGHTS = [1 / (6 + rank) for rank in range(len(_THINGS) * len(_LOOKS))]


class DemoDay:
    """An :class:`~inventory_es.cli.replay.orders_file.OrderSource` that needs no file.

    Args:
        invoices: the number of invoices, 1 or more.
        seed: the seed of the day.
    """

    def __init__(self, *, invoices: int, seed: int) -> None:
        self._invoices = invoices
        self._seed = seed

    @property
    def name(self) -> str:
        """The name of the source in messages."""
        return "the demo day"

    def digest(self) -> str:
        """Return the digest of all lines."""
        digest = hashlib.sha256()
        for line in self.lines():
            digest.update(repr(line).encode())
        return digest.hexdigest()[:20]

    def lines(self) -> Iterator[OrderLine]:
        """Yield every line of the day."""
        chance = Random(self._seed)  # noqa: S311  # it guards no secret
        shelf = [(InventoryId(f"{21_000 + 7 * at}", STORE), f"{look} {thing}") for at, (look, thing) in enumerate(_products())]
        row = 0
        for number in range(self._invoices):
            at = _MORNING + _DAY * number // self._invoices
            invoice, lines = f"{700_001 + number}", self._invoice(chance, shelf)
            if lines[0][1] < 0 and chance.random() < 0.75:
                invoice = f"C{invoice}"
            for nth, ((inventory_id, description), quantity) in enumerate(lines, start=1):
                row += 1
                yield OrderLine(row, row, nth, invoice, inventory_id, quantity, at.replace(microsecond=0), description)

    def _invoice(self, chance: Random, shelf: list[tuple[InventoryId, str]]) -> list[tuple[tuple[InventoryId, str], int]]:
        """Return the lines of one invoice: mostly an order, sometimes a return or a breakage."""
        if chance.random() < 0.06:
            return [(chance.choice(shelf), -chance.randint(1, 4))]
        count = 1 + int(chance.expovariate(1 / 3))
        wanted = dict.fromkeys(chance.choices(shelf, weights=_WEIGHTS, k=count))
        return [(one, chance.choice((1, 1, 1, 2, 2, 3, 4, 6))) for one in wanted]


def _products() -> list[tuple[str, str]]:
    """Return the products of the shop, in descending order of demand."""
    return [(_LOOKS[at % len(_LOOKS)], _THINGS[(at + at // 30) % len(_THINGS)]) for at in range(len(_WEIGHTS))]
