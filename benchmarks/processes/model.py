"""The model: costs, load and result."""

from typing import Literal

import attrs

Way = Literal["free", "lanes", "racing", "routed", "parted"]
"""How commands are served: each for itself; in lanes, one per stream and process; in such lanes, without turns; in lanes of the one
process that owns the stream; the same, and each process has a store of its own."""


@attrs.frozen(kw_only=True)
class Costs:
    """Costs, in seconds unless stated.

    Attributes:
        decide: processor time to decide and answer one command.
        commit: time that one commit with events holds the store, its sync included.
        write: extra time per event.
        check: time that one commit without events holds the store.
        foreign: extra time per event that another process wrote since, and that has to be read in.
        read: time until the tail of a stream is read.
        turn: time between two commits of one process, to return outcomes and to gather the next commit.
        wake: time until a process that waits for the store notices that it is free.
        polls: times between looks of a process that has to poll, as with SQLite's busy handler.
        turns: True if the store gives priority to a process that lost race after race.
        forward: time until a command, or its answer, has reached another process.
        cores: how many processes may use the processor at once, one core each.
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
"""SQLite's delays: ``delays`` in ``sqliteDefaultBusyCallback`` of its ``main.c``."""


@attrs.frozen(kw_only=True)
class Load:
    """The load. Callers send again as soon as they are answered.

    Attributes:
        processes: number of processes.
        callers: number of callers, spread evenly over the processes.
        products: number of products.
        hot: share of the commands for the first product; the others are for any product.
    """

    processes: int
    callers: int = 512
    products: int = 10_000
    hot: float = 0.0


@attrs.define
class Outcome:
    """The result of a simulation or a measurement.

    Attributes:
        seconds: duration.
        waits: the wait of every accepted command, in seconds.
        unanswered: the waits of commands without an answer at the end, in seconds.
        served: accepted commands by process.
        decided: how often commands were decided.
        failed: commands that gave up on conflicts, so that ``ConcurrencyError`` reached the caller.
        stored: commands that the store has, answered or not.
        timeline: accepted commands, and decisions in vain, per tenth of a second.
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
        """The accepted commands per second."""
        return len(self.waits) / self.seconds

    @property
    def decided_a_command(self) -> float:
        """The decisions per stored command; 1 without conflicts."""
        return self.decided / max(1, len(self.waits) + self.failed)

    @property
    def least_share(self) -> float:
        """The share of the process that was served least, as a part of its fair share: 1 is fair, 0 is starved."""
        return min(self.served.values()) * len(self.served) / max(1, len(self.waits))

    def wait_ms(self, percent: int) -> float:
        """Return a quantile of all waits, also of those without an end, in milliseconds."""
        ordered = sorted((*self.waits, *self.unanswered))
        return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] * 1e3 if ordered else float("nan")

    def at(self, now: float, *, accepted: int = 0, in_vain: int = 0) -> None:
        """Count something at an instant of the timeline."""
        tenth = self.timeline.setdefault(int(now * 10), [0, 0])
        tenth[0] += accepted
        tenth[1] += in_vain
