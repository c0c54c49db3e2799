"""Which call fails how: by a plan, or by a seed."""

import random
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Literal, TypeVar, get_args

import attrs
from anyio.lowlevel import checkpoint

T = TypeVar("T")

FaultKind = Literal["fail_before", "fail_after", "delay", "drop", "duplicate", "reorder"]
"""``fail_before``: nothing is done, an error comes. ``fail_after``: it is done, and an error comes. ``delay``: it is done later.
``drop``: it gets lost without being done. ``duplicate``: it is done twice. ``reorder``: a later call overtakes it."""

ALL_KINDS: tuple[FaultKind, ...] = get_args(FaultKind)


@attrs.frozen
class Injected:
    """A fault that happened.

    Attributes:
        operation: the method that was called (``append``).
        number: which call of this operation it was, starting at 1.
        kind: what was done to it.
    """

    operation: str
    number: int
    kind: FaultKind


class Faults:
    """Decides for each call of a wrapped port whether and how it fails. One of these may serve several wrappers.

    Make one with :meth:`by_plan`, :meth:`by_seed` or :meth:`none`.

    Attributes:
        injected: what happened, in order: with it a seeded run can be told, and turned into a plan.
        turns: how many turns of the event loop a delay takes, and for how many at most an overtaken call waits.
    """

    def __init__(self, choose: Callable[[str, int], FaultKind | None], *, turns: int = 10) -> None:
        self._choose = choose
        self._calls: dict[str, int] = {}
        self._ended: dict[str, int] = {}
        self._is_stopped = False
        self.injected: list[Injected] = []
        self.turns = turns

    @classmethod
    def none(cls) -> "Faults":
        """No faults at all."""
        return cls(lambda _operation, _number: None)

    @classmethod
    def by_plan(cls, plan: Mapping[str, Mapping[int, FaultKind]], *, turns: int = 10) -> "Faults":
        """Faults at named calls: ``{"append": {2: "fail_after"}}`` is the second append.

        Args:
            plan: by operation, by number of its call (starting at 1), what happens.
            turns: see the class.
        """
        return cls(lambda operation, number: plan.get(operation, {}).get(number), turns=turns)

    @classmethod
    def by_seed(
        cls,
        seed: int,
        *,
        rate: float = 0.1,
        kinds: Sequence[FaultKind] = ALL_KINDS,
        operations: Collection[str] | None = None,
        turns: int = 10,
    ) -> "Faults":
        """Faults by chance; the same seed gives the same faults for the same calls.

        Args:
            seed: of the chance.
            rate: which share of the calls is hit, 0 to 1.
            kinds: what may happen.
            operations: only these methods; ``None`` for all.
            turns: see the class.
        """
        chance = random.Random(seed)

        def choose(operation: str, _number: int) -> FaultKind | None:
            is_hit, kind = chance.random() < rate, chance.choice(kinds)
            return kind if is_hit and (operations is None or operation in operations) else None

        return cls(choose, turns=turns)

    def stop(self) -> None:
        """No more faults from now on: the time in which everything must come right."""
        self._is_stopped = True

    def next(self, operation: str) -> FaultKind | None:
        """What happens to the call that begins now."""
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
    ) -> T:
        """Make one call, with what happens to it. An error of the call itself passes through.

        Args:
            operation: the method that is called.
            call: makes the call; made twice for a duplicate.
            unavailable: raised instead of the call.
            unknown: raised after the call.
            lost: gives, or raises, what the caller sees of a call that got lost.
            reordered: makes the call in another order, where one call has parts; else the call waits to be overtaken.
        """
        kind = self.next(operation)
        try:
            match kind:
                case "fail_before":
                    raise unavailable
                case "fail_after":
                    await call()
                    raise unknown
                case "drop":
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

    async def _wait(self, operation: str, *, is_overtaken: bool) -> None:
        ended = self._ended.get(operation, 0)
        for _ in range(self.turns):
            await checkpoint()
            if is_overtaken and self._ended.get(operation, 0) > ended:
                return
