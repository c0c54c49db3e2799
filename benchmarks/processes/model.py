"""The model: what things cost, who wants what, and what came of it."""

from typing import Literal

import attrs

Way = Literal["free", "lanes", "routed", "parted"]
"""How commands are served: each for itself; in lanes, one per stream and process; in lanes of the one process that owns the stream; the
same, and each process has a store of its own."""


@attrs.frozen(kw_only=True)
class Costs:
    """Seconds.

    Attributes:
        decide: of the processor, to decide and answer one command.
        commit: the store is held by one commit that writes something, its sync included.
        write: the store is held longer by each event.
        check: the store is held by one commit that writes nothing.
        foreign: the store is held longer for each event that another process wrote since, which has to be taken in.
        read: until the tail of a stream is read.
        turn: between two commits of one process, to hand out the outcomes of one and gather what the next one carries.
        wake: until a process that waits for the store has noticed that it is free.
        polls: between looks of a process that waits, where it has to look: SQLite's busy handler.
        turns: whether the store gives a turn to those who lose race after race.
        forward: until a command, or its answer, has reached another process.
        cores: how many processes may use the processor at once; each of them uses one core.
    """

    decide: float = 35e-6
    commit: float = 190e-6
    write: float = 3e-6
    check: float = 20e-6
    foreign: float = 3e-6
    read: float = 250e-6
    turn: float = 100e-6
    wake: float = 50e-6
    polls: tuple[float, ...] = ()
    turns: bool = True
    forward: float = 60e-6
    cores: int = 64


BUSY_POLLS = tuple(one / 1e3 for one in (1, 2, 5, 10, 15, 20, 25, 25, 25, 50, 50, 100))
"""Of SQLite: "delays" in ``sqliteDefaultBusyCallback`` of its ``main.c``."""


@attrs.frozen(kw_only=True)
class Load:
    """Who wants what. Callers ask again as soon as they are answered.

    Attributes:
        processes: how many there are.
        callers: over all processes, evenly.
        products: how many there are.
        hot: the share of commands that want the first of them; the others want any.
    """

    processes: int
    callers: int = 512
    products: int = 10_000
    hot: float = 0.0


@attrs.define
class Outcome:
    """What came of it.

    Attributes:
        seconds: how long it ran.
        waits: of every accepted command, in seconds.
        unanswered: how long those have waited that are still waiting at the end.
        served: accepted commands by process.
        decided: how often commands were decided.
        failed: commands that gave up on conflicts: ``ConcurrencyError`` reaches the caller.
        stored: commands that the store has, answered or not.
        timeline: commands accepted, and decisions in vain, in each tenth of a second.
    """

    seconds: float = 0.0
    waits: list[float] = attrs.field(factory=list)
    unanswered: list[float] = attrs.field(factory=list)
    served: dict[str, int] = attrs.field(factory=dict)
    decided: int = 0
    failed: int = 0
    stored: int = 0
    timeline: dict[int, list[int]] = attrs.field(factory=dict)

    @property
    def per_second(self) -> float:
        """Accepted commands."""
        return len(self.waits) / self.seconds

    @property
    def decided_a_command(self) -> float:
        """1 without conflicts."""
        return self.decided / max(1, len(self.waits) + self.failed)

    @property
    def least_share(self) -> float:
        """What the process got that got least, of its fair share: 1 is fair, 0 has starved."""
        return min(self.served.values()) * len(self.served) / max(1, len(self.waits))

    def wait_ms(self, percent: int) -> float:
        """A quantile of the waits, of those that have not ended too."""
        ordered = sorted((*self.waits, *self.unanswered))
        return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] * 1e3 if ordered else float("nan")

    def at(self, now: float, *, accepted: int = 0, in_vain: int = 0) -> None:
        """Note when."""
        tenth = self.timeline.setdefault(int(now * 10), [0, 0])
        tenth[0] += accepted
        tenth[1] += in_vain
