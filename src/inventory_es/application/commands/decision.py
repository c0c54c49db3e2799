"""The decision of one command: its events as the store takes them, and the outcome that its caller gets."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import attrs

from inventory_es.application.commands.batching import Item
from inventory_es.application.commands.group_commit import Append, Committer
from inventory_es.application.commands.handler_settings import HandlerSettings
from inventory_es.application.commands.states import InventoryState, StreamReader
from inventory_es.application.context import CommandContext
from inventory_es.application.results import CommandResult, Reservation
from inventory_es.domain.command_identity import EventIds, fingerprint
from inventory_es.domain.commands import Command, ExpireReservations, RecordCount, ReserveStock
from inventory_es.domain.errors import ClockSkewError, RejectionError
from inventory_es.domain.events import Event, StockReservedEvent
from inventory_es.domain.inventory import Inventory, Policy
from inventory_es.ports.clock import Clock, IdGenerator, SteadyClock
from inventory_es.ports.codec import EventCodec, KnownGoodCodec
from inventory_es.ports.errors import AppendOutcomeUnknownError, AppendTooLargeError, ConcurrencyError
from inventory_es.ports.event_store import StoreCapabilities
from inventory_es.ports.records import OWN_FIELDS, EventMetadata, NewEvent, StreamWrite

CommandOutcome = CommandResult | Reservation


@attrs.define(eq=False)
class CommandRequest(Item):
    """One command on its way to an outcome.

    Attributes:
        command: the command.
        named: True if the caller chose its id, so that it may have been sent before.
        expected_version: the version that the host insists on; ``None`` if it does not.
        context: captured in the caller's task.
        happened_at: the time that the caller gives; ``None`` for the clock's.
        look_up: True if its stored events are looked for before the (next) decision.
        unknown: the error of an append that carried it and has an unknown outcome; ``None`` if there is none.
        observed_on_hand: the units on hand at the version that a count names, if that is an older one.
        attempts: how often it was decided.
        batch_size: how many requests were served together with it.
    """

    command: Command
    named: bool = attrs.field(kw_only=True)
    expected_version: int | None = attrs.field(kw_only=True)
    context: CommandContext = attrs.field(kw_only=True)
    happened_at: datetime | None = attrs.field(default=None, kw_only=True)
    look_up: bool = attrs.field(default=False, init=False)
    unknown: AppendOutcomeUnknownError | None = attrs.field(default=None, init=False)
    observed_on_hand: int | None = attrs.field(default=None, init=False)
    attempts: int = attrs.field(default=0, init=False)
    batch_size: int = attrs.field(default=1, init=False)


class Decision(NamedTuple):
    """The events of one command on the state that the command before left.

    Attributes:
        request: the command's.
        events: its events; empty for a no-op or a refusal.
        new_events: the same events as the store takes them.
        refusal: the reason why it is refused; ``None`` if it is not.
        version: of the stream after it.
        at: its time.
        on_hand: units there after it.
        reserved: units promised after it.
        size: bytes of its events.
    """

    request: CommandRequest
    events: Sequence[Event]
    new_events: Sequence[NewEvent]
    refusal: Exception | None
    version: int
    at: datetime
    on_hand: int
    reserved: int
    size: int

    def outcome(self, position: int) -> CommandOutcome | Exception:
        """Return the caller's outcome, once the append or the version check stands at ``position``."""
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


class Decider:
    """Decides commands speculatively: the state moves on, new events are made, nothing is stored yet.

    Args:
        codec: encodes payloads and metadata.
        capabilities: the limits of the store.
        policies: the host's rules.
        settings: bounds.
        clock: the time.
        ids: gives the ids of commands that close a backlog.
        reader: reads what an older count observed.
        committer: appends what closes a backlog.
    """

    def __init__(
        self,
        *,
        codec: EventCodec,
        capabilities: StoreCapabilities,
        policies: Sequence[Policy],
        settings: HandlerSettings,
        clock: Clock,
        ids: IdGenerator,
        reader: StreamReader,
        committer: Committer,
    ) -> None:
        self._encode = codec.encode
        self._encode_metadata = codec.encode_metadata
        self._new_event: Callable[..., NewEvent] = NewEvent
        self._encode_fields: Callable[..., bytes] = self._encode_by_name
        if isinstance(codec, KnownGoodCodec):
            self._new_event, self._encode_fields = NewEvent.unchecked, codec.encode_fields
        self._limits = capabilities
        self._policies = policies
        self._settings = settings
        self._clock = clock
        self._jump = clock.jump if isinstance(clock, SteadyClock) else None
        self._longest_jump = settings.max_clock_jump.total_seconds()
        self._ids = ids
        self._reader = reader
        self._committer = committer
        self.expiry_chunk: int = max(1, min(settings.expiry_chunk, capabilities.max_append_events // 2))

    def decide(self, state: InventoryState, request: CommandRequest, *, now: datetime, at: datetime) -> Decision:
        """Decide a request and apply its events to the state, which must be at a savepoint.

        Args:
            state: moves on.
            request: the command.
            now: the time of the clock, or the one that the caller gave.
            at: the same, as :func:`time_for` has it, for this and for all that is decided after it.
        """
        inventory = state.inventory
        request.attempts += 1
        events: Sequence[Event] = ()
        new_events: Sequence[NewEvent] = ()
        refusal: Exception | None = None
        size = 0
        try:
            if self._jump is not None and request.happened_at is None:
                self._check_clock(self._jump)
            if at is not now or request.expected_version is not None:
                self._check(inventory, request, now)
            events = inventory.decide(request.command, at=at, observed_on_hand=request.observed_on_hand, policies=self._policies)
            if events:
                new_events, size = self._new_events(request, events, at, state.ids)
        except Exception as problem:  # noqa: BLE001  # a rejection, misuse, or a policy's own failure: this request's alone
            events, new_events, refusal = (), (), _without_frames(problem)
        version = inventory.version
        for event in events:
            version += 1
            inventory.apply((event, version, at))
        return Decision(request, events, new_events, refusal, version, at, inventory.units_on_hand, inventory.units_reserved, size)

    def refusal_or_no_op(self, state: InventoryState, request: CommandRequest, *, at: datetime) -> CommandOutcome | Exception | None:
        """Return the outcome of a request that appends nothing on ``state``, which must be current; ``None`` if it does append.

        Nothing is changed, so no savepoint is needed.
        """
        inventory = state.inventory
        try:
            if self._jump is not None:
                self._check_clock(self._jump)
            if inventory.decide(request.command, at=at, policies=self._policies):
                return None
        except Exception as problem:  # noqa: BLE001  # as in decide
            return _without_frames(problem)
        nothing = Decision(request, (), (), None, inventory.version, at, inventory.units_on_hand, inventory.units_reserved, 0)
        return nothing.outcome(state.position)

    def is_ready(self, inventory: Inventory, requests: Iterable[CommandRequest], at: datetime) -> bool:
        """Return whether requests can be decided at ``at`` as they stand: no look-up is due, and :meth:`prepare` has nothing to do."""
        for request in requests:
            if request.look_up or type(request.command) is RecordCount:
                return False
        return inventory.open_count <= self.expiry_chunk or not self.has_backlog(inventory, at)

    def has_backlog(self, inventory: Inventory, at: datetime) -> bool:
        """Return whether more is due at ``at`` than a command may close on its way."""
        chunk = self.expiry_chunk
        if inventory.open_count <= chunk or not inventory.due(at, limit=1):
            return False
        return len(inventory.due(at, limit=chunk + 1)) > chunk

    async def prepare(self, state: InventoryState, requests: Sequence[CommandRequest]) -> None:
        """Bring in what the requests need before they can be decided on ``state``: old counts, and an end to a backlog.

        Raises:
            ConcurrencyError, AppendOutcomeUnknownError: while closing a backlog of due reservations; refresh the state and try again.
        """
        for request in requests:
            if not isinstance(request.command, ExpireReservations):
                await self._close_backlog(state, request.happened_at)
                break
        for request in requests:
            command = request.command
            if not isinstance(command, RecordCount) or command.observed_version > state.inventory.version:
                continue
            if command.observed_version == state.inventory.version:
                request.observed_on_hand = state.inventory.units_on_hand
            else:
                observed = await self._reader.at_version(command.inventory_id.stream, command.observed_version)
                request.observed_on_hand = 0 if observed is None else self._reader.event(observed).on_hand

    async def _close_backlog(self, state: InventoryState, happened_at: datetime | None) -> None:
        """Close due reservations chunk by chunk, each an append of its own, until one chunk is left for the command itself.

        Nothing is done where closing is refused, as it is by a clock that stands behind: each command meets the same refusal.
        """
        inventory = state.inventory
        while True:
            now = self._clock.now() if happened_at is None else happened_at
            at = time_for(inventory, now)
            if not self.has_backlog(inventory, at):
                return
            command = ExpireReservations(inventory_id=inventory.inventory_id, command_id=self._ids.new_id(), limit=self.expiry_chunk)
            sweep = CommandRequest(command, named=False, expected_version=None, context=CommandContext(), happened_at=happened_at)
            version, savepoint = inventory.version, inventory.savepoint()
            decision = self.decide(state, sweep, now=now, at=at)
            if decision.refusal is not None:
                return
            append = Append((StreamWrite(inventory.inventory_id.stream, version, decision.new_events),))
            try:
                await self._committer.append(append)
                state.position = append.result().position
            except BaseException:
                inventory.rollback(savepoint)
                raise
            inventory.settle()

    def instant(self, commands: Sequence[tuple[CommandRequest, Sequence[NewEvent]]]) -> list[NewEvent]:
        """Return the new events of commands that are one instant of one stream: all but the last of them are marked."""
        new_events: list[NewEvent] = []
        for request, events in commands[:-1]:
            new_events += events[:-1]
            new_events += self._with_more(request, events[-1:])
        return [*new_events, *commands[-1][1]]

    def _new_events(self, request: CommandRequest, events: Sequence[Event], at: datetime, ids: EventIds) -> tuple[Sequence[NewEvent], int]:
        """Return the events of one accepted command as the store takes them, and their bytes.

        All events but the last are marked: more of their instant follow.
        """
        command, context, encode, make = request.command, request.context, self._encode, self._new_event
        if context.traceparent is None:
            metadata = self._encode_fields(
                command.command_id,
                fingerprint(command),
                context.correlation_id,
                context.causation_id,
                context.actor_id,
                command.reference,
            )
        else:
            metadata = self._encode_metadata(_metadata(request, more=False))
        made: list[NewEvent] = []
        total = 0
        for event_id, event in zip(ids.of(command, events), events, strict=True):
            event_type, schema_version, data = encode(event)
            made.append(make(event_id, event_type, schema_version, at, data, metadata))
            total += len(data) + len(metadata)
        if len(made) > 1:
            made = [*self._with_more(request, made[:-1]), made[-1]]
        elif total <= self._limits.max_event_bytes and total <= self._limits.max_append_bytes:
            return made, total
        return made, self._check_size(made)

    def _check_size(self, events: Sequence[NewEvent]) -> int:
        limits = self._limits
        total = 0
        for event in events:
            size = len(event.data) + len(event.metadata)
            total += size
            if size > limits.max_event_bytes:
                raise AppendTooLargeError(limit_name="event bytes", limit=limits.max_event_bytes, actual=size)
        if total > limits.max_append_bytes:
            raise AppendTooLargeError(limit_name="bytes", limit=limits.max_append_bytes, actual=total)
        if len(events) > limits.max_append_events:
            raise AppendTooLargeError(limit_name="events", limit=limits.max_append_events, actual=len(events))
        return total

    def _with_more(self, request: CommandRequest, events: Sequence[NewEvent]) -> list[NewEvent]:
        make, metadata = self._new_event, self._encode_metadata(_metadata(request, more=True))
        return [make(one.event_id, one.event_type, one.schema_version, one.recorded_at, one.data, metadata) for one in events]

    def _encode_by_name(self, *fields: str | None) -> bytes:
        named: dict[str, Any] = dict(zip(OWN_FIELDS, fields, strict=True))
        return self._encode_metadata(EventMetadata(**named))

    def _check_clock(self, jump: Callable[[], float]) -> None:
        seconds = jump()
        if type(seconds) is not float or not -self._longest_jump <= seconds <= self._longest_jump:
            self._settings.check_seconds(jump, seconds)

    def _check(self, inventory: Inventory, request: CommandRequest, now: datetime) -> None:
        last_time, longest = inventory.last_time, self._settings.max_clock_skew
        if last_time is not None and last_time - now > longest:
            raise ClockSkewError(stream=inventory.inventory_id.stream, now=now, last_time=last_time, max_clock_skew=longest)
        expected = request.expected_version
        if expected is not None and expected != inventory.version:
            raise ConcurrencyError(stream=inventory.inventory_id.stream, expected=expected, actual=inventory.version)


def _metadata(request: CommandRequest, *, more: bool) -> EventMetadata:
    command, context = request.command, request.context
    return EventMetadata(
        command_id=command.command_id,
        fingerprint=fingerprint(command),
        correlation_id=context.correlation_id,
        causation_id=context.causation_id,
        actor_id=context.actor_id,
        reference=command.reference,
        more=more,
        extra=context.extra,
    )


def time_for(inventory: Inventory, now: datetime) -> datetime:
    """Return the time of a decision now: the clock's, but never before the stream's last event."""
    last_time = inventory.last_time
    return now if last_time is None or now >= last_time else last_time


def accepted(command: Command, last: Event, *, at: datetime, version: int, position: int, replayed: bool = False) -> CommandOutcome:
    """Return the outcome of a command whose last event is ``last``, which made ``version``."""
    if type(command) is ReserveStock and type(last) is StockReservedEvent:
        return Reservation(
            product_id=last.product_id,
            store_id=last.store_id,
            reservation_id=last.reservation_id,
            quantity=last.quantity,
            purpose=last.purpose,
            owner_id=last.owner_id,
            reserved_at=at,
            expires_at=last.expires_at,
            version=version,
            position=position,
            replayed=replayed,
            remaining=last.quantity,
        )
    return CommandResult(
        inventory_id=command.inventory_id,
        command_id=command.command_id,
        changed=True,
        version=version,
        position=position,
        at=at,
        on_hand=last.on_hand,
        reserved=last.reserved,
        replayed=replayed,
    )


def _without_frames(problem: Exception) -> Exception:
    """Return a rejection without its traceback, which names the frame that names the rejection: a cycle for the collector."""
    if isinstance(problem, RejectionError):
        problem.__traceback__ = None
    return problem
