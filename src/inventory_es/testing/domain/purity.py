"""Policies asked twice. A policy with different answers to the same question is reported as impure, at once and from then on."""

from collections.abc import Iterable
from datetime import datetime
from functools import update_wrapper
from typing import Any, cast
from weakref import WeakKeyDictionary

from inventory_es.domain.commands import Command
from inventory_es.domain.errors import InventoryError, name_of_function
from inventory_es.domain.inventory import Policy, StockView
from inventory_es.testing.domain.formatting import describe, describe_value
from inventory_es.testing.domain.history import PropertyError
from inventory_es.testing.domain.model import shown
from inventory_es.testing.domain.rules import Facts

__tracebackhide__ = True
"""For pytest: a failure shows the line of the test that asked, not ours."""

_REMEMBERED = 20_000
_found: "WeakKeyDictionary[Any, str]" = WeakKeyDictionary()
"""The reports of impure policies. A run that is repeated while hypothesis shrinks must find them again."""


class PurePolicy:
    """A policy that is asked twice each time, and whose answers must equal its earlier ones to the same question.

    Args:
        policy: the host's policy.

    Attributes:
        seen: receives the facts that the policy is shown; ``None`` for nobody.
    """

    def __init__(self, policy: Policy) -> None:
        update_wrapper(cast(Any, self), cast(Any, policy), updated=())
        self.seen: list[Facts] | None = None
        self._policy = policy
        self._answers: dict[tuple[str, Command, datetime], str] = {}

    def witnessed(self, seen: list[Facts]) -> "PurePolicy":
        """Return the same policy, with the same memory, which adds the facts that it is shown to ``seen``."""
        twin = PurePolicy(self._policy)
        twin.seen, twin._answers = seen, self._answers  # an instance of this class
        return twin

    def __call__(self, view: StockView, command: Command, at: datetime) -> None:
        """Ask the policy.

        Raises:
            PropertyError: the policy answered differently to the same question.
        """
        facts = shown(view)
        if self.seen is not None:
            self.seen.append(facts)
        first, answer, error = self._ask(view, command, at)
        question = (repr(facts), command, at)
        earlier = self._answers.setdefault(question, first)
        again = first if answer is not None else self._ask(view, command, at)[0]
        if len(self._answers) > _REMEMBERED:
            self._answers.clear()
        known = _found_of(self._policy)
        if known is None and (earlier, first) != (first, again):
            known = _report(self._policy, command, at, facts, first if earlier == first else earlier, again if earlier == first else first)
            _remember(self._policy, known)
        if known is not None:
            raise PropertyError(known, frozenset({"P25"}))
        if error is not None:
            raise error
        return cast(None, answer)  # anything but None is a mistake of the host, which the decider reports

    def _ask(self, view: StockView, command: Command, at: datetime) -> tuple[str, object, Exception | None]:
        try:
            answer: object = self._policy(view, command, at)  # a host's policy may return a value
        except PropertyError:
            raise
        except Exception as error:  # noqa: BLE001  # any error of a host's policy is its answer
            text = describe(error) if isinstance(error, InventoryError) else f"{type(error).__name__}{error.args}"
            return f"raised {text}", None, error
        return "agreed" if answer is None else f"returned a {type(answer).__name__}", answer, None


def ask_twice(policies: Iterable[Policy]) -> tuple[PurePolicy, ...]:
    """Wrap a host's policies so that an impure one is found where it is asked. Idempotent."""
    return tuple([policy if isinstance(policy, PurePolicy) else PurePolicy(policy) for policy in policies])


def _report(policy: Policy, command: Command, at: datetime, facts: Facts, first: str, second: str) -> str:
    name = f"{getattr(policy, '__module__', '')}.{name_of_function(policy)}"
    return (
        "P25  Deciding is pure.\n"
        f"  problem   the policy {name} is impure: it was asked twice, and answered differently\n"
        f"  asked     {describe(command)} at {describe_value(at)},"
        f" on hand {facts['on_hand']}, reserved {facts['reserved']}, version {facts['version']}\n"
        f"  answered  first it {first}, then it {second}\n"
        "  meaning   a policy may use the stock, the command and the time that it is given: no counter, no clock, no chance, no I/O"
    )


def _found_of(policy: Policy) -> str | None:
    try:
        return _found.get(policy)
    except TypeError:  # the policy can't be hashed, or allows no weak reference
        return None


def _remember(policy: Policy, report: str) -> None:
    try:
        _found[policy] = report
    except TypeError:
        return
