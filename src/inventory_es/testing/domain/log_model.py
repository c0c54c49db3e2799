"""The naive model over a log alone: whether some command explains each event, and what that command would have given."""

from collections.abc import Iterable
from datetime import datetime
from types import SimpleNamespace
from typing import Any

from inventory_es.domain.identifiers import InventoryId
from inventory_es.testing.domain.formatting import describe_value
from inventory_es.testing.domain.model import Model
from inventory_es.testing.domain.rules import Facts, Refusal, Stock, add, adjust, commit, confirm, count, due_at, extend, release, reserve

MOST_OPEN = 200
"""Events that meet more open reservations than that are taken as they are, since the model looks at all of them."""


class LogModel:
    """Takes the events of one inventory, and says which of them no command gives.

    Args:
        inventory_id: of which inventory.
    """

    def __init__(self, inventory_id: InventoryId) -> None:
        self._model = Model(inventory_id)
        self._bumped: list[Facts] = []

    def unexplained(self, facts: Facts) -> str | None:
        """Take the next event.

        Args:
            facts: of the event, with its balance, version and time.

        Returns:
            Why the rules give another event, or none; ``None`` if they give this one.
        """
        problem = self._problem(facts, facts["recorded_at"]) if len(self._model.open) <= MOST_OPEN else None
        if _is_released_for(facts, "SHORTFALL"):
            self._bumped.append(facts)
        else:
            for one in (*self._bumped, facts):
                self._model.enter(one)
            self._bumped = []
        return problem

    def _problem(self, facts: Facts, t: datetime) -> str | None:
        stock = self._model.stock()
        if self._bumped and facts["event"] != "StockAdjustedEvent" and not _is_released_for(facts, "SHORTFALL"):
            return "units were released for a shortfall, and no adjustment follows"
        if _is_released_for(facts, "SHORTFALL"):
            return None
        if _is_released_for(facts, "EXPIRED"):
            first = next(iter(due_at(self._model.open.values(), t)), None)
            return (
                None if first is None or first["reservation_id"] == facts["reservation_id"] else f"{first['reservation_id']!r} is due first"
            )
        if _is_released_for(facts, "REMAINDER"):
            return self._problem_of_remainder(facts, t)
        try:
            expected = list(_given(stock, facts, t))
        except (Refusal, ValueError) as refused:
            return f"the rules refuse it: {_told(refused)}"
        got = [*self._bumped, facts]
        if len(expected) > len(got) or len(expected) < len(got):
            return f"the rules give {len(expected)} events: {[_short(one) for one in expected]} instead of {[_short(one) for one in got]}"
        for number, (wanted, found) in enumerate(zip(expected, got, strict=True), start=1):
            for name, value in wanted.items():
                if found[name] != value:
                    return f"#{number} {name}: the rules give {describe_value(value)}, not {describe_value(found[name])}"
        return None

    def _problem_of_remainder(self, facts: Facts, t: datetime) -> str | None:
        before = self._model.events[-1] if self._model.events else {}
        follows = (before.get("event"), before.get("reservation_id"), before.get("recorded_at"))
        if follows != ("StockCommittedEvent", facts["reservation_id"], t):
            return "a remainder is released, and no commit of its reservation stands right before it"
        return None if facts["quantity"] == before["remaining"] else f"a remainder of {before['remaining']} is released in part"


def _given(stock: Stock, facts: Facts, t: datetime) -> Iterable[Facts]:
    """The events of the command that may have given ``facts``, without what its caller alone knows."""
    command: Any = SimpleNamespace(**facts, ttl=None, not_after=None, keep_available=0, remainder="KEEP", shortfall="BUMP")
    match facts["event"]:
        case "StockAddedEvent":
            return add(stock, command, t)
        case "StockReservedEvent":
            command.ttl = None if command.expires_at is None else command.expires_at - t
            return reserve(stock, command, t)
        case "ReservationExtendedEvent" if command.expires_at is None:
            return confirm(stock, command, t)
        case "ReservationExtendedEvent":
            command.ttl = command.expires_at - t
            return extend(stock, command, t)
        case "StockReleasedEvent":
            return release(stock, command, t)
        case "StockCommittedEvent":
            return commit(stock, command, t)
        case _ if command.counted is not None and command.observed_version is not None:
            return count(stock, command, t)
        case _:
            return adjust(stock, command, t)


def _is_released_for(facts: Facts, reason: str) -> bool:
    return (facts["event"], facts.get("reason")) == ("StockReleasedEvent", reason)


def _told(refused: Exception) -> str:
    if isinstance(refused, Refusal):
        return f"{refused.error.__name__}({', '.join(f'{name}={describe_value(value)}' for name, value in refused.facts.items())})"
    return str(refused)


def _short(facts: Facts) -> str:
    return " ".join(str(describe_value(facts[name])) for name in ("event", "reservation_id", "quantity", "delta") if name in facts)
