"""Processes in the store: loaded, decided, stepped and appended optimistically.

The stream of a process names each step before any inventory is touched, and its outcome after. Where the store can, both and all
commands to the inventories are one atomic append, with no state in between. Otherwise the commands are executed one by one, each under
an id derived from the process, the line and the step. A step that was cut short is therefore repeated from its beginning: commands
that were accepted before are replayed, and the rest follows.
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from copy import copy
from datetime import datetime
from typing import Any, Generic, NamedTuple, TypeVar, get_args

from inventory_es.application.context import current_context
from inventory_es.application.service import InventoryService
from inventory_es.domain.command_identity import EventIds
from inventory_es.domain.commands import Command
from inventory_es.domain.errors import ClockSkewError, CommandsRejectedError, InsufficientStockError, RejectionError
from inventory_es.domain.processes.decider import Decider, ProcessState
from inventory_es.domain.processes.lines import LineShortage
from inventory_es.domain.processes.step_ids import process_of
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import NewEvent, RecordedEvent, SteadyClock, StreamWrite
from inventory_es.ports.errors import AppendTooLargeError, ConcurrencyError, EventIdCollisionError
from inventory_es.ports.records import EventMetadata
from inventory_es.ports.toolkit.page_rules import read_stream_page

State = TypeVar("State", bound=ProcessState)
Event = TypeVar("Event")
T = TypeVar("T")

_PAGE = 500


class DecidedEvent(NamedTuple):
    """An event that is not stored yet.

    Attributes:
        event: the event.
        command_id: the id of the command or step.
        at: the time of the decision.
    """

    event: object
    command_id: str
    at: datetime


class ProcessSession(Generic[State, Event]):
    """One process as one task works on it.

    Attributes:
        stream: the stream of the process.
        state: the state after the new events.
        version: the version of the stream, without the new events.
        last_time: the time of the last event; ``None`` before the first.
        new_events: the events that are not stored yet.
    """

    def __init__(self, decider: Decider[State, Event], process_id: str) -> None:
        self._decider = decider
        self.stream: StreamId = StreamId(decider.category, process_id)
        self.state: State = decider.start(process_id)
        self.version: int = 0
        self.last_time: datetime | None = None
        self.new_events: tuple[DecidedEvent, ...] = ()

    def fold(self, event: Event, at: datetime) -> None:
        """Apply a stored event.

        Raises:
            CorruptStreamError: ``event`` can't follow.
        """
        self.state, self.version, self.last_time = self._decider.evolve(self.state, event, at), self.version + 1, at

    def take(self, events: Sequence[Event], at: datetime, *, command_id: str) -> None:
        """Apply events that were decided on this state."""
        for event in events:
            self.state, self.last_time = self._decider.evolve(self.state, event, at), at
            self.new_events += (DecidedEvent(event, command_id, at),)

    def stored(self) -> None:
        """Note that the new events are in the store."""
        self.version, self.new_events = self.version + len(self.new_events), ()


class PlannedStep(NamedTuple, Generic[State, Event]):
    """A step that can be taken at once.

    Attributes:
        commands: the commands to the inventories.
        at: the time of all commands.
        session: the process after the step, with the events to append together with the commands.
    """

    commands: Sequence[Command]
    at: datetime
    session: ProcessSession[State, Event]


class ProcessHandler(ABC, Generic[State, Event]):
    """Handler of one kind of process, whose streams are in the store of its inventories.

    Args:
        decider: the decider of the kind.
        inventory: the open service; its store has the streams.
    """

    def __init__(self, decider: Decider[State, Event], inventory: InventoryService) -> None:
        self._decider = decider
        self._inventory = inventory
        self._parts = inventory.parts
        self.is_atomic: bool = inventory.store_capabilities.multi_stream

    async def load(self, process_id: str) -> ProcessSession[State, Event]:
        """Return the process as it is in the store.

        Raises:
            CorruptStreamError: its events contradict each other. EventDecodeError: they are not its events.
        """
        session = ProcessSession(self._decider, process_id)
        is_end = False
        while not is_end:
            page = await read_stream_page(self._inventory.store, session.stream, after=session.version, limit=_PAGE)
            for recorded in page.events:
                session.fold(self._parts.codec.decode(recorded), recorded.recorded_at)
            is_end = page.is_end
        return session

    async def attempt(self, process_id: str, work: Callable[[ProcessSession[State, Event]], Awaitable[T]]) -> T:
        """Load a process and work on it, again from the stored state whenever another writer moved its stream meanwhile.

        Raises:
            ConcurrencyError: others kept winning.
        """
        attempt = 0
        while True:
            attempt += 1
            if attempt > 2:
                await self._parts.sleep(self._parts.settings.pause(attempt, self._parts.chance()))
            session = await self.load(process_id)
            try:
                return await work(session)
            except (ConcurrencyError, EventIdCollisionError) as problem:
                if problem.stream != session.stream or attempt >= self._parts.settings.max_attempts:
                    raise

    def decide(self, session: ProcessSession[State, Event], command: Any) -> None:
        """Apply the events of ``command`` now.

        Raises:
            RejectionError: the process refuses.
            ClockSkewError: the clock of this machine is too far behind the stream.
            ClockJumpError: the clock was set by too much since the inventory was opened.
        """
        at = self.time_of(session)
        session.take(self._decider.decide(session.state, command, at), at, command_id=command.command_id)

    async def take_steps(self, session: ProcessSession[State, Event]) -> ProcessSession[State, Event]:
        """Take every step that is due, and store the new events.

        Returns:
            The process after them.

        Raises:
            ConcurrencyError: another writer moved the process. Take its steps from its new state.
            RejectionError: units that arrived can't be put on the books. Once that is mended, the step is taken again.
        """
        while session.state.step is not None:
            ahead = await self._at_once(session) if self.is_atomic else None
            if ahead is None:
                await self.append(session)
                event = await self._one_by_one(session.state)
                self._conclude(session, event, self.time_of(session))
            else:
                session = ahead
        await self.append(session)
        return session

    async def _at_once(self, session: ProcessSession[State, Event]) -> ProcessSession[State, Event] | None:
        """Append the commands of a step together with the events of the process; ``None`` where it must be taken one by one."""
        planned = self.plan(session)
        if planned is None:
            return None
        try:
            writes = [self.write(planned.session)]
            await self._inventory.execute_all(planned.commands, writes=writes, times=[planned.at] * len(planned.commands))
        except CommandsRejectedError as why:
            return self._refused(session, why)
        except AppendTooLargeError:
            return None
        planned.session.stored()
        return planned.session

    @abstractmethod
    async def _one_by_one(self, state: State) -> Event:
        """Execute the commands of the step that is due, and return the event that ends it."""

    @abstractmethod
    def _refused(self, session: ProcessSession[State, Event], why: CommandsRejectedError) -> ProcessSession[State, Event] | None:
        """Return the process after a step whose commands were refused at once; ``None`` where it must be taken one by one."""

    def plan(self, session: ProcessSession[State, Event]) -> PlannedStep[State, Event] | None:
        """Return the step that is due as one append; ``None`` where it must be taken one by one."""
        at = self._time_of_step(session)
        planned = self._decider.plan(session.state, at)
        if planned is None:
            return None
        commands, event = planned
        ahead = copy(session)
        self._conclude(ahead, event, at)
        return PlannedStep(commands, at, ahead)

    def refuse(self, session: ProcessSession[State, Event], why: CommandsRejectedError) -> ProcessSession[State, Event]:
        """Return the process after its reservations were refused. A new process ends at once, since it never held anything."""
        state, ended, at = session.state, copy(session), self._time_of_step(session)
        refused = ((state.lines[index], one) for index, one in zip(why.indexes, why.rejections, strict=True))
        shortages = tuple(LineShortage.of(line, self._decider.source(state, line), one) for line, one in refused)
        self._conclude(ended, self._decider.refuse(state, shortages), at)
        if not session.version:
            self._conclude(ended, self._decider.release(ended.state), at)
        return ended

    async def shortages(self, state: State, refused: Any, why: RejectionError) -> tuple[LineShortage, ...]:
        """Return the shortage of the line that was refused, and of the lines after it, which were not tried."""
        found = [LineShortage.of(refused, self._decider.source(state, refused), why)]
        for line in state.lines[refused.line :]:
            source = self._decider.source(state, line)
            available = (await self._inventory.stock(source.product_id, source.store_id)).available
            if available < line.quantity:
                short = InsufficientStockError(inventory=source.stream, requested=line.quantity, available=available)
                found.append(LineShortage.of(line, source, short))
        return tuple(found)

    def _conclude(self, session: ProcessSession[State, Event], event: Event, at: datetime) -> None:
        command_id = f"step:{session.state.step}"
        session.take((event,), at, command_id=command_id)
        session.take(self._decider.close(session.state), at, command_id=command_id)

    def _time_of_step(self, session: ProcessSession[State, Event]) -> datetime:
        """Return one time for everything that is stored together."""
        return session.new_events[-1].at if session.new_events else self.time_of(session)

    def time_of(self, session: ProcessSession[State, Event]) -> datetime:
        """Return the time of a decision now: the clock's, but never before the stream's last event."""
        clock, last_time, longest = self._parts.clock, session.last_time, self._parts.settings.max_clock_skew
        if isinstance(clock, SteadyClock):
            self._parts.settings.check_jump(clock.jump)
        now = clock.now()
        if last_time is None or now >= last_time:
            return now
        if last_time - now > longest:
            raise ClockSkewError(stream=session.stream, now=now, last_time=last_time, max_clock_skew=longest)
        return last_time

    def write(self, session: ProcessSession[State, Event]) -> StreamWrite:
        """Return the new events as the store takes them. Ids derive from the command or step, and the event's version."""
        ids, context = EventIds(session.stream), current_context()
        events: list[NewEvent] = []
        for version, (event, command_id, at) in enumerate(session.new_events, session.version + 1):
            metadata = EventMetadata(
                command_id=command_id,
                correlation_id=context.correlation_id,
                causation_id=context.causation_id,
                actor_id=context.actor_id,
                extra=context.extra,
            )
            event_type, schema_version, data = self._parts.codec.encode(event)
            metadata_bytes = self._parts.codec.encode_metadata(metadata)
            events.append(NewEvent(ids.own(command_id, version), event_type, schema_version, at, data, metadata_bytes))
        return StreamWrite(session.stream, session.version, events)

    async def append(self, session: ProcessSession[State, Event]) -> None:
        """Store the new events, if there are any.

        Raises:
            ConcurrencyError: another writer moved the stream; nothing was appended.
            AppendOutcomeUnknownError: perhaps appended; loading the process tells.
        """
        if session.new_events:
            await self._inventory.execute_all((), writes=[self.write(session)])
            session.stored()

    def process_of(self, recorded: RecordedEvent) -> str | None:
        """Return the process that an event belongs to, or that its reservation was made for; ``None`` for neither."""
        if recorded.stream.category == self._decider.category:
            return recorded.stream.parts[0]
        return process_of(self._decider.category, self._parts.codec.decode_metadata(recorded).reference)


def check_command(command: object, kind: Any) -> None:
    """Refuse an object that is no command of a process.

    Args:
        command: the object.
        kind: a class of commands, or a union of them.

    Raises:
        TypeError: it is of another class.
    """
    if not isinstance(command, kind):
        names = ", ".join(one.__name__ for one in get_args(kind) or (kind,))
        msg = f"command must be one of {names}, not a {type(command).__name__}"
        raise TypeError(msg)
