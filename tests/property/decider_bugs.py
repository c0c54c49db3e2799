"""Bugs of a decider, each one edit away from the shipped one: a module, its text, and the wrong text in its place."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType, FunctionType, ModuleType

import attrs

from inventory_es.domain import command_identity, fold, inventory, reservation_book


@attrs.frozen
class Bug:
    """One seeded bug.

    Attributes:
        name: what is wrong.
        module: the module with the bug.
        right: a text of the shipped source, which occurs there once.
        wrong: the text that replaces it.
    """

    name: str
    module: ModuleType
    right: str
    wrong: str

    @contextmanager
    def seeded(self) -> Iterator[None]:
        """Run with this bug: replace the code of the functions that the bug changes in place."""
        source = inspect.getsource(self.module)
        if source.count(self.right) != 1:
            msg = f"{self.name}: its text stands {source.count(self.right)} times in {self.module.__name__}"
            raise ValueError(msg)
        codes = dict(_codes(compile(source.replace(self.right, self.wrong), str(self.module.__file__), "exec", dont_inherit=True)))
        functions = list(_functions(self.module))
        shipped = [(function, function.__code__) for function in functions]
        changed = [function for function, code in shipped if code.co_qualname in codes and _is_other(code, codes[code.co_qualname])]
        if not changed:
            msg = f"{self.name}: it changes no function of {self.module.__name__}"
            raise ValueError(msg)
        try:
            for function in changed:
                function.__code__ = codes[function.__code__.co_qualname]
            yield
        finally:
            for function, code in shipped:
                function.__code__ = code


def _codes(code: CodeType) -> Iterator[tuple[str, CodeType]]:
    for one in code.co_consts:
        if isinstance(one, CodeType):
            yield one.co_qualname, one
            yield from _codes(one)


def _functions(module: ModuleType) -> Iterator[FunctionType]:
    for thing in vars(module).values():
        if getattr(thing, "__module__", None) != module.__name__:
            continue
        for member in vars(thing).values() if isinstance(thing, type) else [thing]:
            for function in (
                member,
                getattr(member, "fget", None),
                getattr(member, "__func__", None),
                getattr(member, "__wrapped__", None),
            ):
                if isinstance(function, FunctionType):
                    yield function


def _is_other(one: CodeType, other: CodeType) -> bool:
    def same(left: object, right: object) -> bool:
        if isinstance(left, CodeType) and isinstance(right, CodeType):
            return not _is_other(left, right)
        return type(left) is type(right) and left == right

    return (one.co_code, one.co_names) != (other.co_code, other.co_names) or not all(
        same(left, right) for left, right in zip(one.co_consts, other.co_consts, strict=False)
    )


_OF_DECISIONS = {
    # adding
    "an addition may go one above the largest count": (
        'if on_hand > MAX_QUANTITY:\n            raise QuantityOverflowError(name="on_hand", limit=MAX_QUANTITY)\n        self.own',
        'if on_hand > MAX_QUANTITY + 1:\n            raise QuantityOverflowError(name="on_hand", limit=MAX_QUANTITY)\n        self.own',
    ),
    "the largest count itself is refused": (
        'if on_hand > MAX_QUANTITY:\n            raise QuantityOverflowError(name="on_hand", limit=MAX_QUANTITY)\n        self.own',
        'if on_hand >= MAX_QUANTITY:\n            raise QuantityOverflowError(name="on_hand", limit=MAX_QUANTITY)\n        self.own',
    ),
    "an addition is always received": (
        "command.quantity, command.reason, on_hand, self.reserved))",
        "command.quantity, type(command.reason).RECEIVED, on_hand, self.reserved))",
    ),
    # reserving
    "a used reservation id is free again once closed": (
        "if self._book.knows(reservation_id):",
        "if self._book.get(reservation_id) is not None:",
    ),
    "a reserve is accepted at its not_after": ("self._at >= command.not_after", "self._at > command.not_after"),
    "a reserve is refused just before its not_after": (
        "self._at >= command.not_after",
        "self._at + timedelta(microseconds=1) >= command.not_after",
    ),
    "not_after is forgotten": ("if command.not_after is not None and self._at >= command.not_after:", "if False:"),
    "the last unit can't be reserved": (
        "if unreserved - quantity < command.keep_available:",
        "if unreserved - quantity <= command.keep_available:",
    ),
    "one unit too many can be reserved": (
        "if unreserved - quantity < command.keep_available:",
        "if unreserved - quantity < command.keep_available - 1:",
    ),
    "keep_available is forgotten": ("if unreserved - quantity < command.keep_available:", "if unreserved - quantity < 0:"),
    "keep_available is missing in the refusal": ("keep_available=command.keep_available\n", "keep_available=0\n"),
    "the refusal tells what is on hand as available": ("available=unreserved,", "available=self.on_hand,"),
    "a reserve counts what is due as taken": (
        "unreserved = self.on_hand - self.reserved",
        "unreserved = self.on_hand - self._inventory.units_reserved",
    ),
    "a hold has no end": ("expires_at = None if command.ttl is None else _after(self._at, command.ttl)", "expires_at = None"),
    "a hold ends a microsecond early": (
        "expires_at = None if command.ttl is None else _after(self._at, command.ttl)",
        "expires_at = None if command.ttl is None else _after(self._at, command.ttl) - timedelta(microseconds=1)",
    ),
    "a hold lives from the last event on": (
        "expires_at = None if command.ttl is None else _after(self._at, command.ttl)",
        "expires_at = None if command.ttl is None else _after(self._inventory.last_time or self._at, command.ttl)",
    ),
    "a hold beyond the calendar is firm": (
        '        raise InvalidTtlError(problem="ends beyond the calendar',
        '        return None\n        raise InvalidTtlError(problem="ends beyond the calendar',
    ),
    "the last instant of the calendar is beyond it": (
        "        return at + ttl\n",
        "        return at + ttl + timedelta(microseconds=1) and at + ttl\n",
    ),
    "every hold is for an order": (
        "= command.purpose, command.owner_id",
        "= type(command.purpose).ORDER, command.owner_id",
    ),
    "the owner is forgotten": ("= command.purpose, command.owner_id", "= command.purpose, None"),
    "the owner is the reservation": (
        "= command.purpose, command.owner_id",
        "= command.purpose, reservation_id",
    ),
    # extending and confirming
    "an extension may shorten": ("if expires_at > hold.expires_at:", "if expires_at != hold.expires_at:"),
    "an extension to the same end is an event": ("if expires_at > hold.expires_at:", "if expires_at >= hold.expires_at:"),
    "an extension counts from the old end": (
        "expires_at = _after(self._at, command.ttl)\n        if",
        "expires_at = _after(hold.expires_at, command.ttl)\n        if",
    ),
    "an extension counts from when it was reserved": (
        "expires_at = _after(self._at, command.ttl)\n        if",
        "expires_at = _after(hold.reserved_at, command.ttl)\n        if",
    ),
    "an extension makes a firm hold dated": (
        "        if hold.expires_at is None:\n            return\n",
        "        hold = hold if hold.expires_at else OpenReservation(hold.reservation_id, 1, 1, 0, '', None, at := self._at, at, 1)\n",
    ),
    "a confirmation only extends": (
        "hold.reservation_id, hold.expires_at, None, self.on_hand",
        "hold.reservation_id, hold.expires_at, hold.expires_at + timedelta(days=365), self.on_hand",
    ),
    "confirming a firm hold is refused": (
        "        if hold.expires_at is not None:\n            self.own",
        "        if hold.expires_at is None:\n            raise InvalidTtlError(problem='')\n        else:\n            self.own",
    ),
    # releasing
    "a release of a committed hold is done": (
        "except (ReservationAlreadyReleasedError, ReservationExpiredError):",
        "except (ReservationAlreadyReleasedError, ReservationExpiredError, ReservationAlreadyCommittedError):",
    ),
    "a release of an unknown hold is done": (
        "except (ReservationAlreadyReleasedError, ReservationExpiredError):",
        "except (ReservationAlreadyReleasedError, ReservationExpiredError, ReservationNotFoundError):",
    ),
    "a release of a released hold is refused": (
        "except (ReservationAlreadyReleasedError, ReservationExpiredError):",
        "except ReservationExpiredError:",
    ),
    "a release of a due hold is refused": (
        "except (ReservationAlreadyReleasedError, ReservationExpiredError):",
        "except ReservationAlreadyReleasedError:",
    ),
    "a release gives everything back": (
        "        quantity = self._some(hold, command.quantity)\n        self._give_back",
        "        quantity = hold.remaining\n        self._give_back",
    ),
    "the reason of a release is lost": (
        "self._give_back(hold, quantity, command.reason, remaining",
        "self._give_back(hold, quantity, ReleaseReason.CANCELLED, remaining",
    ),
    # committing
    "a commit takes everything": (
        "        quantity = self._some(hold, command.quantity)\n        remaining",
        "        quantity = hold.remaining\n        remaining",
    ),
    "a commit of all takes one": (
        "        quantity = self._some(hold, command.quantity)\n        remaining",
        "        quantity = command.quantity or 1\n        remaining",
    ),
    "a commit of too much is clamped": (
        "        if quantity is None:\n            return hold.remaining\n        if",
        "        if quantity is None or quantity > hold.remaining:\n            return hold.remaining\n        if",
    ),
    "all that remains is too much": ("        if quantity > hold.remaining:", "        if quantity >= hold.remaining:"),
    "a refused quantity is told against the original": (
        "requested=quantity, remaining=hold.remaining",
        "requested=quantity, remaining=hold.original",
    ),
    "a remainder is never released": ("if remaining and command.remainder is Remainder.RELEASE:", "if False:"),
    "a remainder is always released": ("if remaining and command.remainder is Remainder.RELEASE:", "if remaining:"),
    "a remainder of nothing is released": (
        "if remaining and command.remainder is Remainder.RELEASE:",
        "if command.remainder is Remainder.RELEASE:",
    ),
    "a remainder is released as cancelled": ("ReleaseReason.REMAINDER", "ReleaseReason.CANCELLED"),
    "the reason of a commit is lost": (
        "name, reason = hold.reservation_id, command.reason",
        "name, reason = hold.reservation_id, type(command.reason).SOLD",
    ),
    "a commit leaves the units on hand": ("        self.on_hand -= quantity\n", ""),
    "a commit leaves the units reserved": ("        self.reserved -= quantity\n        name", "        name"),
    "a commit of a due hold is accepted": ("if hold.expires_at is None or hold.expires_at > self._at:", "if True:"),
    "a hold is valid at its very end": (
        "if hold.expires_at is None or hold.expires_at > self._at:",
        "if hold.expires_at is None or hold.expires_at >= self._at:",
    ),
    "a hold ends a microsecond before its end": (
        "if hold.expires_at is None or hold.expires_at > self._at:",
        "if hold.expires_at is None or hold.expires_at > self._at + timedelta(microseconds=1):",
    ),
    "a due hold is refused as not found": (
        "raise ReservationExpiredError(inventory=self._stream, reservation_id=reservation_id, expired_at=hold.expires_at)",
        "raise ReservationNotFoundError(inventory=self._stream, reservation_id=reservation_id)",
    ),
    "the end that is told is the time of asking": (
        "reservation_id=reservation_id, expired_at=hold.expires_at)",
        "reservation_id=reservation_id, expired_at=self._at)",
    ),
    "an expired hold is refused as released": ("if closed.outcome is Ending.EXPIRED and closed.expires_at is not None:", "if False:"),
    "a released hold is refused as committed": ("if closed.outcome is Ending.COMMITTED:", "if closed.outcome is not Ending.EXPIRED:"),
    "a hold that was committed in part ended as committed": ("if closed.outcome is Ending.COMMITTED:", "if closed.committed:"),
    "a hold that was dated ended as expired": (
        "if closed.outcome is Ending.EXPIRED and closed.expires_at is not None:",
        "if closed.expires_at is not None:",
    ),
    "an unknown hold is refused as released": (
        "            raise ReservationNotFoundError(inventory=self._stream, reservation_id=reservation_id)",
        "            raise ReservationAlreadyReleasedError(inventory=self._stream, reservation_id=reservation_id)",
    ),
    # counting and adjusting
    "an older count wins": ("if observed < self._inventory.last_count_version:", "if False:"),
    "a second count of the same version is refused": (
        "if observed < self._inventory.last_count_version:",
        "if observed <= self._inventory.last_count_version and self._inventory.last_count_version:",
    ),
    "a count must be of the present version": (
        "if observed < self._inventory.last_count_version:",
        "if observed < self._inventory.version and self._inventory.last_count_version:",
    ),
    "a count ignores what moved since": (
        "        if observed == self._inventory.version:\n            observed_on_hand = self._inventory.units_on_hand\n",
        "        observed_on_hand = self._inventory.units_on_hand\n",
    ),
    "a count that confirms leaves no trace": (
        "        delta = command.counted - observed_on_hand\n",
        "        delta = command.counted - observed_on_hand\n        if not delta:\n            return\n",
    ),
    "a count has the wrong sign": ("delta = command.counted - observed_on_hand", "delta = observed_on_hand - command.counted"),
    "a count is of what is free": (
        "delta = command.counted - observed_on_hand",
        "delta = command.counted - observed_on_hand + self.reserved",
    ),
    "a count may always bump": ("AdjustReason.COUNT, command.shortfall, counted", "AdjustReason.COUNT, Shortfall.BUMP, counted"),
    "a count forgets what was counted": ("counted=command.counted, observed_version=observed)", "observed_version=observed)"),
    "a count forgets what version was seen": ("counted=command.counted, observed_version=observed)", "counted=command.counted)"),
    "a count says the present version": (
        "counted=command.counted, observed_version=observed)",
        "counted=command.counted, observed_version=self._inventory.version)",
    ),
    "an adjustment may always bump": ("            if shortfall is Shortfall.REJECT:", "            if False:"),
    "an adjustment never bumps": ("            if shortfall is Shortfall.REJECT:", "            if True:"),
    "an adjustment to just what is promised is refused": (
        "        if lacking > 0:\n            if shortfall",
        "        if lacking >= 0 and delta < 0:\n            if shortfall",
    ),
    "an adjustment may go one below the promises": ("lacking = self.reserved - on_hand", "lacking = self.reserved - on_hand - 1"),
    "a shortfall bumps one too many": (
        "self._bump(lacking)",
        "self._bump(min(lacking + 1, self.reserved))",
    ),
    "a shortfall bumps what is due": ("lacking = self.reserved - on_hand", "lacking = self._inventory.units_reserved - on_hand"),
    "a shortfall is told as what is lost": ("shortfall=lacking)", "shortfall=-delta)"),
    "an adjustment below nothing is clamped": (
        "        on_hand = self.on_hand + delta\n",
        "        delta = max(delta, -self.on_hand)\n        on_hand = self.on_hand + delta\n",
    ),
    "an adjustment to nothing is refused": ("        if on_hand < 0:", "        if on_hand <= 0 and delta:"),
    "a refused adjustment tells the wrong stock": ("on_hand=self.on_hand, delta=delta)", "on_hand=self.reserved, delta=delta)"),
    "an adjustment may overflow": (
        '        if on_hand > MAX_QUANTITY:\n            raise QuantityOverflowError(name="on_hand", limit=MAX_QUANTITY)\n        lacking',
        "        lacking",
    ),
    "the reason of an adjustment is lost": (
        "decision.adjust(command.delta, command.reason, command.shortfall)",
        "decision.adjust(command.delta, AdjustReason.CORRECTION, command.shortfall)",
    ),
    "an adjustment passes for a count": (
        "decision.adjust(command.delta, command.reason, command.shortfall)",
        "decision.adjust(command.delta, AdjustReason.COUNT, command.shortfall)",
    ),
    "the releases of a shortfall come after the adjustment": (
        "        self.own.append(StockAdjustedEvent(*self._place, delta, reason, counted, observed_version, on_hand, self.reserved))",
        "        self.own.insert(0, StockAdjustedEvent(*self._place, delta, reason, counted, observed_version, on_hand, self.reserved))",
    ),
    # around every command
    "a sweep ignores its limit": ("self._book.due(at, command.limit)", "self._book.due(at, None)"),
    "a sweep closes one more than its limit": ("self._book.due(at, command.limit)", "self._book.due(at, command.limit + 1)"),
    "a sweep closes the last due ones": ("self._book.due(at, command.limit)", "self._book.due(at, None)[-command.limit :]"),
    "a no-op closes what is due": ("        if not decision.own:\n            return ()\n", ""),
    "what is due stays open": (
        "(*_expired(self, due), *decision.own) if due else tuple(decision.own)",
        "tuple(decision.own)",
    ),
    "only the first policy is asked": ("for policy in policies:", "for policy in policies[:1]:"),
    "only the last policy is asked": ("for policy in policies:", "for policy in policies[-1:]:"),
    "policies are asked in the wrong order": ("for policy in policies:", "for policy in policies[::-1]:"),
    "policies are asked about reserves alone": ("if policies and decision.own:", "if policies and isinstance(command, ReserveStock):"),
    "policies are asked about no-ops": ("if policies and decision.own:", "if policies:"),
    "policies are never asked": ("if policies and decision.own:", "if False:"),
    "policies see the time of the last event": ("view = StockView(self, at)", "view = StockView(self, self._last_time or at)"),
    # closing what is due, giving back and bumping
    "expiries are drafted with the balance before": ("        reserved -= hold.remaining\n", ""),
    "an expiry frees what was promised at first": (
        "StockReleasedEvent(*place, hold.remaining,",
        "StockReleasedEvent(*place, hold.original,",
    ),
    "an expiry has the reason of a cancellation": ("ReleaseReason.EXPIRED", "ReleaseReason.CANCELLED"),
    "an expiry leaves the remaining units": ("hold.reservation_id, 0, ReleaseReason", "hold.reservation_id, hold.remaining, ReleaseReason"),
    "expiries come after the command's own events": (
        "(*_expired(self, due), *decision.own)",
        "(*decision.own, *_expired(self, due))",
    ),
    "only the first due hold is closed on the way": ("= book.due(at, None)", "= book.due(at, None)[:1]"),
    "what is due is closed in any order": ("= book.due(at, None)", "= book.due(at, None)[::-1]"),
    "a bump takes whole holds": ("quantity = min(lacking, hold.remaining)", "quantity = hold.remaining"),
    "a bump takes one unit of each": ("quantity = min(lacking, hold.remaining)", "quantity = 1"),
    "a bump takes holds that are due": (
        "(hold for hold in self._book.bump_candidates() if not hold.is_due(self._at))",
        "(hold for hold in self._book.bump_candidates())",
    ),
    "a bump has the reason of a cancellation": ("ReleaseReason.SHORTFALL", "ReleaseReason.CANCELLED"),
    "a bump says that nothing remains": ("remaining=hold.remaining - quantity)\n            lacking", "remaining=0)\n            lacking"),
    "a release keeps the promise in the balance": (
        "        self.reserved -= quantity\n        self.own.append(StockReleased",
        "        self.own.append(StockReleased",
    ),
}

_OF_FOLDS = {
    "a fold forgets who owns a hold after a partial commit": (
        "remaining, committed, hold.purpose, hold.owner_id, hold.reserved_at",
        "remaining, committed, hold.purpose, None, hold.reserved_at",
    ),
    "a fold forgets what was committed before": ("committed = hold.committed + event.quantity", "committed = event.quantity"),
    "a fold does not extend": ("hold.committed, event.expires_at), None", "hold.committed, hold.expires_at), None"),
    "a fold makes a confirmed hold dated again": (
        "_with(hold, event.remaining, committed, hold.expires_at), None",
        "_with(hold, event.remaining, committed, hold.expires_at or _at), None",
    ),
    "a fold closes an expired hold as released": (
        "outcome = Ending.EXPIRED if event.reason is ReleaseReason.EXPIRED else Ending.RELEASED",
        "outcome = Ending.RELEASED",
    ),
    "a fold closes a bumped hold as expired": (
        "if event.reason is ReleaseReason.EXPIRED else",
        "if event.reason in {ReleaseReason.EXPIRED, ReleaseReason.SHORTFALL} else",
    ),
    "a fold closes a hold committed in part as committed": (
        "    outcome = Ending.EXPIRED",
        "    outcome = Ending.COMMITTED if hold.committed else Ending.EXPIRED",
    ),
    "a fold forgets what a closed hold released": ("hold.original - hold.committed, hold.expires_at)", "event.quantity, hold.expires_at)"),
    "a fold forgets when a closed hold ended": (
        "hold.original - hold.committed, hold.expires_at)",
        "hold.original - hold.committed, None)",
    ),
    "a fold takes the version before": (
        "event.owner_id, at, event.expires_at, version)",
        "event.owner_id, at, event.expires_at, version - 1)",
    ),
    "a fold makes every hold firm": ("event.owner_id, at, event.expires_at, version)", "event.owner_id, at, None, version)"),
    "a fold forgets what was committed before a release in part": (
        "_with(hold, event.remaining, hold.committed, hold.expires_at), None\n    outcome",
        "_with(hold, event.remaining, 0, hold.expires_at), None\n    outcome",
    ),
}

_OF_STATES = {
    "a count is not remembered": ("            self._last_count_version = version\n", "            pass\n"),
    "a count is remembered by what it saw": (
        "            self._last_count_version = version\n",
        "            self._last_count_version = event.observed_version\n",
    ),
    "any adjustment is remembered as a count": (
        "if kind is StockAdjustedEvent and event.reason is AdjustReason.COUNT:",
        "if kind is StockAdjustedEvent:",
    ),
    "a snapshot forgets the last count": ("        inventory._last_count_version = snapshot.last_count_version\n", ""),
    "a snapshot forgets the time": ("        inventory._last_time = snapshot.last_time\n", ""),
    "a snapshot forgets what is closed": (
        "            inventory._book.close(reservation_id, ending)\n",
        "            pass\n",
    ),
    "a snapshot counts what is promised at first": (
        "        inventory._reserved = snapshot.reserved\n",
        "        inventory._reserved = sum(hold.original for hold in snapshot.open)\n",
    ),
    "available is what is unreserved": (" + sum(hold.remaining for hold in self.due(at)))", ")"),
    "available counts due holds in full": ("sum(hold.remaining for hold in self.due(at)))", "sum(hold.original for hold in self.due(at)))"),
    "time runs backwards unseen": (
        "self._last_time = at\n        if kind",
        "self._last_time = at if self._last_count_version == 0 else last_time\n        if kind",
    ),
    "a version counts calls": (
        "self._version = version\n        self._on_hand",
        "self._version = version + (on_hand == self._on_hand)\n        self._on_hand",
    ),
}

_OF_BOOKS = {
    "too few closed reservations are remembered": ("len(self.closed) > CLOSED_KEPT", "len(self.closed) > CLOSED_KEPT - 1"),
    "a hundred closed reservations are remembered": ("len(self.closed) > CLOSED_KEPT", "len(self.closed) > 100"),
    "one closed reservation too many is remembered": ("len(self.closed) > CLOSED_KEPT", "len(self.closed) > CLOSED_KEPT + 1"),
    "the newest closed reservation is forgotten": ("self.closed.popitem(last=False)", "self.closed.popitem()"),
    "a dozen closed reservations are remembered": ("len(self.closed) > CLOSED_KEPT", "len(self.closed) > 2"),
    "an owner's sum forgets partial commits": (
        "(hold.remaining if hold else 0) - (before.remaining if before else 0)",
        "(hold.original if hold else 0) - (before.original if before else 0)",
    ),
    "an owner's sum is of what was promised at first": (
        "self._by_owner.get(hold.owner_id, 0) + hold.remaining",
        "self._by_owner.get(hold.owner_id, 0) + hold.original",
    ),
    "an owner's sum is kept when a hold ends": (
        "+ (hold.remaining if hold else 0) - (before.remaining if before else 0)",
        "+ (hold.remaining if hold else before.remaining) - (before.remaining if before else 0)",
    ),
    "firm holds are bumped first": (
        "self._bump_order.push((hold.expires_at is None, -hold.version, reservation_id))",
        "self._bump_order.push((hold.expires_at is not None, -hold.version, reservation_id))",
    ),
    "an extended hold keeps its old end": (
        "self._due.push((expires_at, reservation_id))",
        "self._due.push((before.expires_at if before and before.expires_at else expires_at, reservation_id))",
    ),
    "what is due has no order among equals": (
        "        return tuple([hold for key in keys",
        "        keys = sorted(keys, key=lambda key: (key[0], self.get(key[1]).version))\n        return tuple([hold for key in keys",
    ),
}

_OF_VIEWS = {
    "a policy sees what is due as reserved": (
        "            self.reserved -= sum(hold.remaining for hold in self.due)\n\n    @property",
        "            pass\n\n    @property",
    ),
    "a policy sees holds that are due": ("return None if hold is None or hold.is_due(self.at) else hold", "return hold"),
    "a policy goes over holds that are due": (
        "(hold for hold in self._inventory.reservations() if not hold.is_due(self.at))",
        "(hold for hold in self._inventory.reservations())",
    ),
    "an owner's limit counts expired holds": (" - sum(hold.remaining for hold in self.due if hold.owner_id == owner_id)", ""),
    "an owner's limit forgets all due holds": ("for hold in self.due if hold.owner_id == owner_id)", "for hold in self.due)"),
    "a policy sees the version after": ("self.version: int = inventory.version", "self.version: int = inventory.version + 1"),
    "a policy sees the unreserved as on hand": (
        "self.on_hand: int = inventory.units_on_hand\n        self.reserved: int = inventory.units_reserved\n        if",
        "self.on_hand: int = int(inventory.unreserved)\n        self.reserved: int = inventory.units_reserved\n        if",
    ),
}

_ELSEWHERE = [
    Bug(
        "a hold is not due at its very end",
        reservation_book,
        "heap[0][0] <= first and len(found) != limit",
        "heap[0][0] < first and len(found) != limit",
    ),
    Bug("a hold is due only after its end", reservation_book, "if not heap or heap[0][0] > first:", "if not heap or heap[0][0] >= first:"),
    Bug(
        "what was found due is lost",
        reservation_book,
        "            heapq.heappush(heap, key)\n        return found",
        "            pass\n        return found",
    ),
    Bug(
        "a bump goes over the first branch alone", reservation_book, "for child in (2 * at + 1, 2 * at + 2):", "for child in (2 * at + 1,):"
    ),
    Bug("a closed hold is bumped", reservation_book, "            self.objects.pop(reservation_id, None)\n", "            pass\n"),
    Bug(
        "a confirmed hold is bumped as a dated one",
        reservation_book,
        "if key != last and self._is_live(key):\n                yield",
        "if key != last:\n                yield",
    ),
    Bug("a hold at its end is not due", reservation_book, "self.expires_at <= at", "self.expires_at < at"),
    Bug(
        "released units are what is left",
        reservation_book,
        "return self.original - self.remaining - self.committed",
        "return self.original - self.remaining",
    ),
    Bug(
        "another payload passes for the same command",
        command_identity,
        "if value is not default and value != default:",
        "if value is not default and value != default and not isinstance(value, int):",
    ),
    Bug(
        "another reference is another command",
        command_identity,
        "    return _of_reserve(kind, values) if kind is ReserveStock else _of(kind, values)",
        "    return (_of_reserve(kind, values) if kind is ReserveStock else _of(kind, values)) + str(command.reference or '')",
    ),
    Bug(
        "another deadline is another command",
        command_identity,
        "    return _of_reserve(kind, values) if kind is ReserveStock else _of(kind, values)",
        "    return _of_reserve(kind, values) + str(command.not_after or '') if kind is ReserveStock else _of(kind, values)",
    ),
]

BUGS = [
    Bug(name, module, right, wrong)
    for module, table in (
        (inventory, _OF_DECISIONS),
        (fold, _OF_FOLDS),
        (inventory, _OF_STATES),
        (reservation_book, _OF_BOOKS),
        (inventory, _OF_VIEWS),
    )
    for name, (right, wrong) in table.items()
] + _ELSEWHERE
"""The bugs in code that all programs reach."""

BUGS_OF_PACKING = [
    Bug("a packed reservation loses its owner", reservation_book, "    owner = hold.owner_id\n", "    owner = None\n"),
    Bug(
        "a far due key is forgotten",
        reservation_book,
        "            self._push_far((key[0] - _EPOCH) // _MICROSECOND, key[1])\n",
        "            pass\n",
    ),
    Bug("a packed reservation counts twice", reservation_book, "        packed.discard(hold.reservation_id)\n", ""),
]
"""The bugs in open reservations beyond the first ``OBJECTS_KEPT``."""
