"""Scenarios: given these events, when this command is sent, then those events follow. Pure, synchronous, for any test runner.

    (
        scenario()
        .when(AddStock(inventory_id=SHELF, command_id="delivery-1", quantity=10))
        .then(like(StockAddedEvent, quantity=10))
        .when(ReserveStock(inventory_id=SHELF, reservation_id="R1", quantity=11, ttl=None), at=1)
        .then_rejected(InsufficientStockError, requested=11, available=10)
        .balance(10, 0, 10, 1)
    )

Each step returns a new scenario, so several scenarios may continue one. Times are seconds after the start, or datetimes.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

import attrs

from inventory_es.domain.commands import Command
from inventory_es.domain.errors import InventoryError
from inventory_es.domain.events import Event, Recorded
from inventory_es.domain.identifiers import InventoryId
from inventory_es.domain.inventory import Inventory, Policy
from inventory_es.testing.domain.formatting import describe, describe_facts, describe_value, differences, fact_differences
from inventory_es.testing.domain.reference_handler import Answer, ReferenceHandler

__tracebackhide__ = True
"""For pytest: a failure shows the line of the test that asked, not ours."""

SHELF = InventoryId("product", "store")
"""The inventory of a scenario by default."""

START = datetime(2026, 1, 5, 9, tzinfo=UTC)
"""Second 0 of a scenario by default."""


class ScenarioError(AssertionError):
    """A scenario that went another way than it says. The text is the whole report."""


@attrs.frozen(repr=False)
class Like:
    """An event by some of its fields. See :func:`like`."""

    event_type: type[Any]
    facts: dict[str, object]

    def problems(self, event: Event) -> list[str]:
        """Return one line per field that differs from ``event``; empty if none does."""
        if not isinstance(event, self.event_type):
            return [f"expected {self.event_type.__name__}, got {type(event).__name__}"]
        return fact_differences(self.facts, event)

    def __repr__(self) -> str:
        return f"{describe_facts(self.event_type.__name__, self.facts)[:-1]}, …)"


def like(event_type: type[Any], /, **facts: object) -> Like:
    """Return a pattern for events of this type with these fields. All other fields are ignored.

    Raises:
        TypeError: the event type does not have such a field.
    """
    unknown = set(facts) - {field.name for field in attrs.fields(event_type)}
    if unknown:
        msg = f"{event_type.__name__} has no field {', '.join(sorted(unknown))}"
        raise TypeError(msg)
    return Like(event_type, facts)


def scenario(inventory_id: InventoryId = SHELF, /, *, start: datetime = START, policies: Sequence[Policy] = ()) -> "Scenario":
    """Begin a scenario with an empty inventory.

    Args:
        inventory_id: the inventory of the commands.
        start: second 0.
        policies: rules of the host.
    """
    return Scenario(ReferenceHandler(inventory_id, policies=policies), start)


class Scenario:
    """A scenario so far. Made by :func:`scenario`."""

    def __init__(self, handler: ReferenceHandler, start: datetime) -> None:
        self._handler = handler
        self._start = start

    @property
    def inventory(self) -> Inventory:
        """The state so far, for checks that the scenario has no method for."""
        return self._handler.inventory

    @property
    def history(self) -> tuple[Recorded, ...]:
        """The events so far."""
        return tuple(self._handler.history)

    def given(self, *events: Event | Recorded, at: datetime | float = 0) -> "Scenario":
        """Let events have happened: bare events all at ``at``, recorded ones with their own version and time.

        Raises:
            CorruptStreamError: the events can't follow the earlier ones.
            TypeError: one of them is no event.
        """
        handler = self._handler.fork()
        wrong = [one for one in events if not isinstance(one, Event | Recorded)]
        if wrong:
            msg = f"given takes events, not a {type(wrong[0]).__name__}"
            raise TypeError(msg)
        for event in events:
            handler.take(event if isinstance(event, Recorded) else Recorded(event, handler.inventory.version + 1, self._instant(at)))
        return Scenario(handler, self._start)

    def when(self, command: Command, *, at: datetime | float | None = None) -> "Step":
        """Send a command.

        Args:
            command: a command to the scenario's inventory.
            at: the time; by default that of the last event, or second 0.
        """
        given: object = command
        if not isinstance(given, Command):
            msg = f"when takes a command, not a {type(given).__name__}"
            raise TypeError(msg)
        handler = self._handler.fork()
        clock = (handler.inventory.last_time or self._start) if at is None else self._instant(at)
        return Step(handler, self._start, handler.execute(command, at=clock))

    def balance(self, on_hand: int, reserved: int, unreserved: int, version: int) -> "Scenario":
        """Check the balance so far.

        Args:
            on_hand: units on hand.
            reserved: units reserved.
            unreserved: units on hand less units reserved.
            version: version of the stream.

        Raises:
            ScenarioError: the balance is another one.
            ValueError: no inventory can have these figures.
        """
        for name, figure in (("on_hand", on_hand), ("reserved", reserved), ("unreserved", unreserved), ("version", version)):
            _check_figure(name, figure)
        if unreserved != on_hand - reserved:
            msg = f"unreserved is on hand less reserved: {on_hand} - {reserved} is {on_hand - reserved}, not {unreserved}"
            raise ValueError(msg)
        inventory = self._handler.inventory
        expected = (on_hand, reserved, unreserved, version)
        got = (inventory.units_on_hand, inventory.units_reserved, int(inventory.unreserved), inventory.version)
        if got != expected:
            fail(self._handler, "on hand / reserved / unreserved / version {}/{}/{}/{}".format(*expected), "{}/{}/{}/{}".format(*got))
        return self

    def available(self, units: int, *, at: datetime | float) -> "Scenario":
        """Check the units that a reserve could get at a time: those that are unreserved, and those that are due by then.

        Raises:
            ScenarioError: the figure is another one.
        """
        _check_figure("units", units)
        got = int(self._handler.inventory.available_at(self._instant(at)))
        if got != units:
            fail(self._handler, f"available {units}", str(got))
        return self

    def _instant(self, at: datetime | float) -> datetime:
        if isinstance(at, datetime) and at.utcoffset() is not None:
            return at
        if isinstance(at, bool) or not isinstance(at, int | float):
            msg = f"at takes seconds after the start, or an aware datetime, not {at!r}"
            raise TypeError(msg)
        return self._start + timedelta(seconds=at)


class Step:
    """A command that was sent, to be followed by the expected answer. Made by :meth:`Scenario.when`."""

    def __init__(self, handler: ReferenceHandler, start: datetime, answer: Answer) -> None:
        self._handler = handler
        self._start = start
        self.answer = answer

    def then(self, *expected: Event | Like) -> Scenario:
        """Expect that the command appended exactly these events, in this order: whole events, or :func:`like` patterns.

        Raises:
            ScenarioError: anything else happened. The text names the field that differs.
        """
        got = self.answer.appended
        problems = [
            f"#{number} {problem}"
            for number, (wanted, found) in enumerate(zip(expected, got, strict=False), start=1)
            for problem in (wanted.problems(found.event) if isinstance(wanted, Like) else differences(wanted, found.event))
        ]
        problems += [f"#{number} is missing" for number in range(len(got) + 1, len(expected) + 1)]
        problems += [f"#{number} was not expected" for number in range(len(expected) + 1, len(got) + 1)]
        if problems or not expected:
            wanted = "\n            ".join(repr(one) if isinstance(one, Like) else describe(one) for one in expected)
            self._fail(wanted or "some events: use then_nothing() for none", problems if got else ())
        return self._next()

    def then_nothing(self) -> Scenario:
        """Expect a no-op: the command was accepted, and appended nothing.

        Raises:
            ScenarioError: the command appended something, was replayed or was refused.
        """
        if self.answer.error is not None or self.answer.recorded:
            self._fail("nothing: a no-op")
        return self._next()

    def then_replayed(self) -> Scenario:
        """Expect a replay: the command had been accepted before, and its first outcome was returned again.

        Raises:
            ScenarioError: the command was decided as a new one, or refused.
        """
        if not self.answer.replayed:
            self._fail("the first outcome, replayed")
        return self._next()

    def then_rejected(self, error_type: type[InventoryError], /, **facts: object) -> Scenario:
        """Expect a refusal with exactly this type of error, and at least these facts.

        Raises:
            ScenarioError: the command was accepted, or refused for another reason.
            TypeError: the type is no class of error.
        """
        given: object = error_type
        if not (isinstance(given, type) and issubclass(given, InventoryError)):
            msg = f"then_rejected takes a class of error, and its facts, not {given!r}"
            raise TypeError(msg)
        problems = fact_differences(facts, self.answer.error)
        if type(self.answer.error) is not error_type or problems:
            self._fail(describe_facts(error_type.__name__, facts), problems if type(self.answer.error) is error_type else ())
        return self._next()

    def _next(self) -> Scenario:
        return Scenario(self._handler, self._start)

    def _fail(self, expected: str, problems: Sequence[str] = ()) -> NoReturn:
        answer = self.answer
        if answer.error is not None:
            got = describe(answer.error)
        elif answer.replayed:
            got = "the first outcome, replayed"
        else:
            got = "\n            ".join(describe(event) for event in answer.events) or "nothing: a no-op"
        fail(self._handler, expected, got, problems)


def fail(handler: ReferenceHandler, expected: str, got: str, problems: Sequence[str] = ()) -> NoReturn:
    """Report how a scenario went wrong.

    Raises:
        ScenarioError: always.
    """
    *earlier, last = steps = [_describe_step(answer) for answer in handler.answers] or ["nothing was asked"]
    lines = [f"step {len(steps)}: {last}", f"  expected  {expected}", f"  got       {got}"]
    lines += [f"  differs   {problem}" for problem in problems]
    lines += [f"  before    {line}" for line in earlier]
    raise ScenarioError("\n".join(lines))


def _check_figure(name: str, figure: object) -> None:
    if type(figure) is not int or figure < 0:
        msg = f"{name} is a whole number of 0 or more, not {figure!r}"
        raise ValueError(msg)


def _describe_step(answer: Answer) -> str:
    if answer.error is not None:
        outcome = type(answer.error).__name__
    elif answer.replayed:
        outcome = "replayed"
    else:
        outcome = f"{answer.after.on_hand}/{answer.after.reserved} at version {answer.after.version}"
    return f"{describe(answer.command)} at {describe_value(answer.clock)} -> {outcome}"
