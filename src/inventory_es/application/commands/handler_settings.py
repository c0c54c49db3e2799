"""The bounds of the command side."""

from collections.abc import Callable
from datetime import timedelta

import attrs

from inventory_es.domain.errors import ClockJumpError, HostFunctionError


def _positive(_instance: object, attribute: "attrs.Attribute[int]", value: int) -> None:
    if type(value) is not int or value < 1:
        msg = f"{attribute.name} must be 1 or more, a whole number"
        raise ValueError(msg)


def _count(_instance: object, attribute: "attrs.Attribute[int]", value: int) -> None:
    if type(value) is not int or value < 0:
        msg = f"{attribute.name} must be 0 or more, a whole number"
        raise ValueError(msg)


def _interval(_instance: object, attribute: "attrs.Attribute[timedelta]", value: object) -> None:
    if not isinstance(value, timedelta):
        msg = f"{attribute.name} must be a timedelta, not a {type(value).__name__}"
        raise TypeError(msg)


def _seconds(_instance: object, attribute: "attrs.Attribute[float]", value: float) -> None:
    if type(value) not in {int, float} or not value >= 0:
        msg = f"{attribute.name} must be 0 or more seconds, a number"
        raise ValueError(msg)


@attrs.frozen(kw_only=True)
class HandlerSettings:
    """Bounds of the command side.

    Attributes:
        lanes: whether commands for one stream that meet in this process are decided together. Off, each is loaded, decided
            and appended for itself: the same outcomes, slower.
        max_attempts: how often a command is decided before a conflict, or an unknown outcome, reaches the caller.
        max_batch: commands decided together at most.
        max_waiting: commands that wait for one inventory at most, beside those that are being decided; one more is refused at once.
        max_clock_skew: how far this machine's clock may stand behind the last event of a stream.
        max_clock_jump: by how much this machine's clock may be set while the inventory is open, ahead or back, before commands are refused.
            The default is where the NTP daemon stops to ask a person (ntpd's panic threshold, 1,000 s). A machine that is set right
            after it was paused for longer needs more, or the inventory opened again.
        expiry_chunk: reservations that are closed with one append at most, before a command's own.
        warm_inventories: folded inventories that are kept between commands; 0 keeps none.
        warm_bytes: memory that they take together, about: 520 bytes per open reservation, 270 beyond 32,768 of one inventory, 280 per
            closed one that is remembered. The inventory used last is kept even if it is larger.
        snapshot_after: where snapshots are kept: a load that folded more events than this takes one.
        first_wait: seconds before the second attempt, doubled for each further one, each cut by a random share.
        longest_wait: seconds between attempts at most.
        longest_settling: seconds to wait at most until a store has settled an append with an unknown outcome, where its command would be
            refused now. Where the store declares more, or no time at all, the caller is told that the outcome is unknown.
    """

    lanes: bool = True
    max_attempts: int = attrs.field(default=12, validator=_positive)
    max_batch: int = attrs.field(default=512, validator=_positive)
    max_waiting: int = attrs.field(default=10_000, validator=_positive)
    max_clock_skew: timedelta = attrs.field(default=timedelta(seconds=60), validator=_interval)
    max_clock_jump: timedelta = attrs.field(default=timedelta(seconds=1_000), validator=_interval)
    expiry_chunk: int = attrs.field(default=500, validator=_positive)
    warm_inventories: int = attrs.field(default=4_096, validator=_count)
    warm_bytes: int = attrs.field(default=256 << 20, validator=_positive)
    snapshot_after: int = attrs.field(default=1_000, validator=_positive)
    first_wait: float = attrs.field(default=0.002, validator=_seconds)
    longest_wait: float = attrs.field(default=1.0, validator=_seconds)
    longest_settling: float = attrs.field(default=10.0, validator=_seconds)

    def check_jump(self, jump: Callable[[], float]) -> None:
        """Raise ``ClockJumpError`` for a clock that was set by more than ``max_clock_jump``, either way.

        Args:
            jump: tells by how many seconds; the method of a :class:`~inventory_es.ports.SteadyClock`.

        Raises:
            HostFunctionError: it gives no seconds.
        """
        self.check_seconds(jump, jump())

    def check_seconds(self, jump: Callable[[], float], seconds: float) -> None:
        """Raise as :meth:`check_jump` does, where ``jump`` has given ``seconds``."""
        try:
            if abs(seconds) <= self.max_clock_jump.total_seconds():
                return
            jumped = timedelta(seconds=round(seconds))
        except (TypeError, ValueError, OverflowError):  # no number, none that is finite, or none that a calendar has
            raise HostFunctionError.about(
                role="clock", function=jump, answer=seconds, expected="it gives a finite number of seconds, without await"
            ) from None
        raise ClockJumpError(jump=jumped, max_clock_jump=self.max_clock_jump)

    def pause(self, attempt: int, chance: float) -> float:
        """Seconds to wait before attempt number ``attempt``: none before the first two, then longer and longer, less a random share.

        Args:
            attempt: from 1.
            chance: a number from 0 up to, not including, 1.
        """
        return 0.0 if attempt <= 2 else min(self.longest_wait, self.first_wait * 2.0 ** (attempt - 3)) * (0.5 + 0.5 * chance)
