"""Property P34: the decider agrees with the naive model of the rules, command by command and event by event."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs

from inventory_es.domain.commands import (
    AddStock,
    AdjustStock,
    Command,
    CommitStock,
    ExpireReservations,
    ExtendReservation,
    RecordCount,
    ReleaseStock,
    ReserveStock,
)
from inventory_es.domain.errors import InventoryError, PolicyRejectedError, RejectionError, ReservationNotFoundError
from inventory_es.domain.events import Event
from inventory_es.domain.identifiers import InventoryId
from inventory_es.domain.inventory import Inventory, Policy, StockView
from inventory_es.domain.quantity import MAX_QUANTITY
from inventory_es.domain.reasons import AddReason, AdjustReason, CommitReason, Ending, ReleaseReason, Remainder, Shortfall
from inventory_es.domain.reservation_book import ClosedReservation, InventorySnapshot
from inventory_es.testing.domain.formatting import describe, describe_facts, describe_value, fact_differences
from inventory_es.testing.domain.history import PropertyError
from inventory_es.testing.domain.model import REMEMBERED, Model, Verdict, event_facts, hold_facts
from inventory_es.testing.domain.probe import FAR, probes
from inventory_es.testing.domain.program import Call, Program, other_payload
from inventory_es.testing.domain.purity import PurePolicy, ask_twice
from inventory_es.testing.domain.reference_handler import MAX_CLOCK_SKEW, Answer, ReferenceHandler
from inventory_es.testing.domain.rules import Facts, Refusal

__tracebackhide__ = True
"""For pytest: a failure shows the line of the test that asked, not ours."""

SENTENCE = "The decider answers every command as the naive model of the rules does: events, refusals, results, state."

_TICK = timedelta(microseconds=1)
_END = datetime.max.replace(tzinfo=UTC)
_LAST_DAY = timedelta(days=1)
_NOT_COMPARED = frozenset({"inventory", "stream", "problem"})
"""Facts of refusals that no rule decides: the address, which is compared separately, and prose."""


class Agreement:
    """A comparison of a reference handler and a model of one inventory, which execute the same calls.

    Args:
        model: the rules.
        policies: the host's rules, for the handler.
    """

    def __init__(self, model: Model, policies: Sequence[Policy] = ()) -> None:
        self._seen: list[Facts] = []
        self.model: Model = model
        self.policies: tuple[PurePolicy, ...] = tuple([policy.witnessed(self._seen) for policy in ask_twice(policies)])

    def execute(self, handler: ReferenceHandler, call: Call) -> tuple[Answer, Verdict]:
        """Execute one call on both sides.

        Args:
            handler: a handler with the policies of this agreement, which has executed the same calls as the model.
            call: the command and the time.

        Returns:
            The answer of the handler, and the verdict of the model.

        Raises:
            PropertyError: the two disagree.
            ValueError: a count of a version that is still to come.
        """
        self._seen.clear()
        try:
            answer = handler.execute(call.command, at=call.at)
        except PropertyError:
            raise
        except Exception as error:
            verdict = self.model.execute(call.command, at=call.at)  # raises the same if a policy raised
            raise disagreement(call, verdict, f"{type(error).__name__}: {error}", ()) from error
        shown = list(self._seen)
        verdict = self.model.execute(answer.command, at=answer.clock)
        problems = [*_answer_problems(verdict, answer, self.model.inventory_id), *_seen_problems(verdict.seen, shown)]
        problems += state_problems(self.model, answer.after, answer.at)
        problems += _owner_problems(self.model, handler.inventory)
        if answer.appended:
            problems += _moved_owner_problems(handler.inventory, answer.at)
        for command, at in _step_probes(handler.inventory, answer.at) if answer.appended else ():
            problems += _probed(self.model, handler.inventory, command, at, self.policies)
        if problems:
            raise disagreement(call, verdict, _describe_answer(answer), problems)
        return answer, verdict


def check_decision(model: Model, command: Any, *, at: datetime, decide: Callable[[], Sequence[Event]]) -> Verdict:
    """Compare one decision of any decider with the model, which executes the command.

    This serves commands and deciders of a host's own. The model's ``rules`` hold the rule of such a command.

    Args:
        model: an inventory in the same state.
        command: the command.
        at: the time of the decision, not before the last event.
        decide: decides the command; returns the events, or raises a rejection.

    Returns:
        The verdict of the model.

    Raises:
        PropertyError: the two disagree.
    """
    events: tuple[Event, ...] = ()
    error: RejectionError | None = None
    try:
        events = tuple(decide())
    except RejectionError as refused:
        error = refused
    before = len(model.events)
    verdict = model.execute(command, at=at)
    problems = list(_refusal_problems(verdict.refusal, error, model.inventory_id))
    expected = [] if verdict.replayed else verdict.events
    problems += _events_problems(expected, [event_facts(event, before + n, at) for n, event in enumerate(events, start=1)])
    if problems:
        got = describe(error) if error is not None else _lines(describe(event) for event in events)
        asked = Call(command, at)
        raise disagreement(asked, verdict, got, problems)
    return verdict


def outcome_problems(verdict: Verdict, got: object) -> list[str]:
    """Return how the result of a service differs from the model's; nothing if it does not."""
    if isinstance(got, InventoryError):
        return [] if verdict.refusal is not None else [f"expected an outcome, got {describe(got)}"]
    return fact_differences(verdict.result, got)


def disagreement(call: object, verdict: Verdict, got: str, problems: Sequence[str]) -> PropertyError:
    """Return the report of a disagreement."""
    expected = str(verdict.refusal) if verdict.refusal is not None else _lines(_describe_event(facts) for facts in verdict.events)
    lines = [
        f"P34  {SENTENCE}",
        f"  command   {call}",
        f"  expected  {'replayed: ' if verdict.replayed else ''}{expected}",
        f"  got       {got}",
        *(f"  differs   {problem}" for problem in problems),
    ]
    return PropertyError("\n".join(lines), frozenset({"P34"}))


def disagreements(program: Program, policies: Sequence[Policy]) -> Iterator[str]:
    """Play a program on a handler and on the model, with repetitions and probes, and yield where the two disagree."""
    calls = [*program.calls, *program.parallel]
    where, mine = program.inventory_id, ask_twice(policies)
    agreement = Agreement(Model(where, policies=mine), mine)
    handler = ReferenceHandler(where, policies=agreement.policies)
    yield from _played(agreement, handler, calls)
    if handler.inventory.last_time is not None:
        yield from _played(agreement, handler, list(_repeats(handler.answers, handler.inventory.last_time)))
        yield from probe_problems(agreement.model, handler.inventory, handler.inventory.last_time, policies=agreement.policies)
        yield from _memory_problems(where, handler.inventory.last_time)
    with_ours = (*mine, *ask_twice(_KIT_POLICIES))
    agreement = Agreement(Model(where, policies=with_ours), with_ours)
    yield from _played(agreement, ReferenceHandler(where, policies=agreement.policies), calls)


def _played(agreement: Agreement, handler: ReferenceHandler, calls: Sequence[Call]) -> Iterator[str]:
    for call in calls:
        try:
            agreement.execute(handler, call)
        except PropertyError as error:
            if "P34" not in error.broken:
                raise
            yield "\n".join(str(error).splitlines()[1:]).removeprefix("  command   ")
            return
        except ValueError:
            if not isinstance(call.command, RecordCount):
                raise  # a policy refused an earlier event, so that a count is of a version that is not there


def _repeats(answers: Sequence[Answer], last: datetime) -> Iterator[Call]:
    """Yield every accepted command again: with another reference, another deadline, another payload, and unchanged."""
    for answer in list(answers):
        if answer.appended:
            for later in (timedelta(0), FAR):
                yield Call(attrs.evolve(answer.command, reference="urn:kit:again"), last + later)
            if isinstance(answer.command, ReserveStock):
                yield Call(attrs.evolve(answer.command, not_after=answer.at), last)
            yield Call(other_payload(answer.command), last)
            yield Call(answer.command, last)
            yield Call(answer.command, last - timedelta(seconds=61))
    yield from afterwards(answers, last)


def afterwards(answers: Sequence[Answer], last: datetime) -> Iterator[Call]:
    """Yield commands that most programs do not have: with the id of a reservation, and with a clock as far behind as is allowed.

    Args:
        answers: the answers of one inventory, in order.
        last: the time of the last event.
    """
    for answer in answers:
        if isinstance(answer.command, ReserveStock) and answer.appended:
            where = answer.command.inventory_id
            yield Call(AddStock(inventory_id=where, command_id=answer.command.reservation_id, quantity=7), last)
            for behind in (MAX_CLOCK_SKEW, MAX_CLOCK_SKEW + _TICK):
                yield Call(AddStock(inventory_id=where, command_id=f"{behind} behind", quantity=1), last - behind)
            return


def _step_probes(inventory: Inventory, at: datetime) -> Iterator[tuple[Command, datetime]]:
    """Yield a few commands to probe after every step, so that figures that a decider keeps are probed once the state has changed."""
    named: dict[str, Any] = {"inventory_id": inventory.inventory_id, "command_id": "asked"}
    for shortfall in Shortfall:
        yield AdjustStock(**named, delta=-inventory.units_on_hand or 1, reason=AdjustReason.LOSS, shortfall=shortfall), at
    for ttl in (_LAST_DAY, _LAST_DAY + _TICK):
        yield ReserveStock(inventory_id=inventory.inventory_id, reservation_id="asked", quantity=1, ttl=ttl), _END - _LAST_DAY
    for limit in (1, 2):
        yield ExpireReservations(**named, limit=limit), at + FAR
    hold = max(inventory.reservations(), key=lambda hold: (hold.original - hold.remaining, hold.version), default=None)
    if hold is not None and hold.expires_at is not None and hold.expires_at > at:
        for ttl in (_TICK, hold.expires_at - at, hold.expires_at - at + _TICK):
            yield ExtendReservation(**named, reservation_id=hold.reservation_id, ttl=ttl), at
    yield AddStock(**named, quantity=1, reason=AddReason.FOUND), at
    yield AdjustStock(**named, delta=1, reason=AdjustReason.SPOILED), at
    if hold is not None:
        held = named | {"reservation_id": hold.reservation_id}
        yield ReleaseStock(**held, quantity=1, reason=ReleaseReason.COMPENSATION), at
        yield CommitStock(**held, quantity=1, reason=CommitReason.SCRAPPED, remainder=Remainder.RELEASE), at
        yield CommitStock(**named, reservation_id=hold.reservation_id, quantity=min(hold.remaining + 1, MAX_QUANTITY)), at


def _owner_problems(model: Model, inventory: Inventory) -> Iterator[str]:
    for owner_id in sorted({hold["owner_id"] for hold in model.open.values() if hold["owner_id"] is not None} | {"nobody"}):
        expected, got = model.reserved_for(owner_id), inventory.reserved_for(owner_id)
        if expected != got:
            yield f"reserved for {owner_id}: expected {expected}, got {got}"


def _moved_owner_problems(inventory: Inventory, at: datetime) -> Iterator[str]:
    """Commit one unit of an owner's reservation, in a copy, and check that the owner's sum follows."""
    held = next((hold for hold in inventory.reservations() if hold.owner_id is not None and not hold.is_due(at)), None)
    if held is None or held.owner_id is None:
        return
    copy = Inventory.from_snapshot(inventory.snapshot())
    copy.reserved_for(held.owner_id)  # the first call adds up, and the sum is kept from then on
    command = CommitStock(inventory_id=inventory.inventory_id, command_id="asked", reservation_id=held.reservation_id, quantity=1)
    try:
        for event in copy.decide(command, at=at):
            copy.apply((event, copy.version + 1, at))
    except Exception:  # noqa: BLE001  # the probes that follow report it
        return
    expected = sum(hold.remaining for hold in copy.reservations() if hold.owner_id == held.owner_id)
    if copy.reserved_for(held.owner_id) != expected:
        yield f"reserved for {held.owner_id} after a commit of 1: expected {expected}, got {copy.reserved_for(held.owner_id)}"


def probe_problems(model: Model, inventory: Inventory, at: datetime, *, policies: Sequence[Policy] = ()) -> Iterator[str]:
    """Probe both sides with one command of every kind per known reservation, now and long after. Nothing changes."""
    restored = Inventory.from_snapshot(inventory.snapshot())
    for when in (at, at + FAR):
        for command in probes(inventory, when):
            for asked in (inventory, restored):
                yield from _probed(model, asked, command, when, policies)
    for asked in (inventory, restored):
        yield from _owner_problems(model, asked)
    yield from state_problems(model, restored.snapshot(), at)


def _probed(model: Model, inventory: Inventory, command: Command, at: datetime, policies: Sequence[Policy] = ()) -> Iterator[str]:
    refusal: Refusal | None = None
    error: RejectionError | None = None
    expected: Sequence[Facts] = ()
    events: Sequence[Event] = ()
    try:
        expected = model.decide(command, at)
    except Refusal as refused:
        refusal = refused
    try:
        events = inventory.decide(command, at=at, policies=policies)
    except RejectionError as rejected:
        error = rejected
    except PropertyError:
        raise
    except Exception as broken:  # noqa: BLE001  # a decider may raise any error
        yield f"{describe(command)} at {describe_value(at)}: {type(broken).__name__}: {broken}"
        return
    got = [event_facts(event, inventory.version + number, at) for number, event in enumerate(events, start=1)]
    for problem in (*_refusal_problems(refusal, error, model.inventory_id), *_events_problems(expected, got)):
        yield f"{describe(command)} at {describe_value(at)}: {problem}"


def _memory_problems(inventory_id: InventoryId, at: datetime) -> Iterator[str]:
    """End one more reservation where as many have ended as are remembered, and where one fewer has."""
    for ended in (REMEMBERED - 1, REMEMBERED):
        inventory = Inventory.from_snapshot(
            InventorySnapshot(
                inventory_id=inventory_id,
                version=2 * ended + 1,
                on_hand=1,
                reserved=0,
                last_time=at,
                last_count_version=0,
                open=(),
                closed=_ENDED[:ended],
            )
        )
        for command in (
            ReserveStock(inventory_id=inventory_id, reservation_id="one more", quantity=1, ttl=None),
            ReleaseStock(inventory_id=inventory_id, command_id="it ends", reservation_id="one more"),
        ):
            for event in inventory.decide(command, at=at):
                inventory.apply((event, inventory.version + 1, at))
        kept = range(ended + 1)[-REMEMBERED:]
        for number in (0, 1, ended - 1):
            asked = ReleaseStock(inventory_id=inventory_id, command_id="asked", reservation_id=_ENDED[number][0])
            try:
                is_known = not inventory.decide(asked, at=at)
            except ReservationNotFoundError:
                is_known = False
            if is_known != (number in kept):
                yield f"of {ended + 1} reservations that ended, number {number + 1} is {'still' if is_known else 'no longer'} known"


_ENDED = tuple([(f"E{number}", ClosedReservation(Ending.RELEASED, 0, 1, None)) for number in range(REMEMBERED)])


def check_memory(inventory_id: InventoryId, *, start: datetime, closings: int = 10_001) -> None:
    """Close more reservations than an inventory must remember, and compare its answers about the first and the last with the model's.

    Args:
        inventory_id: the inventory.
        start: the time of every command.
        closings: how many reservations are closed; 10,001 is the first number that makes an inventory forget one.

    Raises:
        PropertyError: the inventory remembers fewer, more, or other reservations.
    """
    inventory, model = Inventory(inventory_id), Model(inventory_id)

    def take(command: Command) -> None:
        for event in inventory.decide(command, at=start):
            inventory.apply((event, inventory.version + 1, start))
        for facts in model.decide(command, start):
            model.enter(facts)

    take(AddStock(inventory_id=inventory_id, command_id="opening", quantity=1))
    for number in range(1, closings + 1):
        take(ReserveStock(inventory_id=inventory_id, reservation_id=f"R{number}", quantity=1, ttl=None))
        take(ReleaseStock(inventory_id=inventory_id, command_id=f"c{number}", reservation_id=f"R{number}"))
    restored = Inventory.from_snapshot(inventory.snapshot())
    for number in (1, 2, 3, closings // 2, closings - 1, closings):
        command = ReleaseStock(inventory_id=inventory_id, command_id="asked", reservation_id=f"R{number}")
        for asked in (inventory, restored):
            problem = next(_probed(model, asked, command, start), None)
            if problem is not None:
                msg = f"P34  {SENTENCE}\n  problem   after {closings} closings, {problem}"
                raise PropertyError(msg, frozenset({"P34"}))


def state_problems(model: Model, state: InventorySnapshot, t: datetime) -> list[str]:
    """Return how a state differs from the model's state."""
    pairs = {
        "on hand": (model.on_hand, state.on_hand),
        "reserved": (model.reserved, state.reserved),
        "version": (len(model.events), state.version),
        "last time": (model.last_time, state.last_time),
        "last count": (model.last_count_version, state.last_count_version),
        "available": (model.available_at(t), int(Inventory.from_snapshot(state).available_at(t))),
        "open": (list(model.open.values()), [hold_facts(hold) for hold in state.open]),
        "closed": (list(model.closed.items()), [(known, _ending_facts(ending)) for known, ending in state.closed]),
    }
    return [f"{name} after it: expected {wanted}, got {got}" for name, (wanted, got) in pairs.items() if wanted != got]


def _answer_problems(verdict: Verdict, answer: Answer, inventory_id: InventoryId) -> Iterator[str]:
    yield from _refusal_problems(verdict.refusal, answer.error, inventory_id)
    if (verdict.at, verdict.replayed) != (answer.at, answer.replayed):
        yield f"expected at {verdict.at}, replayed {verdict.replayed}, got at {answer.at}, replayed {answer.replayed}"
    yield from _events_problems(verdict.events, [event_facts(one.event, one.version, one.recorded_at) for one in answer.recorded])


def _refusal_problems(refusal: Refusal | None, error: InventoryError | None, inventory_id: InventoryId) -> Iterator[str]:
    if refusal is None or error is None:
        if refusal is not None:
            yield f"expected {refusal}, but it was accepted"
        elif error is not None:
            yield f"expected it to be accepted, got {describe(error)}"
        return
    if refusal.error is not type(error):
        yield f"expected {refusal}, got {describe(error)}"
        return
    facts: Mapping[str, object] = {} if isinstance(error, PolicyRejectedError) else error.facts()
    for name in [*refusal.facts, *(name for name in facts if name not in refusal.facts and name not in _NOT_COMPARED)]:
        wanted, got = refusal.facts.get(name, "nothing of that name"), getattr(error, name, "nothing of that name")
        if wanted != got:
            yield f"{name} of {refusal.error.__name__}: expected {describe_value(wanted)}, got {describe_value(got)}"
    for name in ("inventory", "stream"):
        if facts.get(name, inventory_id.stream) != inventory_id.stream:
            yield f"{name} of {refusal.error.__name__}: expected {inventory_id.stream}, got {facts[name]}"


def _events_problems(expected: Sequence[Facts], got: Sequence[Facts]) -> list[str]:
    problems = [
        f"#{number} {name}: expected {describe_value(wanted.get(name))}, got {describe_value(found.get(name))}"
        for number, (wanted, found) in enumerate(zip(expected, got, strict=False), start=1)
        for name in dict.fromkeys([*wanted, *found])
        if wanted.get(name) != found.get(name) or (name in wanted) != (name in found)
    ]
    problems += [f"#{number} is missing: {_describe_event(facts)}" for number, facts in enumerate(expected[len(got) :], len(got) + 1)]
    unexpected = enumerate(got[len(expected) :], len(expected) + 1)
    return problems + [f"#{number} was not expected: {_describe_event(facts)}" for number, facts in unexpected]


def _seen_problems(expected: Sequence[Facts], got: Sequence[Facts]) -> Iterator[str]:
    if len(expected) != len(got):
        yield f"expected {len(expected)} policies to be asked, got {len(got)}"
    for wanted, found in zip(expected, got, strict=False):
        for name in wanted:
            if wanted[name] != found[name]:
                yield f"{name} that a policy is shown: expected {wanted[name]}, got {found[name]}"


def _ending_facts(ending: Any) -> Facts:
    return {name: getattr(ending, name) for name in ("outcome", "committed", "released", "expires_at")}


def _describe_answer(answer: Answer) -> str:
    if answer.error is not None:
        return describe(answer.error)
    return ("replayed: " if answer.replayed else "") + _lines(describe(event) for event in answer.events)


def _describe_event(facts: Facts) -> str:
    hidden = {"event", "product_id", "store_id", "version", "recorded_at"}
    return describe_facts(facts["event"], {name: value for name, value in facts.items() if name not in hidden})


def _lines(texts: Iterator[str]) -> str:
    return "\n            ".join(texts) or "nothing: a no-op"


# The kit's own policies find a decider that asks only some policies, even if the host has none.


def _agrees(_view: StockView, _command: Command, _at: datetime) -> None:
    return None


def _at_most_a_dozen_per_owner(view: StockView, command: Command, _at: datetime) -> None:
    if isinstance(command, ReserveStock) and command.owner_id is not None:
        held = view.reserved_for(command.owner_id)
        if held + command.quantity > 12:
            reason = "a_dozen_per_owner"
            raise PolicyRejectedError(reason, held=held)


def _never_the_last_unit(view: StockView, command: Command, _at: datetime) -> None:
    if isinstance(command, ReserveStock) and command.quantity == view.unreserved:
        reason = "never_the_last_unit"
        raise PolicyRejectedError(reason, free=view.unreserved, due=len(view.due))


def _every_ninth_version_rests(view: StockView, command: Command, _at: datetime) -> None:
    if view.version % 9 == 8:
        reason = "rests"
        raise PolicyRejectedError(reason, command=type(command).__name__, reserved=view.reserved)


_KIT_POLICIES: tuple[Policy, ...] = (_agrees, _every_ninth_version_rests, _at_most_a_dozen_per_owner, _never_the_last_unit)
