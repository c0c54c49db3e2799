"""A naive model of the decider, a second statement of it: a dictionary and the rules, written for reading and not for speed.

:class:`Model` takes commands. :class:`LogModel` takes the events of a log, and looks for a command that gives each of them.
"""

from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import attrs

from inventory_es.domain.commands import ExpireReservations, ReserveStock
from inventory_es.domain.errors import ClockSkewError, CommandIdReusedError, PolicyRejectedError, ReservationIdTakenError
from inventory_es.domain.events import Event
from inventory_es.domain.identifiers import InventoryId
from inventory_es.testing.domain.formatting import describe_value
from inventory_es.testing.domain.rules import (
    RULES,
    Facts,
    Refusal,
    Rule,
    Stock,
    add,
    adjust,
    commit,
    confirm,
    count,
    due_at,
    extend,
    release,
    released,
    reserve,
)

REMEMBERED = 10_000
"""How many closed reservations the model remembers."""


@attrs.frozen(kw_only=True)
class Verdict:
    """The model's answer to one command.

    Attributes:
        at: the time of the decision.
        events: the events that the command appended, each with its balance, version and time; of a replay, those of the first time.
        refusal: why the command was refused; ``None`` if it was accepted.
        replayed: True if the command had been accepted before.
        seen: the facts that each policy was shown, in the order in which the policies were asked.
        stock: figures after the command: on_hand, reserved, available, version.
        result: the fields of a service's answer; empty for a refusal.
    """

    at: datetime
    events: tuple[Facts, ...] = ()
    refusal: Refusal | None = None
    replayed: bool = False
    seen: tuple[Facts, ...] = ()
    stock: Facts
    result: Facts = attrs.field(factory=dict)


class Model:
    """One inventory by the rules. Subclass the model, or pass ``rules``, for commands of your own.

    Args:
        inventory_id: the inventory.
        policies: the host's rules, or a second statement of them. Each is called with the stock, the command and the time.
        rules: the function of each kind of command.
        remembered: how many closed reservations the model remembers.
        max_clock_skew: how far the clock may be behind the last event.
    """

    def __init__(
        self,
        inventory_id: InventoryId,
        *,
        policies: Sequence[Callable[[Any, Any, datetime], None]] = (),
        rules: Mapping[type[Any], Rule] = RULES,
        remembered: int = REMEMBERED,
        max_clock_skew: timedelta = timedelta(seconds=60),
    ) -> None:
        self.inventory_id = inventory_id
        self.policies: tuple[Callable[[Any, Any, datetime], None], ...] = tuple(policies)
        self.rules = rules
        self.remembered = remembered
        self.max_clock_skew = max_clock_skew
        self.events: list[Facts] = []
        self.open: dict[str, Facts] = {}
        self.closed: dict[str, Facts] = {}
        self.accepted: dict[tuple[str, str], tuple[Facts, tuple[Facts, ...]]] = {}
        self.last_count_version: int = 0

    @property
    def on_hand(self) -> int:
        """The units on hand."""
        return self.on_hand_at(len(self.events))

    @property
    def reserved(self) -> int:
        """The units reserved."""
        return sum(hold["remaining"] for hold in self.open.values())

    @property
    def last_time(self) -> datetime | None:
        """The time of the last event; ``None`` if there is none."""
        return self.events[-1]["recorded_at"] if self.events else None

    def on_hand_at(self, version: int) -> int:
        """Return the units on hand at an older version."""
        on_hand: int = self.events[version - 1]["on_hand"] if version else 0
        return on_hand

    def available_at(self, t: datetime) -> int:
        """Return the units that a reserve at ``t`` could get."""
        due: int = sum(hold["remaining"] for hold in due_at(self.open.values(), t))
        return self.on_hand - self.reserved + due

    def reserved_for(self, owner_id: str) -> int:
        """Return the units that the open reservations of one owner still hold."""
        return sum(hold["remaining"] for hold in self.open.values() if hold["owner_id"] == owner_id)

    def execute(self, command: Any, *, at: datetime) -> Verdict:
        """Execute one command: check for a replay, apply the rule of time, decide, and enter the events.

        Args:
            command: a command to this inventory.
            at: the time of the clock.

        Raises:
            ValueError: a count of a version that is still to come.
        """
        t = at if self.last_time is None else max(at, self.last_time)
        seen: list[Facts] = []
        try:
            known = self._accepted_before(command)
            if known is not None:
                return self._verdict(command, t, known, replayed=True)
            if t - at > self.max_clock_skew:
                raise Refusal(ClockSkewError, now=at, last_time=t, max_clock_skew=self.max_clock_skew)  # noqa: TRY301  # the verdict below reports it
            decided = self.decide(command, t, seen)
        except Refusal as refusal:
            return self._verdict(command, t, (), refusal=refusal, seen=seen)
        appended = tuple(self.enter(facts) for facts in decided)
        if appended:
            self.accepted[self._key(command)] = (self._payload(command), appended)
        return self._verdict(command, t, appended, seen=seen)

    def decide(self, command: Any, t: datetime, seen: list[Facts] | None = None) -> tuple[Facts, ...]:
        """Return the events of a command that was never accepted before: expiries of what is due, then the command's own.

        The model does not change.

        Args:
            command: a command to this inventory.
            t: the time of the decision, not before the last event.
            seen: receives the facts that each policy is shown.

        Raises:
            Refusal: a rule or a policy refuses the command.
        """
        due = [] if isinstance(command, ExpireReservations) else due_at(self.open.values(), t)
        stock = self.stock(due)
        own = list(self.rules[type(command)](stock, command, t))
        if not own:
            return ()
        if not isinstance(command, ExpireReservations):
            self._ask_policies(command, t, stock, due, [] if seen is None else seen)
        expiries = [released(hold, hold["remaining"], 0, "EXPIRED") for hold in due]
        return self._with_balances([*expiries, *own], t)

    def stock(self, due: Sequence[Facts] = ()) -> Stock:
        """Return the stock that a rule may use, as if the ``due`` reservations were closed."""
        ended = {hold["reservation_id"]: self._ending(hold, "EXPIRED", released=hold["remaining"]) for hold in due}
        left = {reservation_id: hold for reservation_id, hold in self.open.items() if reservation_id not in ended}
        return {
            "on_hand": self.on_hand,
            "reserved": sum(hold["remaining"] for hold in left.values()),
            "open": left,
            "closed": ChainMap(ended, self.closed),
            "version": len(self.events),
            "last_count_version": self.last_count_version,
            "on_hand_at": _Figures(self.on_hand_at),
        }

    def _ask_policies(self, command: Any, t: datetime, stock: Stock, due: Sequence[Facts], seen: list[Facts]) -> None:
        for policy in self.policies:
            view = View(self.inventory_id, t, stock, due)
            seen.append(shown(view))
            try:
                policy(view, command, t)
            except PolicyRejectedError as error:
                raise Refusal(PolicyRejectedError, reason=error.reason, details=error.details) from error

    def _accepted_before(self, command: Any) -> tuple[Facts, ...] | None:
        known = self.accepted.get(self._key(command))
        if known is None:
            return None
        payload, events = known
        if payload == self._payload(command):
            return events
        if isinstance(command, ReserveStock):
            raise Refusal(ReservationIdTakenError, reservation_id=command.reservation_id)
        raise Refusal(CommandIdReusedError, command_id=command.command_id)

    @staticmethod
    def _key(command: Any) -> tuple[str, str]:
        if isinstance(command, ReserveStock):
            return "reserve", command.reservation_id
        return "own", command.command_id

    @staticmethod
    def _payload(command: Any) -> Facts:
        """Return the fields that make two commands the same: neither the reference nor the deadline."""
        kind: type[Any] = type(command)  # a host's own command may be of any class
        fields = {field.name: getattr(command, field.name) for field in attrs.fields(kind)} if attrs.has(kind) else vars(command)
        without = {"command_id", "reference", "not_after"}
        return {"kind": kind.__name__} | {name: value for name, value in fields.items() if name not in without}

    def _with_balances(self, events: Sequence[Facts], t: datetime) -> tuple[Facts, ...]:
        on_hand, reserved = self.on_hand, self.reserved
        place = {"product_id": self.inventory_id.product_id, "store_id": self.inventory_id.store_id}
        entered = []
        for version, facts in enumerate(events, start=len(self.events) + 1):
            match facts["event"]:
                case "StockAddedEvent":
                    on_hand += facts["quantity"]
                case "StockReservedEvent":
                    reserved += facts["quantity"]
                case "StockReleasedEvent":
                    reserved -= facts["quantity"]
                case "StockCommittedEvent":
                    on_hand -= facts["quantity"]
                    reserved -= facts["quantity"]
                case "StockAdjustedEvent":
                    on_hand += facts["delta"]
                case _:
                    pass
            entered.append(facts | place | {"on_hand": on_hand, "reserved": reserved, "version": version, "recorded_at": t})
        return tuple(entered)

    def enter(self, facts: Facts) -> Facts:
        """Take the next event. The model changes in no other way.

        Args:
            facts: the facts of the event, with its balance, version and time.
        """
        reservation_id = facts.get("reservation_id", "")
        hold = self.open.get(reservation_id, {})
        match facts["event"]:
            case "StockReservedEvent":
                self.open[reservation_id] = {
                    "reservation_id": reservation_id,
                    "original": facts["quantity"],
                    "remaining": facts["quantity"],
                    "committed": 0,
                    "released": 0,
                    "purpose": facts["purpose"],
                    "owner_id": facts["owner_id"],
                    "reserved_at": facts["recorded_at"],
                    "expires_at": facts["expires_at"],
                    "version": facts["version"],
                }
            case "ReservationExtendedEvent":
                self.open[reservation_id] = hold | {"expires_at": facts["expires_at"]}
            case "StockReleasedEvent":
                self.open[reservation_id] = hold | {"remaining": facts["remaining"], "released": hold["released"] + facts["quantity"]}
                self._close_if_empty(reservation_id, "EXPIRED" if facts["reason"] == "EXPIRED" else "RELEASED")
            case "StockCommittedEvent":
                self.open[reservation_id] = hold | {"remaining": facts["remaining"], "committed": hold["committed"] + facts["quantity"]}
                self._close_if_empty(reservation_id, "COMMITTED")
            case "StockAdjustedEvent" if facts["reason"] == "COUNT":
                self.last_count_version = facts["version"]
            case _:
                pass
        self.events.append(facts)
        return facts

    def _close_if_empty(self, reservation_id: str, outcome: str) -> None:
        if self.open[reservation_id]["remaining"] == 0:
            self.closed[reservation_id] = self._ending(self.open.pop(reservation_id), outcome)
            while len(self.closed) > self.remembered:
                del self.closed[next(iter(self.closed))]

    @staticmethod
    def _ending(hold: Facts, outcome: str, released: int = 0) -> Facts:
        return {
            "outcome": outcome,
            "committed": hold["committed"],
            "released": hold["released"] + released,
            "expires_at": hold["expires_at"],
        }

    def _verdict(
        self,
        command: Any,
        t: datetime,
        events: tuple[Facts, ...],
        *,
        refusal: Refusal | None = None,
        replayed: bool = False,
        seen: Sequence[Facts] = (),
    ) -> Verdict:
        stock = {"on_hand": self.on_hand, "reserved": self.reserved, "available": self.available_at(t), "version": len(self.events)}
        result = {} if refusal is not None else self._result(command, t, events, stock, replayed=replayed)
        return Verdict(at=t, events=events, refusal=refusal, replayed=replayed, seen=tuple(seen), stock=stock, result=result)

    def _result(self, command: Any, t: datetime, events: tuple[Facts, ...], stock: Facts, *, replayed: bool) -> Facts:
        last = events[-1] if events else None
        now = self.state_of(getattr(command, "reservation_id", None), t) if replayed else {}
        if last is not None and isinstance(command, ReserveStock):
            same = ("reservation_id", "quantity", "purpose", "owner_id", "expires_at", "version")
            made = {name: last[name] for name in same} | {"reserved_at": last["recorded_at"], "replayed": replayed}
            return made | {"state": "OPEN", "remaining": last["quantity"]} | now
        result = {"changed": bool(events), "replayed": replayed, "state": now.get("state")}
        if last is None:
            return result | {"version": stock["version"], "at": t, "on_hand": stock["on_hand"], "reserved": stock["reserved"]}
        return result | {"version": last["version"], "at": last["recorded_at"], "on_hand": last["on_hand"], "reserved": last["reserved"]}

    def state_of(self, reservation_id: str | None, t: datetime) -> Facts:
        """Return the state of a reservation at ``t``, and the units that it holds; empty for no reservation."""
        if reservation_id is None:
            return {}
        hold = self.open.get(reservation_id)
        if hold is None:
            ended = self.closed.get(reservation_id)
            return {"state": "CLOSED" if ended is None else ended["outcome"], "remaining": 0}
        is_due = hold["expires_at"] is not None and hold["expires_at"] <= t
        return {"state": "EXPIRED", "remaining": 0} if is_due else {"state": "OPEN", "remaining": hold["remaining"]}


class View:
    """A policy's view of the model, with the names of :class:`~inventory_es.StockView`."""

    def __init__(self, inventory_id: InventoryId, at: datetime, stock: Stock, due: Sequence[Facts]) -> None:
        self.inventory_id = inventory_id
        self.at = at
        self.version: int = stock["version"]
        self.on_hand: int = stock["on_hand"]
        self.reserved: int = stock["reserved"]
        self.unreserved: int = self.on_hand - self.reserved
        self.due: tuple[SimpleNamespace, ...] = tuple(SimpleNamespace(**hold) for hold in due)
        self._open = stock["open"]

    def reservation(self, reservation_id: str) -> SimpleNamespace | None:
        """Return the reservation with this id, if it is open and not due."""
        hold = self._open.get(reservation_id)
        return None if hold is None else SimpleNamespace(**hold)

    def reservations(self) -> Iterator[SimpleNamespace]:
        """Iterate over the reservations that are open and not due."""
        return iter([SimpleNamespace(**hold) for hold in self._open.values()])

    def reserved_for(self, owner_id: str) -> int:
        """Return the units that the open reservations of one owner hold."""
        return sum(hold["remaining"] for hold in self._open.values() if hold["owner_id"] == owner_id)


def shown(view: Any) -> Facts:
    """Return everything that a policy can read from a view, the decider's or the model's."""
    holds = [*view.due, *view.reservations()]
    facts: Facts = {name: getattr(view, name) for name in ("at", "version", "on_hand", "reserved", "unreserved")}
    facts["due"] = [hold_facts(hold) for hold in view.due]
    facts["open"] = sorted((hold_facts(hold) for hold in view.reservations()), key=lambda hold: hold["version"])
    facts["known"] = sorted(hold.reservation_id for hold in holds if view.reservation(hold.reservation_id) is not None)
    facts["reserved_for"] = {owner: view.reserved_for(owner) for owner in sorted({hold.owner_id or "nobody" for hold in holds})}
    return facts


def hold_facts(hold: Any) -> Facts:
    """Return the fields of an open reservation."""
    return {name: getattr(hold, name) for name in _OF_HOLD}


_OF_HOLD = (
    "reservation_id",
    "original",
    "remaining",
    "committed",
    "released",
    "purpose",
    "owner_id",
    "reserved_at",
    "expires_at",
    "version",
)


def event_facts(event: Event, version: int, recorded_at: datetime) -> Facts:
    """Return the fields of an event, with its version and time."""
    kind: type[Any] = type(event)
    facts = {field.name: getattr(event, field.name) for field in attrs.fields(kind)}
    return {"event": kind.__name__} | facts | {"version": version, "recorded_at": recorded_at}


class _Figures:
    def __init__(self, figure: Callable[[int], int]) -> None:
        self._figure = figure

    def __getitem__(self, version: int) -> int:
        return self._figure(version)


MOST_OPEN = 200
"""Open reservations above which events are not explained, because the model scans all reservations for each event."""


class LogModel:
    """A model that takes the events of one inventory, and finds those that no command gives.

    Args:
        inventory_id: the inventory.
    """

    def __init__(self, inventory_id: InventoryId) -> None:
        self._model = Model(inventory_id)
        self._bumped: list[Facts] = []

    def unexplained(self, facts: Facts) -> str | None:
        """Take the next event.

        Args:
            facts: the facts of the event, with its balance, version and time.

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
            return f"the rules refuse it: {refused}"
        got = [*self._bumped, facts]
        if len(expected) != len(got):
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
    """Return the events of the command that may have given ``facts``, with defaults for fields that the log does not hold."""
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


def _short(facts: Facts) -> str:
    return " ".join(str(describe_value(facts[name])) for name in ("event", "reservation_id", "quantity", "delta") if name in facts)
