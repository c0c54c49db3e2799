"""What becomes of an order: when it is paid, and in which parcels it leaves. Drawn from its invoice's number: always the same."""

from collections.abc import Sequence
from datetime import timedelta
from random import Random

import attrs

from inventory_es.domain.processes.lines import OrderLine

TTL = timedelta(minutes=30)
"""How long an order is held for its payment."""

_ABANDONED_ONE_IN = 50
_PARCELS = (1, 1, 1, 2, 2, 3)
_LONGEST_DELIVERY = 24 * 60 * 60


@attrs.frozen
class Parcel:
    """What leaves together.

    Attributes:
        after: since the order was placed.
        lines: what is in it.
    """

    after: timedelta
    lines: tuple[OrderLine, ...]


@attrs.frozen
class Fate:
    """What becomes of an order that could be held.

    Attributes:
        paid_after: since it was placed; ``None`` for one that nobody ever pays.
        parcels: in the order in which they leave.
    """

    paid_after: timedelta | None
    parcels: Sequence[Parcel]


def fate_of(invoice: str, lines: Sequence[OrderLine]) -> Fate:
    """The fate of the order of this invoice.

    Args:
        invoice: its number.
        lines: its lines, one for each inventory.
    """
    chance = Random(f"fate of {invoice}")
    if chance.randrange(_ABANDONED_ONE_IN) == 0:
        return Fate(None, ())
    after = paid_after = timedelta(seconds=chance.randint(1, int(TTL.total_seconds()) - 1))
    parcels: list[Parcel] = []
    for contents in _contents(chance, lines):
        after += timedelta(seconds=chance.randint(1, _LONGEST_DELIVERY))
        parcels.append(Parcel(after, contents))
    return Fate(paid_after, parcels)


def _contents(chance: Random, lines: Sequence[OrderLine]) -> list[tuple[OrderLine, ...]]:
    """Each line goes into one of the parcels, and the longest into all of them, as far as it has units."""
    count = chance.choice(_PARCELS)
    longest = max(lines, key=lambda line: line.quantity)
    parcels: list[list[OrderLine]] = [[] for _ in range(count)]
    for line in lines:
        if line is not longest:
            chance.choice(parcels).append(line)
    for number, parcel in enumerate(parcels):
        units = longest.quantity // count + (number < longest.quantity % count)
        if units:
            parcel.append(attrs.evolve(longest, quantity=units))
    return [tuple(parcel) for parcel in parcels if parcel]
