"""How long an attempt waits for its turn, and what the bounds refuse."""

from typing import Any

import anyio
import pytest

from inventory_es.application.commands.handler_settings import HandlerSettings
from inventory_es.application.commands.repository import Repository


def _waits(settings: HandlerSettings, chance: float, attempts: int) -> list[float]:
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    names = ("store", "reader", "cache", "committer", "fairness", "idempotency", "unsettled", "clock", "waiting")
    parts: Any = dict.fromkeys(names)
    repository = Repository(**parts, settings=settings, sleep=sleep, chance=lambda: chance)

    async def case() -> None:
        for attempt in range(1, attempts + 1):
            await repository.pause(attempt)

    anyio.run(case)
    return waited


def test_the_first_two_attempts_do_not_wait() -> None:
    assert _waits(HandlerSettings(), 0.5, 2) == []


def test_waits_double_up_to_a_bound_and_chance_cuts_at_most_half() -> None:
    settings = HandlerSettings(first_wait=1.0, longest_wait=5.0)
    assert _waits(settings, 0.0, 6) == [0.5, 1.0, 2.0, 2.5]
    assert _waits(settings, 0.5, 6) == [0.75, 1.5, 3.0, 3.75]


@pytest.mark.parametrize("name", ["max_attempts", "max_batch", "max_waiting", "expiry_chunk"])
def test_bounds_below_one_are_refused(name: str) -> None:
    bound: Any = {name: 0}
    with pytest.raises(ValueError, match=name):
        HandlerSettings(**bound)
    bound[name] = 1
    assert getattr(HandlerSettings(**bound), name) == 1
