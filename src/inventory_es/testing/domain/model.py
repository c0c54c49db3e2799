"""A second, naive model of the decider: a dictionary and the rules, written as a specification and not for speed.

The model shares no code with the aggregate. It reads the fields of a command, and answers with plain dictionaries. One function per
command says what the command needs and which events it appends; everything around the commands is in :class:`Model`.

A *stock* is what a rule may look at, after everything due at ``t`` was closed:

=====================  ============================================================================================
``on_hand``            units there
``reserved``           the sum of what the open reservations still hold
``open``               id → the reservation: original, remaining, committed, released, purpose, owner_id, reserved_at, expires_at, version
``closed``             id → how it ended: outcome, committed, released, expires_at; the most recent 10,000
``version``            of the stream, before the command
``last_count_version``  the version of the last count's event; 0: none
``on_hand_at``         units on hand at each version, 0 included
=====================  ============================================================================================
"""

from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType, SimpleNamespace
from typing import Any

import attrs

from inventory_es.commands import (
    AddStock,
    AdjustStock,
    CommitStock,
    ConfirmReservation,
    ExpireReservations,
    ExtendReservation,
    RecordCount,
    ReleaseStock,
    ReserveStock,
)

Facts = dict[str, Any]
"""An event, a reservation, or the facts of a rejection: names and values."""

Stock = Mapping[str, Any]
"""What a rule may look at."""

Rule = Callable[[Stock, Any, datetime], Iterable[Facts]]
"""The events of one kind of command at ``t``, in order, without their balances; or a raised :class:`Refusal`."""

LARGEST = 2**53 - 1
REMEMBERED = 10_000
"""How many closed reservations are known by their outcome."""


class Refusal(Exception):  # noqa: N818  # the name of a condition stands in it; it is no error of its own
    """A rule says no.

    Attributes:
        error: the name of the class of the rejection.
        facts: what the rejection must tell.
    """

    def __init__(self, error: str, **facts: Any) -> None:
        super().__init__(error, facts)
        self.error = error
        self.facts = facts


# One function per command.


def add(stock: Stock, command: AddStock, _t: datetime) -> Iterator[Facts]:
    """Units come in."""
    _refuse_overflow(stock["on_hand"] + command.quantity)
    yield {"event": "StockAddedEvent", "quantity": command.quantity, "reason": command.reason}


def reserve(stock: Stock, command: ReserveStock, t: datetime) -> Iterator[Facts]:
    """Units are promised; at least ``keep_available`` stay free."""
    if command.reservation_id in stock["open"] or command.reservation_id in stock["closed"]:
        raise Refusal("ReservationIdTakenError", reservation_id=command.reservation_id)
    if command.not_after is not None and t >= command.not_after:
        raise Refusal("CommandExpiredError", command_id=command.reservation_id, not_after=command.not_after)
    unreserved = stock["on_hand"] - stock["reserved"]
    if unreserved - command.quantity < command.keep_available:
        raise Refusal(
            "InsufficientStockError",
            requested=command.quantity,
            available=unreserved,
            keep_available=command.keep_available,
            shortfall=command.quantity + command.keep_available - unreserved,
        )
    yield {
        "event": "StockReservedEvent",
        "reservation_id": command.reservation_id,
        "quantity": command.quantity,
        "purpose": command.purpose,
        "owner_id": command.owner_id,
        "expires_at": None if command.ttl is None else t + command.ttl,
    }


def extend(stock: Stock, command: ExtendReservation, t: datetime) -> Iterator[Facts]:
    """A dated hold lasts longer. A firm hold, and an end that is no later, change nothing."""
    hold = _the_open(stock, command.reservation_id)
    if hold["expires_at"] is not None and t + command.ttl > hold["expires_at"]:
        yield _extended(hold, t + command.ttl)


def confirm(stock: Stock, command: ConfirmReservation, _t: datetime) -> Iterator[Facts]:
    """A dated hold becomes firm. A firm hold stays as it is."""
    hold = _the_open(stock, command.reservation_id)
    if hold["expires_at"] is not None:
        yield _extended(hold, None)


def release(stock: Stock, command: ReleaseStock, _t: datetime) -> Iterator[Facts]:
    """A hold gives units back. One that was released or has expired has given them back already."""
    ended = stock["closed"].get(command.reservation_id)
    if ended is not None and ended["outcome"] in {"RELEASED", "EXPIRED"}:
        return
    hold = _the_open(stock, command.reservation_id)
    quantity = _up_to_remaining(hold, command.quantity)
    yield _released(hold, quantity, hold["remaining"] - quantity, command.reason)


def commit(stock: Stock, command: CommitStock, _t: datetime) -> Iterator[Facts]:
    """Promised units leave; what they leave behind stays promised, or is released."""
    hold = _the_open(stock, command.reservation_id)
    quantity = _up_to_remaining(hold, command.quantity)
    rest = hold["remaining"] - quantity
    yield {
        "event": "StockCommittedEvent",
        "reservation_id": hold["reservation_id"],
        "quantity": quantity,
        "remaining": rest,
        "reason": command.reason,
    }
    if rest and command.remainder == "RELEASE":
        yield _released(hold, rest, 0, "REMAINDER")


def adjust(stock: Stock, command: AdjustStock, _t: datetime) -> Iterator[Facts]:
    """The books are corrected."""
    yield from _adjusted(stock, command.delta, command.shortfall, reason=command.reason, counted=None, observed_version=None)


def count(stock: Stock, command: RecordCount, _t: datetime) -> Iterator[Facts]:
    """The books are corrected by what the counter found to differ at the version that the counter saw. Every count is an event."""
    if command.observed_version > stock["version"]:
        msg = f"version {command.observed_version} is not there yet"
        raise ValueError(msg)
    if command.observed_version < stock["last_count_version"]:
        raise Refusal(
            "CountSupersededError", observed_version=command.observed_version, last_count_version=stock["last_count_version"]
        )
    delta = command.counted - stock["on_hand_at"][command.observed_version]
    yield from _adjusted(
        stock, delta, command.shortfall, reason="COUNT", counted=command.counted, observed_version=command.observed_version
    )


def expire(stock: Stock, command: ExpireReservations, t: datetime) -> Iterator[Facts]:
    """The first ``limit`` due holds are closed. This stock is as it was: a sweep closes nothing on its way."""
    for hold in _due(stock["open"].values(), t)[: command.limit]:
        yield _released(hold, hold["remaining"], 0, "EXPIRED")


RULES: Mapping[type[Any], Rule] = MappingProxyType(
    {
        AddStock: add,
        ReserveStock: reserve,
        ExtendReservation: extend,
        ConfirmReservation: confirm,
        ReleaseStock: release,
        CommitStock: commit,
        AdjustStock: adjust,
        RecordCount: count,
        ExpireReservations: expire,
    }
)
"""The function of each kind of command."""


# What several commands share.


def _adjusted(stock: Stock, delta: int, shortfall: str, **facts: Any) -> Iterator[Facts]:
    on_hand, reserved = stock["on_hand"] + delta, stock["reserved"]
    if on_hand < 0:
        raise Refusal("NegativeStockError", on_hand=stock["on_hand"], delta=delta)
    _refuse_overflow(on_hand)
    lacking = reserved - on_hand
    if lacking > 0 and shortfall == "REJECT":
        raise Refusal("WouldBreakReservationsError", shortfall=lacking)
    newest_first = sorted(stock["open"].values(), key=lambda hold: -hold["version"])
    dated_first = sorted(newest_first, key=lambda hold: hold["expires_at"] is None)
    for hold in dated_first:
        if lacking > 0:
            quantity = min(lacking, hold["remaining"])
            yield _released(hold, quantity, hold["remaining"] - quantity, "SHORTFALL")
            lacking -= quantity
    yield {"event": "StockAdjustedEvent", "delta": delta, **facts}


def _the_open(stock: Stock, reservation_id: str) -> Facts:
    if reservation_id in stock["open"]:
        hold: Facts = stock["open"][reservation_id]
        return hold
    ended = stock["closed"].get(reservation_id)
    if ended is None:
        raise Refusal("ReservationNotFoundError", reservation_id=reservation_id)
    if ended["outcome"] == "EXPIRED":
        raise Refusal("ReservationExpiredError", reservation_id=reservation_id, expired_at=ended["expires_at"])
    error = "ReservationAlreadyCommittedError" if ended["outcome"] == "COMMITTED" else "ReservationAlreadyReleasedError"
    raise Refusal(error, reservation_id=reservation_id)


def _up_to_remaining(hold: Facts, quantity: int | None) -> int:
    remaining: int = hold["remaining"]
    if quantity is not None and quantity > remaining:
        raise Refusal(
            "QuantityExceedsReservationError", reservation_id=hold["reservation_id"], requested=quantity, remaining=remaining
        )
    return remaining if quantity is None else quantity


def _refuse_overflow(on_hand: int) -> None:
    if on_hand > LARGEST:
        raise Refusal("QuantityOverflowError", name="on_hand", limit=LARGEST)


def _released(hold: Facts, quantity: int, remaining: int, reason: str) -> Facts:
    return {
        "event": "StockReleasedEvent",
        "reservation_id": hold["reservation_id"],
        "quantity": quantity,
        "remaining": remaining,
        "reason": reason,
    }


def _extended(hold: Facts, expires_at: datetime | None) -> Facts:
    return {
        "event": "ReservationExtendedEvent",
        "reservation_id": hold["reservation_id"],
        "previous_expires_at": hold["expires_at"],
        "expires_at": expires_at,
    }


def _due(holds: Iterable[Facts], t: datetime) -> list[Facts]:
    due = [hold for hold in holds if hold["expires_at"] is not None and hold["expires_at"] <= t]
    return sorted(due, key=lambda hold: (hold["expires_at"], hold["reservation_id"]))


# Everything around the commands.


@attrs.frozen(kw_only=True)
class Verdict:
    """The model's answer to one command.

    Attributes:
        at: the time that counts.
        events: what the command appended, each with its balance, version and time; of a replay, those of the first time.
        refusal: why it was refused; ``None`` if it was accepted.
        replayed: True if it had been accepted before.
        seen: what each policy was shown, in the order in which the policies were asked.
        stock: figures after the command: on_hand, reserved, available, version.
        result: fields of what a service answers; empty for a refusal.
    """

    at: datetime
    events: tuple[Facts, ...] = ()
    refusal: Refusal | None = None
    replayed: bool = False
    seen: tuple[Facts, ...] = ()
    stock: Facts
    result: Facts = attrs.field(factory=dict)


class Model:
    """One inventory as the rules have it. Subclass it, or pass ``rules``, for commands of your own.

    Args:
        inventory_id: of which inventory.
        policies: the host's rules, or a second statement of them: each is called with the stock, the command and the time.
        rules: the function of each kind of command.
        remembered: how many closed reservations are known by their outcome.
        max_clock_skew: how far the clock may stand behind the last event.
    """

    def __init__(
        self,
        inventory_id: Any,
        *,
        policies: Sequence[Callable[[Any, Any, datetime], None]] = (),
        rules: Mapping[type[Any], Rule] = RULES,
        remembered: int = REMEMBERED,
        max_clock_skew: timedelta = timedelta(seconds=60),
    ) -> None:
        self.inventory_id = inventory_id
        self.policies = tuple(policies)
        self.rules = rules
        self.remembered = remembered
        self.max_clock_skew = max_clock_skew
        self.events: list[Facts] = []
        self.open: dict[str, Facts] = {}
        self.closed: dict[str, Facts] = {}
        self.accepted: dict[tuple[str, str], tuple[Facts, tuple[Facts, ...]]] = {}
        self.last_count_version = 0

    @property
    def on_hand(self) -> int:
        """Units there."""
        return self.on_hand_at(len(self.events))

    @property
    def reserved(self) -> int:
        """Units promised."""
        return sum(hold["remaining"] for hold in self.open.values())

    @property
    def last_time(self) -> datetime | None:
        """When the last event happened."""
        return self.events[-1]["recorded_at"] if self.events else None

    def on_hand_at(self, version: int) -> int:
        """Return the units that were there at an older version."""
        return self.events[version - 1]["on_hand"] if version else 0

    def available_at(self, t: datetime) -> int:
        """Return what a reserve at ``t`` could get."""
        return self.on_hand - self.reserved + sum(hold["remaining"] for hold in _due(self.open.values(), t))

    def reserved_for(self, owner_id: str) -> int:
        """Return what the open reservations of one owner still hold."""
        return sum(hold["remaining"] for hold in self.open.values() if hold["owner_id"] == owner_id)

    def execute(self, command: Any, *, at: datetime) -> Verdict:
        """Execute one command: the replay check, the rule of time, closing what is due, the policies, the rule of the command.

        Args:
            command: addressed to this inventory.
            at: what the clock says.
        """
        t = at if self.last_time is None else max(at, self.last_time)
        seen: list[Facts] = []
        try:
            known = self._accepted_before(command)
            if known is not None:
                return self._verdict(command, t, known, replayed=True)
            if t - at > self.max_clock_skew:
                raise Refusal("ClockSkewError", now=at, last_time=t, max_clock_skew=self.max_clock_skew)  # noqa: TRY301
            due = [] if isinstance(command, ExpireReservations) else _due(self.open.values(), t)
            stock = self.stock(due)
            self._ask_policies(command, t, stock, due, seen)
            own = list(self.rules[type(command)](stock, command, t))
        except Refusal as refusal:
            return self._verdict(command, t, (), refusal=refusal, seen=seen)
        expiries = [_released(hold, hold["remaining"], 0, "EXPIRED") for hold in due] if own else []
        appended = tuple(self._enter(facts, t) for facts in [*expiries, *own])
        if appended:
            self.accepted[self._key(command)] = (self._payload(command), appended)
        return self._verdict(command, t, appended, seen=seen)

    def stock(self, due: Sequence[Facts] = ()) -> Stock:
        """Return what a rule may look at, as if the ``due`` holds were closed."""
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
            seen.append(view.facts())
            try:
                policy(view, command, t)
            except Exception as error:
                if type(error).__name__ != "PolicyRejectedError":
                    raise
                raise Refusal("PolicyRejectedError", **error.facts()) from error  # type: ignore[attr-defined]

    def _accepted_before(self, command: Any) -> tuple[Facts, ...] | None:
        known = self.accepted.get(self._key(command))
        if known is None:
            return None
        payload, events = known
        if payload == self._payload(command):
            return events
        if isinstance(command, ReserveStock):
            raise Refusal("ReservationIdTakenError", reservation_id=command.reservation_id)
        raise Refusal("CommandIdReusedError", command_id=command.command_id)

    @staticmethod
    def _key(command: Any) -> tuple[str, str]:
        if isinstance(command, ReserveStock):
            return "reserve", command.reservation_id
        return "own", command.command_id

    @staticmethod
    def _payload(command: Any) -> Facts:
        """What makes two commands the same: not why, not by when."""
        fields = {field.name: getattr(command, field.name) for field in attrs.fields(type(command))}
        without = {"command_id", "reference", "not_after"}
        return {"kind": type(command).__name__} | {name: value for name, value in fields.items() if name not in without}

    def _enter(self, facts: Facts, t: datetime) -> Facts:
        on_hand, version = self.on_hand, len(self.events) + 1
        match facts["event"]:
            case "StockAddedEvent":
                on_hand += facts["quantity"]
            case "StockReservedEvent":
                self.open[facts["reservation_id"]] = {
                    "reservation_id": facts["reservation_id"],
                    "original": facts["quantity"],
                    "remaining": facts["quantity"],
                    "committed": 0,
                    "released": 0,
                    "purpose": facts["purpose"],
                    "owner_id": facts["owner_id"],
                    "reserved_at": t,
                    "expires_at": facts["expires_at"],
                    "version": version,
                }
            case "ReservationExtendedEvent":
                self._change(facts, expires_at=facts["expires_at"])
            case "StockReleasedEvent":
                hold = self.open[facts["reservation_id"]]
                self._change(facts, remaining=facts["remaining"], released=hold["released"] + facts["quantity"])
                self._close(facts, "EXPIRED" if facts["reason"] == "EXPIRED" else "RELEASED")
            case "StockCommittedEvent":
                on_hand -= facts["quantity"]
                hold = self.open[facts["reservation_id"]]
                self._change(facts, remaining=facts["remaining"], committed=hold["committed"] + facts["quantity"])
                self._close(facts, "COMMITTED")
            case "StockAdjustedEvent":
                on_hand += facts["delta"]
                if facts["reason"] == "COUNT":
                    self.last_count_version = version
            case unknown:
                raise AssertionError(unknown)
        entered = facts | {"on_hand": on_hand, "reserved": self.reserved, "version": version, "recorded_at": t}
        self.events.append(entered)
        return entered

    def _change(self, facts: Facts, **changed: Any) -> None:
        self.open[facts["reservation_id"]] = self.open[facts["reservation_id"]] | changed

    def _close(self, facts: Facts, outcome: str) -> None:
        if facts["remaining"] == 0:
            hold = self.open.pop(facts["reservation_id"])
            self.closed[facts["reservation_id"]] = self._ending(hold, outcome)
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
        told = {"changed": bool(events), "replayed": replayed, "state": now.get("state")}
        if last is None:
            return told | {"version": stock["version"], "at": t, "on_hand": stock["on_hand"], "reserved": stock["reserved"]}
        return told | {"version": last["version"], "at": last["recorded_at"], "on_hand": last["on_hand"], "reserved": last["reserved"]}

    def state_of(self, reservation_id: str | None, t: datetime) -> Facts:
        """Return how a reservation stands at ``t``: its state, and the units that it holds; empty for no reservation."""
        if reservation_id is None:
            return {}
        hold = self.open.get(reservation_id)
        if hold is None:
            ended = self.closed.get(reservation_id)
            return {"state": "CLOSED" if ended is None else ended["outcome"], "remaining": 0}
        is_due = hold["expires_at"] is not None and hold["expires_at"] <= t
        return {"state": "EXPIRED", "remaining": 0} if is_due else {"state": "OPEN", "remaining": hold["remaining"]}


class View:
    """What a policy is shown: the same names as :class:`~inventory_es.StockView`."""

    def __init__(self, inventory_id: Any, at: datetime, stock: Stock, due: Sequence[Facts]) -> None:
        self.inventory_id = inventory_id
        self.at = at
        self.version: int = stock["version"]
        self.on_hand: int = stock["on_hand"]
        self.reserved: int = stock["reserved"]
        self.unreserved: int = self.on_hand - self.reserved
        self.due = tuple(SimpleNamespace(**hold) for hold in due)
        self._open = stock["open"]

    def reservation(self, reservation_id: str) -> SimpleNamespace | None:
        """Return the reservation of this id, if it is open and not due."""
        hold = self._open.get(reservation_id)
        return None if hold is None else SimpleNamespace(**hold)

    def reservations(self) -> Iterator[SimpleNamespace]:
        """Iterate over all that are open and not due."""
        return iter([SimpleNamespace(**hold) for hold in self._open.values()])

    def reserved_for(self, owner_id: str) -> int:
        """Return what the open reservations of one owner hold."""
        return sum(hold["remaining"] for hold in self._open.values() if hold["owner_id"] == owner_id)


class _Figures:
    def __init__(self, figure: Callable[[int], int]) -> None:
        self._figure = figure

    def __getitem__(self, version: int) -> int:
        return self._figure(version)
