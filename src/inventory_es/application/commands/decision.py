"""Deciding one request on a state, speculatively: the state moves on, events are drafted, nothing is stored yet."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from inventory_es.application.commands.outcomes import Outcome, accepted
from inventory_es.application.commands.requests import CommandRequest
from inventory_es.application.commands.tools import Tools
from inventory_es.application.commands.warm_states import WarmState
from inventory_es.application.results import CommandResult
from inventory_es.domain.errors import ClockSkewError, RejectionError
from inventory_es.domain.events import Event
from inventory_es.domain.inventory import Inventory
from inventory_es.ports import NewEvent
from inventory_es.ports.errors import AppendTooLargeError, ConcurrencyError


class Decided(NamedTuple):
    """What one request came to on the state that the one before left.

    Attributes:
        request: which.
        events: what it appends; empty for a no-op or a refusal.
        drafted: the same events as the store takes them.
        refusal: why it is refused, if it is.
        version: of the stream after it.
        at: its time.
        on_hand: units there after it.
        reserved: units promised after it.
        size: bytes of what it appends.
    """

    request: CommandRequest
    events: Sequence[Event]
    drafted: Sequence[NewEvent]
    refusal: Exception | None
    version: int
    at: datetime
    on_hand: int
    reserved: int
    size: int

    def outcome(self, position: int) -> Outcome | Exception:
        """What to tell the caller, once the append or the version check stands at ``position``."""
        if self.refusal is not None:
            return self.refusal
        command = self.request.command
        if self.events:
            return accepted(command, self.events[-1], at=self.at, version=self.version, position=position)
        return CommandResult(
            inventory_id=command.inventory_id,
            command_id=command.command_id,
            changed=False,
            version=self.version,
            position=position,
            at=self.at,
            on_hand=self.on_hand,
            reserved=self.reserved,
        )


def time_for(inventory: Inventory, now: datetime) -> datetime:
    """The time of a decision now: the clock's, but never before the stream's last event."""
    last_time = inventory.last_time
    return now if last_time is None or now >= last_time else last_time


def decide_request(tools: Tools, state: WarmState, request: CommandRequest, *, now: datetime, at: datetime) -> Decided:
    """Decide ``request`` and apply its events to ``state``, which must be at a savepoint.

    Args:
        tools: what it takes.
        state: moves on.
        request: which.
        now: what the clock says, or the caller.
        at: the same as :func:`time_for` has it, for this and for all that is decided after it.
    """
    inventory = state.inventory
    request.attempts += 1
    events: Sequence[Event] = ()
    drafted: Sequence[NewEvent] = ()
    refusal: Exception | None = None
    size = 0
    try:
        if request.happened_at is None:
            tools.check_clock()
        if at is not now or request.expected_version is not None:
            _check(tools, inventory, request, now)
        events = inventory.decide(request.command, at=at, observed_on_hand=request.observed_on_hand, policies=tools.policies)
        if events:
            drafted = tools.drafting.draft(request, events, at=at, ids=state.ids)
            size = _size_of(tools, drafted)
    except Exception as problem:  # noqa: BLE001  # a rejection, misuse, or a policy's own failure: this request's alone
        events, drafted, refusal = (), (), _without_frames(problem)
    version = inventory.version
    for event in events:
        version += 1
        inventory.apply((event, version, at))
    return Decided(request, events, drafted, refusal, version, at, inventory.units_on_hand, inventory.units_reserved, size)


def refusal_or_no_op(tools: Tools, state: WarmState, request: CommandRequest, *, at: datetime) -> Outcome | Exception | None:
    """What to tell the caller of ``request`` if it appends nothing on ``state``, which must be current; ``None`` if it does.

    Nothing is changed, so no savepoint is needed.
    """
    inventory = state.inventory
    try:
        tools.check_clock()
        if inventory.decide(request.command, at=at, policies=tools.policies):
            return None
    except Exception as problem:  # noqa: BLE001  # as in decide_request
        return _without_frames(problem)
    nothing = Decided(request, (), (), None, inventory.version, at, inventory.units_on_hand, inventory.units_reserved, 0)
    return nothing.outcome(state.position)


def _without_frames(problem: Exception) -> Exception:
    """A rejection names the frame that it was caught in, which names it: only the garbage collector could free the two."""
    if isinstance(problem, RejectionError):
        problem.__traceback__ = None
    return problem


def _check(tools: Tools, inventory: Inventory, request: CommandRequest, now: datetime) -> None:
    last_time, longest = inventory.last_time, tools.settings.max_clock_skew
    if last_time is not None and last_time - now > longest:
        raise ClockSkewError(stream=inventory.inventory_id.stream, now=now, last_time=last_time, max_clock_skew=longest)
    expected = request.expected_version
    if expected is not None and expected != inventory.version:
        raise ConcurrencyError(stream=inventory.inventory_id.stream, expected=expected, actual=inventory.version)


def _size_of(tools: Tools, drafted: Sequence[NewEvent]) -> int:
    limits = tools.capabilities
    total = 0
    for event in drafted:
        size = len(event.data) + len(event.metadata)
        total += size
        if size > limits.max_event_bytes:
            raise AppendTooLargeError(limit_name="event bytes", limit=limits.max_event_bytes, actual=size)
    if total > limits.max_append_bytes:
        raise AppendTooLargeError(limit_name="bytes", limit=limits.max_append_bytes, actual=total)
    if len(drafted) > limits.max_append_events:
        raise AppendTooLargeError(limit_name="events", limit=limits.max_append_events, actual=len(drafted))
    return total
