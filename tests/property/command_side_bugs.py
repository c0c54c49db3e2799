"""Bugs of the command side around a correct decider: replays, times, results, sets of commands, speculation."""

from inventory_es.application.commands import basket, decision, idempotency
from inventory_es.domain import command_identity, inventory, reservation_book
from tests.property.decider_bugs import Bug

_IN_REPLAYS = {
    "a replay is not told": ("replayed=request.named,", "replayed=False,"),
    "a replay tells of the first event alone": ("last, number = recorded, number + 1", "last, number = last, number + 1"),
    "a replayed hold whose time is up is open": ("if hold is not None and not hold.is_due(at):", "if hold is not None:"),
    "a replayed hold is due at the time of the last event alone": ("at = request.happened_at or now", "at = inventory.last_time or now"),
    "a replay does not tell how its hold ended": ("state = closed.outcome.value", "state = 'CLOSED'"),
    "a replay tells all units as remaining": (
        "attrs.evolve(outcome, state=state, remaining=remaining)",
        "attrs.evolve(outcome, state=state)",
    ),
    "another payload is replayed": (".fingerprint != fingerprint(command)", ".fingerprint is None"),
    "a replay has the time of now": ("at=last.recorded_at,", "at=first.recorded_at.replace(year=2030),"),
    "a reused reservation id is a reused command id": (
        "if isinstance(command, ReserveStock):\n        return",
        "if False:\n        return",
    ),
}
_IN_DECIDING = {
    "time runs backwards with the clock": ("return now if last_time is None or now >= last_time else last_time", "return now"),
    "a clock far behind is trusted": ("if at is not now or request", "if request"),
    "a clock as far behind as it may be is not trusted": ("last_time - now > longest", "last_time - now >= longest"),
    "a no-op tells version 0": ("changed=False,\n            version=self.version,", "changed=False,\n            version=0,"),
    "a no-op tells a change": ("changed=False,", "changed=True,"),
    "a no-op tells what is on hand as reserved": (
        "on_hand=self.on_hand,\n            reserved=self.reserved,",
        "on_hand=self.on_hand,\n            reserved=self.on_hand,",
    ),
}
_IN_OUTCOMES = {
    "an accepted command tells no change": ("changed=True,", "changed=False,"),
    "a reservation tells all that is reserved as remaining": ("remaining=last.quantity,", "remaining=last.reserved,"),
    "a reservation begins when it ends": ("reserved_at=at,", "reserved_at=last.expires_at or at,"),
    "a reservation forgets its owner": ("owner_id=last.owner_id,", "owner_id=None,"),
    "a result swaps its figures": (
        "on_hand=last.on_hand,\n        reserved=last.reserved,",
        "on_hand=last.reserved,\n        reserved=last.on_hand,",
    ),
}
_IN_BASKET = {
    "a set is accepted without what is refused": (
        "refused = [one for _, one in decided if one.refusal is not None]",
        "refused: list[Decision] = []",
    ),
    "a refused set leaves its traces": ("            self._rollback()\n            await self._learn", "            await self._learn"),
    "the places of the refused are counted among the refused": ("indexes.append(index)", "indexes.append(len(indexes))"),
    "the first refused command of a set is named alone": (
        "            indexes.append(index)\n",
        "            indexes.append(index)\n            break\n",
    ),
    "a reused id hides what else is refused": (
        "{one.request: one.refusal for one in refused}",
        "{one.request: one.refusal for one in refused if len(refused) == len(self._requests)}",
    ),
    "a count of what the set makes fails": ("return one.events[version - one.version - 1].on_hand", "return None"),
    "a count of what the set makes is of its end": (
        "return one.events[version - one.version - 1].on_hand",
        "return decided[-1][1].on_hand",
    ),
}
_ELSEWHERE = [
    Bug(
        "an older count is held against the present",
        decision,
        "0 if observed is None else self._reader.event(observed).on_hand",
        "state.inventory.units_on_hand",
    ),
    Bug(
        "a reserve and a command share their ids",
        command_identity,
        'return self._name("reserve\\x00" + command.reservation_id)',
        "return self.own(command.reservation_id, 0)",
    ),
    Bug("the events of one command share an id", command_identity, "own += 1", "own += 0"),
    Bug(
        "taking back keeps the last count",
        inventory,
        "last_time\n            self._last_count_version = last_count_version\n",
        "last_time\n",
    ),
    Bug(
        "taking back keeps what was closed",
        reservation_book,
        "        del self.closed[reservation_id]\n",
        "",
    ),
    Bug(
        "taking back keeps the promises",
        inventory,
        "            self._reserved = reserved\n            self._last_time = last_time",
        "            self._last_time = last_time",
    ),
    Bug("taking back keeps the hold", inventory, "                book.put(reservation_id, book.get(reservation_id), hold)\n", ""),
]

BUGS = [
    Bug(name, module, right, wrong)
    for module, table in (
        (idempotency, _IN_REPLAYS),
        (decision, _IN_DECIDING),
        (decision, _IN_OUTCOMES),
        (basket, _IN_BASKET),
    )
    for name, (right, wrong) in table.items()
] + _ELSEWHERE
"""All bugs."""
