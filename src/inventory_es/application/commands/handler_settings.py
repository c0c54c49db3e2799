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
        lanes: True if commands that wait for one stream in this process are decided together. If False, each command is loaded,
            decided and appended separately, with the same outcome but slower.
        max_attempts: the most attempts to decide a command before the caller gets a conflict or an unknown outcome.
        max_batch: the most commands that are decided together.
        max_waiting: the most commands that wait for one inventory, without those being decided. One more is refused at once.
        max_clock_skew: the longest time by which this machine's clock may be behind the last event of a stream.
        max_clock_jump: the largest step of this machine's clock, ahead or back, since the opening. After a larger one, commands fail.
            The default is the step at which the NTP daemon stops and asks a person (ntpd's panic threshold, 1,000 s). If a machine was
            paused for longer and its clock is then corrected, raise this bound or open the inventory again.
        expiry_chunk: the most due reservations that one append closes before a command.
        warm_inventories: the most folded inventories that are kept between commands; 0 keeps none.
        warm_bytes: the most memory of the kept inventories. An open reservation takes about 520 bytes (270 beyond 32,768 in one
            inventory), a remembered closed one 280. The inventory used last is kept even if it is larger.
        snapshot_after: with a snapshot store, a load that folded more events than this takes a snapshot.
        first_wait: the seconds before the third attempt, doubled for each further one; each wait is shortened by a random share.
        longest_wait: the most seconds between attempts.
        longest_settling: the most seconds to wait until a store has settled an append with an unknown outcome, if its command would be
            refused now. If the store declares a longer time, or none, the caller gets the unknown outcome.
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
            jump: returns the seconds of the change; the method of a :class:`~inventory_es.ports.SteadyClock`.

        Raises:
            HostFunctionError: ``jump`` returned no finite number.
        """
        self.check_seconds(jump, jump())

    def check_seconds(self, jump: Callable[[], float], seconds: float) -> None:
        """Raise as :meth:`check_jump` does, if ``jump`` returned ``seconds``."""
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
        """Return the seconds to wait before attempt number ``attempt``: 0 before the first two, then longer and longer.

        Args:
            attempt: from 1.
            chance: a number from 0 up to, not including, 1.
        """
        return 0.0 if attempt <= 2 else min(self.longest_wait, self.first_wait * 2.0 ** (attempt - 3)) * (0.5 + 0.5 * chance)
