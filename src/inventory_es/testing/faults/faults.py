"""Decisions which call fails, and how: by a plan, or by a seed."""

import random
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Literal, TypeVar, get_args

import attrs

from inventory_es.domain.errors import InventoryError
from inventory_es.ports.toolkit.waiting import give_way

T = TypeVar("T")

FaultKind = Literal["fail_before", "fail_after", "delay", "drop", "duplicate", "reorder", "late"]
"""``fail_before``: nothing is done, an error comes. ``fail_after``: it is done, and an error comes. ``delay``: it is done later.
``drop``: it gets lost without being done. ``duplicate``: it is done twice. ``reorder``: a later call overtakes it.
``late``: an error comes, and an append is done after some later calls; any other call gets lost."""

ALL_KINDS: tuple[FaultKind, ...] = get_args(FaultKind)
PUNCTUAL: tuple[FaultKind, ...] = tuple(kind for kind in ALL_KINDS if kind != "late")

Call = Callable[[], Awaitable[object]]


@attrs.frozen
class Injected:
    """A fault that happened.

    Attributes:
        operation: the method that was called (``append``).
        number: the number of the call among those of this operation, starting at 1.
        kind: the fault.
    """

    operation: str
    number: int
    kind: FaultKind


class Faults:
    """Decisions, for each call of a wrapped port, whether and how it fails. One object may serve several wrappers.

    Make one with :meth:`by_plan`, :meth:`by_seed` or :meth:`none`.

    Attributes:
        injected: the faults that happened, in order. With them, a seeded run can be reported and turned into a plan.
        turns: the length of a delay, in turns of the event loop. An overtaken call waits for at most so many turns, and a late call is
            made after so many further calls.
        settles_within: seconds within which late appends are made, as the wrapper declares; ``None`` where nobody knows.

    Args:
        choose: returns the fault of a call, by its operation and its number.
        turns: see above.
        later: takes a late append, and makes it within ``settles_within``; by default it is made before a later call.
        settles_within: see above; 0 where ``choose`` never returns ``late``.
    """

    def __init__(
        self,
        choose: Callable[[str, int], FaultKind | None],
        *,
        turns: int = 10,
        later: Callable[[Call], None] | None = None,
        settles_within: float | None = 0.0,
    ) -> None:
        self._choose = choose
        self._calls: dict[str, int] = {}
        self._ended: dict[str, int] = {}
        self._is_stopped = False
        self._later = self._keep if later is None else later
        self._late: list[tuple[int, Call]] = []
        self._begun = 0
        self.injected: list[Injected] = []
        self.turns = turns
        self.settles_within = settles_within

    @classmethod
    def none(cls) -> "Faults":
        """Return an object that injects no faults."""
        return cls(lambda _operation, _number: None)

    @classmethod
    def by_plan(cls, plan: Mapping[str, Mapping[int, FaultKind]], *, turns: int = 10) -> "Faults":
        """Return faults at named calls: ``{"append": {2: "fail_after"}}`` is the second append.

        Args:
            plan: the fault of each call, by operation and by number, starting at 1.
            turns: see the class.
        """
        is_late = any("late" in kinds.values() for kinds in plan.values())
        return cls(lambda operation, number: plan.get(operation, {}).get(number), turns=turns, settles_within=None if is_late else 0.0)

    @classmethod
    def by_seed(
        cls,
        seed: int,
        *,
        rate: float = 0.1,
        kinds: Sequence[FaultKind] = PUNCTUAL,
        operations: Collection[str] | None = None,
        turns: int = 10,
    ) -> "Faults":
        """Return faults by chance; the same seed gives the same faults for the same calls.

        Args:
            seed: the seed.
            rate: the share of the calls that is hit, 0 to 1.
            kinds: the faults to choose from; by default all but ``late``, which a store must declare.
            operations: the methods that may fail; ``None`` for all.
            turns: see the class.
        """
        chance = random.Random(seed)

        def choose(operation: str, _number: int) -> FaultKind | None:
            is_hit, kind = chance.random() < rate, chance.choice(kinds)
            return kind if is_hit and (operations is None or operation in operations) else None

        return cls(choose, turns=turns, settles_within=None if "late" in kinds else 0.0)

    def stop(self) -> None:
        """Inject no more faults, so that everything can come right. Late appends are made before the next call."""
        self._is_stopped = True

    def next(self, operation: str) -> FaultKind | None:
        """Return the fault of the call that begins now; ``None`` for no fault."""
        number = self._calls[operation] = self._calls.get(operation, 0) + 1
        kind = None if self._is_stopped else self._choose(operation, number)
        if kind is not None and kind not in ALL_KINDS:
            msg = f"a fault is one of {', '.join(ALL_KINDS)}, or None"
            raise ValueError(msg)
        if kind is not None:
            self.injected.append(Injected(operation, number, kind))
        return kind

    async def run(
        self,
        operation: str,
        call: Callable[[], Awaitable[T]],
        *,
        unavailable: Exception,
        unknown: Exception,
        lost: Callable[[], T],
        reordered: Callable[[], Awaitable[T]] | None = None,
        may_be_late: bool = False,
    ) -> T:
        """Make one call, with its fault. An error of the call itself passes through.

        Args:
            operation: the method that is called.
            call: makes the call; called twice for a duplicate.
            unavailable: raised instead of the call.
            unknown: raised after the call.
            lost: returns, or raises, what the caller sees of a lost call.
            may_be_late: True for an append.
            reordered: makes the call in another order, where one call has parts; else the call waits to be overtaken.
        """
        kind = self.next(operation)
        await self._do_late_ones()
        try:
            match kind:
                case "late" if may_be_late:
                    self._later(call)
                    raise unknown
                case "fail_before":
                    raise unavailable
                case "fail_after":
                    await call()
                    raise unknown
                case "drop" | "late":
                    return lost()
                case "duplicate":
                    await call()
                case "reorder" if reordered is not None:
                    return await reordered()
                case "delay" | "reorder":
                    await self._wait(operation, is_overtaken=kind == "reorder")
                case None:
                    pass
            return await call()
        finally:
            self._ended[operation] = self._ended.get(operation, 0) + 1

    def _keep(self, call: Call) -> None:
        self._late.append((self._begun + self.turns, call))

    async def _do_late_ones(self) -> None:
        self._begun += 1
        due = [call for at, call in self._late if at < self._begun or self._is_stopped]
        self._late = [(at, call) for at, call in self._late if call not in due]
        for call in due:
            with suppress(InventoryError):  # nobody waits for its result
                await call()

    async def _wait(self, operation: str, *, is_overtaken: bool) -> None:
        ended = self._ended.get(operation, 0)
        for _ in range(self.turns):
            await give_way()
            if is_overtaken and self._ended.get(operation, 0) > ended:
                return
