"""Lanes: one queue per stream, so that commands for one inventory that meet in this process are decided together.

A batch is decided on a folded state, each request on the state that the one before left. Then one append carries all accepted
events, and its expected version proves that the state was current. Where nothing was accepted, reading the stream's tail
proves the same. Only then does anybody get an answer.

An append that meets another writer, an id that is taken, or an unknown outcome, takes back the speculation. Then the state is
brought up to date. Commands that may have been stored are looked up by the id of their first own event. A command that is
found is replayed, and one that is absent is decided again. So no command is accepted twice, however often it is sent.

A command whose append may still take effect is not refused: its refusal waits until the append is settled. An append that can't be
settled in time stays unknown.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from copy import copy
from datetime import datetime
from typing import Any

import attrs

from inventory_es.application.commands.batching import Batcher, Callers, Item
from inventory_es.application.commands.decision import CommandRequest, Decider, Decision, time_for
from inventory_es.application.commands.group_commit import Append, interrupted
from inventory_es.application.commands.repository import RETRIED, Repository
from inventory_es.application.commands.states import InventoryState
from inventory_es.application.commands.waiting import Waiting
from inventory_es.domain.command_identity import EventIds
from inventory_es.domain.commands import RecordCount
from inventory_es.domain.errors import InventoryError
from inventory_es.domain.identifiers import InventoryId
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.errors import (
    AppendOutcomeUnknownError,
    ConcurrencyError,
    EventIdCollisionError,
    LaneFullError,
    StoreUnavailableError,
)
from inventory_es.ports.records import AppendResult, StreamWrite

_ANSWERED_AT_ONCE = 4
_DECIDED_AT_ONCE = 64
_SHORTEST_PAUSE = 0.001


@attrs.define(eq=False)
class ReadRequest(Item):
    """A question, answered from a state that was current in the store after it was asked.

    Attributes:
        inventory_id: the inventory.
        read: makes the answer from the state and the time.
        answer: the answer on a state that is not yet known to be current, in a tuple, or the exception to raise.
        outcome: ``answer``, once the state is known to be current; ``None`` before.
    """

    inventory_id: InventoryId
    read: Callable[[InventoryState, datetime], Any]
    answer: Any = attrs.field(default=None, init=False)

    def answer_from(self, state: InventoryState, at: datetime) -> None:
        """Answer the question on ``state``."""
        try:
            self.answer = (self.read(state, at),)
        except Exception as problem:  # noqa: BLE001  # this question's answer
            self.answer = problem


Request = CommandRequest | ReadRequest


class _Holder(Item):
    """The item of a caller that holds a lane."""

    alone = True


class Lanes:
    """The open lanes of one process. A lane that nobody uses does not exist, so memory is bounded by the callers.

    Args:
        repository: loads states, finds earlier commands, appends.
        decider: decides commands.
        waiting: how callers wait.
    """

    def __init__(self, repository: Repository, decider: Decider, waiting: Waiting) -> None:
        self._repository = repository
        self._decider = decider
        self._waiting = waiting
        self._settings = repository.settings
        self._cache = repository.cache
        self._looks_up = not repository.store.capabilities.unique_event_ids
        self._callers = Callers(waiting)
        self._answered_at_once = 0
        self._open: dict[str, Batcher[Any]] = {}

    async def submit(self, inventory_id: InventoryId, request: Request) -> None:
        """Queue ``request`` and return when it has its outcome.

        A caller that is cancelled while it waits in the queue is withdrawn. Once it is taken, the work goes on, and only its
        caller does not learn the outcome.

        Raises:
            LaneFullError: too many requests wait already.
        """
        if not self._settings.lanes:
            await self._serve([request])
            return
        stream = inventory_id.stream
        state = self._cache.peek(stream) if self._waiting.is_one_thread else None
        if state is not None and (state.is_refusing or type(request) is ReadRequest) and self._answer_at_once(state, request):
            self._answered_at_once += 1
            if self._answered_at_once % _ANSWERED_AT_ONCE == 0:  # a caller that asks again and again lets the others run
                await self._waiting.pass_by()
            return
        lane = self._lane(stream)
        try:
            await lane.submit(request, self._serve, self._settings.max_batch)
        finally:
            with self._callers.lock:
                if lane.leader is None and self._open.get(stream.text) is lane:
                    del self._open[stream.text]

    @asynccontextmanager
    async def hold(self, inventories: Sequence[InventoryId]) -> AsyncGenerator[None, None]:
        """Hold the lanes of these inventories, alone, each entered when those before it are served.

        Entered in the order of their stream ids, so that two callers never wait for each other in a ring.

        Raises:
            LaneFullError: too many requests wait in one of them already.
        """
        lanes: dict[StreamId, Batcher[Any]] = {}
        try:
            async with AsyncExitStack() as held:
                for stream in sorted(one.stream for one in inventories):
                    lane = lanes[stream] = self._lane(stream)
                    await held.enter_async_context(lane.hold(_Holder()))
                yield
        finally:
            with self._callers.lock:
                for stream, lane in lanes.items():
                    if lane.leader is None and self._open.get(stream.text) is lane:
                        del self._open[stream.text]

    def _lane(self, stream: StreamId) -> Batcher[Any]:
        with self._callers.lock:
            lane = self._open.get(stream.text)
            if lane is None:
                lane = self._open[stream.text] = Batcher(self._callers)
            if len(lane.queue) >= self._settings.max_waiting:
                raise LaneFullError(stream=stream, waiting=len(lane.queue))
        return lane

    def waiting(self, inventory_id: InventoryId) -> int:
        """Return the number of requests that wait in the lane of an inventory."""
        lane = self._open.get(inventory_id.stream.text)
        return 0 if lane is None else len(lane.queue)

    def __len__(self) -> int:
        return len(self._open)

    def _answer_at_once(self, state: InventoryState, request: Request) -> bool:
        """Give a request its outcome in this very step, where nothing has to be stored and the store tells that the state is current.

        Tried for questions, and for commands under minted ids where the one before was refused: in a sale that is sold out, all the
        others. Nothing of this stream is in flight: its state would not be in the cache. A request that waits meanwhile waits no longer
        for it, and is served as if it had come later.

        Returns:
            True if it has its outcome. If not, nothing is changed.
        """
        decider, repository = self._decider, self._repository
        if isinstance(request, CommandRequest):
            if request.named or type(request.command) is RecordCount:
                return False
            now = repository.clock.now()
            if time_for(state.inventory, now) is not now or decider.has_backlog(state.inventory, now):
                return False
            outcome = decider.refusal_or_no_op(state, request, at=now)
            if outcome is not None and repository.reader.is_surely_current(state):
                request.attempts, request.outcome = 1, outcome
        elif repository.reader.is_surely_current(state):
            request.answer_from(state, time_for(state.inventory, repository.clock.now()))
            request.outcome = request.answer
        return request.outcome is not None

    async def _serve(self, requests: list[Request]) -> None:
        """Give every request of one stream its outcome.

        It raises nothing but an interruption, such as asyncio's own cancellation, which no shield stops. Requests without an outcome
        may be served again then, and are looked up first.
        """
        repository, fairness = self._repository, self._repository.fairness
        batch = _Batch(requests, look_up=self._looks_up)
        try:
            state = self._cache.checkout(batch.stream) or await self._load(batch)
            while batch.commands or batch.reads:
                batch.has_turn = batch.lost >= fairness.races or (state.turns > 0 and bool(batch.commands))
                if not batch.has_turn:
                    await self._attempt(batch, state)
                else:
                    async with fairness.turn(batch.stream):
                        batch.is_fresh = False
                        self._take_later(batch, requests)
                        await self._attempt(batch, state)
        except Exception as problem:  # noqa: BLE001  # it becomes the outcome of everyone who waits
            batch.fail(problem)
        except BaseException:
            if batch.withdrawn is not None:
                self._cache.return_(batch.stream, batch.withdrawn)
            else:
                batch.interrupt(repository.store_name)
            raise
        else:
            state.inventory.settle()
            self._cache.return_(batch.stream, state)
        if batch.cancelled is not None:
            raise batch.cancelled

    def _take_later(self, batch: "_Batch", requests: list[Request]) -> None:
        """Serve what came while the batch waited for its turn too: it would need a turn of its own."""
        count = len(requests)
        lane = self._open.get(batch.stream.text)
        if lane is not None:
            lane.take(requests, self._settings.max_batch)
        if len(requests) > count:
            later = _Batch(requests[count:], look_up=self._looks_up)
            batch.commands += later.commands
            batch.reads += later.reads
            for command in batch.commands:
                command.batch_size = len(batch.commands)

    async def _attempt(self, batch: "_Batch", state: InventoryState) -> None:
        """Decide a batch and append once: the whole way of a command, but for what is learned on the way back."""
        repository, inventory = self._repository, state.inventory
        append: Append | None = None
        decisions: list[Decision] = []
        savepoint: int | None = None
        position = state.position
        batch.attempt += 1
        try:
            now = repository.clock.now()
            at = time_for(inventory, now)
            if batch.attempt > 1 or batch.has_turn or not self._decider.is_ready(inventory, batch.commands, at):
                now = await self._get_ready(batch, state)
                at = time_for(inventory, now)
            for read in batch.reads:
                read.answer_from(state, at)
            version, position, savepoint = inventory.version, state.position, inventory.savepoint()
            if len(batch.commands) == 1:
                decisions = [self._decider.decide(state, batch.commands[0], now=now, at=at)]
            else:
                decisions = await self._decide(batch, state, now, at)
            new_events = decisions[0].new_events if len(decisions) == 1 else [event for one in decisions for event in one.new_events]
            if new_events:
                append = Append((StreamWrite(batch.stream, version, new_events),))
                append.meets = batch.has_turn  # which other lanes may share, and have read at the same time
                batch.cancelled = await repository.append(append, decisions) or batch.cancelled
                position = batch.position_of(append.outcome)
                if append.outcome.is_contested:
                    state.turns = repository.fairness.stays
            elif not (batch.is_fresh or repository.reader.is_surely_current(state)):
                with self._waiting.scope(shield=True):
                    is_behind = await repository.reader.refresh(state)
                if is_behind:
                    batch.decide_again()
                    return
        except RETRIED as problem:
            if savepoint is not None:
                inventory.rollback(savepoint)
                state.position = position
            batch.look_up_again(decisions, problem)
            batch.lost = batch.lost + 1 if isinstance(problem, ConcurrencyError) else 0
            if batch.attempt >= self._settings.max_attempts or not batch.may_retry(problem):
                batch.fail(problem, reads=isinstance(problem, StoreUnavailableError) and not decisions)
            return
        except BaseException:
            if append is not None and append.is_withdrawn and savepoint is not None:
                inventory.rollback(savepoint)
                inventory.settle()
                batch.withdrawn = state
            raise
        batch.attempt = batch.lost = 0
        await self._answer(batch, state, decisions, position)

    async def _load(self, batch: "_Batch") -> InventoryState:
        with self._waiting.scope(shield=True):
            state = await self._repository.reader.load(batch.inventory_id)
        batch.is_fresh = True
        return state

    async def _get_ready(self, batch: "_Batch", state: InventoryState) -> datetime:
        """Read and do what must be known and done before the batch is decided. Return the time of the decision."""
        repository = self._repository
        with self._waiting.scope(shield=True):
            if not batch.has_turn:
                await repository.pause(batch.attempt)
            if (batch.attempt > 1 or batch.has_turn) and not batch.is_fresh:
                is_contested = await repository.reader.refresh(state)
                batch.is_fresh = True
                if batch.has_turn:
                    state.turns = repository.fairness.stays if is_contested else max(0, state.turns - 1)
            await self._look_up(batch, state, [one for one in batch.commands if one.look_up])
            await self._decider.prepare(state, batch.commands)
        return repository.clock.now()

    async def _decide(self, batch: "_Batch", state: InventoryState, now: datetime, at: datetime) -> list[Decision]:
        """Decide the commands of a batch in their order, as many as one append holds. A command id that comes twice is looked up later."""
        decider, inventory = self._decider, state.inventory
        limits = self._repository.store.capabilities
        decisions: list[Decision] = []
        names: set[str] = set()
        events = size = 0
        for number, request in enumerate(batch.commands):
            if number and number % _DECIDED_AT_ONCE == 0:  # a long batch lets others run: nobody else has the state
                await self._waiting.give_way()
            command_id = request.command.command_id
            if command_id in names:
                request.look_up = True
                continue
            savepoint = inventory.savepoint() if decisions else 0
            one = decider.decide(state, request, now=now, at=at)
            events += len(one.new_events)
            size += one.size
            if decisions and (events > limits.max_append_events or size > limits.max_append_bytes):
                inventory.rollback(savepoint)
                break
            decisions.append(one)
            names.add(command_id)
        return decisions

    async def _answer(self, batch: "_Batch", state: InventoryState, decisions: Sequence[Decision], position: int) -> None:
        """Give the requests of an attempt that stood their outcomes: ``state`` is what the store has."""
        state.position = position
        state.is_refusing = bool(decisions) and not decisions[-1].events
        batch.is_fresh = True
        for read in batch.reads:
            read.outcome = read.answer
        unsettled = self._repository.unsettled
        if unsettled.appends:
            unsettled.seen(batch.stream, state.inventory.version)
        doubtful: list[Decision] = []
        for one in decisions:
            if one.events or not (one.request.named or unsettled.appends):
                one.request.outcome = one.outcome(position)
            else:
                doubtful.append(one)
        if doubtful:
            await self._answer_doubtful(batch, state, doubtful, position)
        elif len(decisions) == len(batch.commands):
            batch.commands, batch.reads = [], []
            return
        batch.prune()

    async def _answer_doubtful(self, batch: "_Batch", state: InventoryState, doubtful: Sequence[Decision], position: int) -> None:
        """Answer refusals and no-ops, unless their command was accepted before.

        A command whose append may still take effect gets no outcome until that is settled: it is decided again after that.
        """
        repository, pause = self._repository, 0.0
        unsettled = repository.unsettled
        may_land = {one.request: unsettled.find(batch.stream, one.request.command.command_id) for one in doubtful}
        with self._waiting.scope(shield=True):
            await self._look_up(batch, state, [one.request for one in doubtful])
        for one in doubtful:
            if one.request.outcome is not None:
                continue
            append = may_land.get(one.request)
            if append is None:
                one.request.outcome = one.outcome(position)
            elif (left := append.until - unsettled.now()) > self._settings.longest_settling:
                one.request.outcome = _failure_of(one.request, append.problem)
            else:
                pause = max(pause, left, _SHORTEST_PAUSE)
        if pause:
            batch.is_fresh = False
            await repository.sleep(pause)

    async def _look_up(self, batch: "_Batch", state: InventoryState, requests: Sequence[CommandRequest]) -> None:
        if requests:
            for request, outcome in (await self._repository.find(state, requests)).items():
                request.outcome = outcome
            batch.prune()


class _Batch:
    """The requests of one serving that have no outcome yet.

    Attributes:
        attempt: the number of the attempt, from 1; 0 before, and after one that stood.
        cancelled: the cancellation that the leader's caller gets in the end.
        commands: the commands, in their order.
        has_turn: True if the attempt has a turn.
        inventory_id: the inventory.
        is_fresh: True if the state was read up to the stream's end since the last failure.
        lost: the number of races lost in a row.
        reads: the questions.
        stream: the stream of the inventory.
        withdrawn: the state, taken back, of an append that the store gave back.
    """

    __slots__ = (
        *("_always_look_up", "attempt", "cancelled", "commands", "has_turn", "inventory_id", "is_fresh", "lost", "reads", "stream"),
        "withdrawn",
    )

    def __init__(self, requests: Sequence[Request], *, look_up: bool) -> None:
        first = requests[0]
        self.inventory_id = first.command.inventory_id if isinstance(first, CommandRequest) else first.inventory_id
        self.stream = self.inventory_id.stream
        self.commands: list[CommandRequest] = []
        self.reads: list[ReadRequest] = []
        for one in requests:
            if isinstance(one, CommandRequest):
                self.commands.append(one)
            else:
                self.reads.append(one)
        self.attempt = 0
        self.cancelled: BaseException | None = None
        self.withdrawn: InventoryState | None = None
        self.is_fresh = self.has_turn = False
        self.lost = 0
        self._always_look_up = look_up
        for command in self.commands:
            command.batch_size = len(self.commands)
            command.look_up = command.look_up or (look_up and command.named)

    def position_of(self, outcome: Any) -> int:
        """Return the position of the last event of an append, or raise the error that is its outcome.

        Raises:
            EventIdCollisionError: it was stored earlier, so there was no new commit: the state must be read again and the commands
                looked up.
        """
        if not isinstance(outcome, AppendResult):
            raise outcome
        if outcome.replayed:
            first = EventIds(self.stream).first_own(self.commands[0].command)
            raise EventIdCollisionError(stream=self.stream, event_id=first, problem="was stored earlier")
        return outcome.position

    def prune(self) -> None:
        """Leave out the requests that have their outcome."""
        self.commands = [one for one in self.commands if one.outcome is None]
        self.reads = [one for one in self.reads if one.outcome is None]

    def decide_again(self) -> None:
        """Note that the state was stale, and is not any more; that is no failed attempt."""
        self.attempt -= 1
        self.is_fresh = True
        if self._always_look_up:
            for request in self.commands:
                request.look_up = request.look_up or request.named

    def look_up_again(self, decisions: Sequence[Decision], problem: Exception) -> None:
        """Note a failed append: commands that may be stored already are looked up before they are decided again."""
        self.is_fresh = False
        if isinstance(problem, AppendOutcomeUnknownError):
            for one in decisions:
                if one.events:
                    one.request.unknown = problem
        for request in self.commands:
            if request.named or request.unknown is not None or isinstance(problem, EventIdCollisionError):
                request.look_up = True

    def may_retry(self, problem: Exception) -> bool:
        """Return whether another attempt makes sense: an absent store is waited for only to learn an unknown outcome, a full disk never."""
        if isinstance(problem, AppendOutcomeUnknownError | StoreUnavailableError) and not problem.retryable:
            return False
        return not isinstance(problem, StoreUnavailableError) or any(one.unknown is not None for one in self.commands)

    def fail(self, problem: Exception, *, reads: bool = True) -> None:
        """Give every command this failure, and the questions too unless it befell an append."""
        self.prune()
        for request in self.commands:
            request.outcome = _failure_of(request, problem)
        for read in self.reads if reads else ():
            read.outcome = _own_copy(problem)
        self.prune()

    def interrupt(self, store: str) -> None:
        """Note that the task that served them is cancelled: what it was appending is perhaps stored."""
        unknown = interrupted(store)
        self.prune()
        for request in self.commands:
            request.unknown = request.unknown or unknown
            request.look_up = True


def _failure_of(request: CommandRequest, problem: Exception) -> Exception:
    unknown = request.unknown or (problem if isinstance(problem, AppendOutcomeUnknownError) else None)
    if unknown is not None:
        return AppendOutcomeUnknownError(
            store=unknown.store,
            reason=unknown.reason,
            command=request.command,
            remedy=problem.remedy if isinstance(problem, AppendOutcomeUnknownError | StoreUnavailableError) else None,
            retry_after=unknown.retry_after,
        )
    return _own_copy(problem)


def _own_copy(problem: Exception) -> Exception:
    """Return a copy of an error that many callers raise, so that it does not collect all their tracebacks."""
    if not isinstance(problem, InventoryError):
        return problem
    own = copy(problem)
    own.__cause__ = problem
    return own
