"""Serving one batch of one stream: decide all, append once, answer each.

The batch is decided on a folded state, each request on what the one before left. Then one append carries all accepted
events, and its expected version proves that the state was current. Where nothing was accepted, reading the stream's tail
proves the same. Only then does anybody get an answer.

An append that meets another writer, an id that is taken, or an unknown outcome, takes back the speculation. The state is
brought up to date, and commands that may have been stored are looked up by the id of their first own event: found is
replayed, absent is decided again. So a command is never accepted twice, whoever sends it however often.

A command whose append may still take effect is not refused: its refusal waits until the append is settled. What can't be settled in
time stays unknown.
"""

from collections.abc import Sequence
from copy import copy
from datetime import datetime

import anyio
from anyio.lowlevel import cancel_shielded_checkpoint

from inventory_es.application.commands.decision import Decided, decide_request, refusal_or_no_op, time_for
from inventory_es.application.commands.group_commit import Append, interrupted
from inventory_es.application.commands.preparing import has_backlog, is_prepared, prepare
from inventory_es.application.commands.requests import CommandRequest, ReadRequest, Request
from inventory_es.application.commands.tools import Tools
from inventory_es.application.commands.warm_states import WarmState
from inventory_es.domain.command_identity import EventIds
from inventory_es.domain.commands import RecordCount
from inventory_es.domain.errors import InventoryError
from inventory_es.domain.identifiers import InventoryId
from inventory_es.ports import AppendResult, NewEvent, StreamWrite
from inventory_es.ports.errors import (
    AppendOutcomeUnknownError,
    ConcurrencyError,
    EventIdCollisionError,
    StoreUnavailableError,
)

_TURN = 64
_SHORTEST_PAUSE = 0.001

RETRIED = (ConcurrencyError, EventIdCollisionError, AppendOutcomeUnknownError, StoreUnavailableError)
"""What an attempt may meet and the next one may mend."""


class LaneWorker:
    """Serves batches of requests, each batch of one inventory.

    Args:
        tools: what it works with.
    """

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    async def serve(self, inventory_id: InventoryId, requests: Sequence[Request]) -> None:
        """Give every request its outcome. Raises nothing but an interruption, such as asyncio's own cancellation, which no shield
        stops: those without an outcome may be served again then, and are looked up first.
        """
        batch = _Batch(inventory_id, requests, look_up=not self._tools.capabilities.unique_event_ids)
        stream, turns = inventory_id.stream, self._tools.turns
        try:
            state = self._tools.warm.take(stream) or await self._load(batch, inventory_id)
            while batch.waits:
                if not turns.is_due(batch.lost):
                    await self._attempt(batch, state)
                    continue
                async with turns.when_due(batch.lost):
                    await self._attempt(batch, state)
        except Exception as problem:  # noqa: BLE001  # it becomes the outcome of everyone who waits
            batch.fail(problem)
        except BaseException:
            if batch.withdrawn is not None:
                self._tools.warm.put_back(stream, batch.withdrawn)
            else:
                batch.interrupt(type(self._tools.store).__name__)
            raise
        else:
            state.inventory.settle()
            self._tools.warm.put_back(stream, state)
        if batch.cancelled is not None:
            raise batch.cancelled

    async def _load(self, batch: "_Batch", inventory_id: InventoryId) -> WarmState:
        with _shield():
            state = await self._tools.reader.load(inventory_id)
        batch.is_fresh = True
        return state

    def serve_at_once(self, inventory_id: InventoryId, request: Request) -> bool:
        """Give a request its outcome in this very step, where nothing has to be stored, and the store tells that the state is current.

        Tried for questions, and for commands under minted ids where the one before was refused: in a sale that is sold out, all the
        others. Nothing of this stream is in flight: its state would not be there. Who waits meanwhile waits no longer for it, and is served
        as if it had come later.

        Returns:
            Whether it has its outcome. If not, nothing is changed.
        """
        tools = self._tools
        state = tools.warm.look_at(inventory_id.stream)
        if state is None:
            return False
        if isinstance(request, CommandRequest):
            if state.is_refusing and not request.named:
                self._refuse_at_once(state, request)
        elif tools.reader.is_surely_current(state):
            _answer_read(request, state, time_for(state.inventory, tools.clock.now()))
            request.outcome = request.answer
        return request.outcome is not None

    def _refuse_at_once(self, state: WarmState, request: CommandRequest) -> None:
        tools, now = self._tools, self._tools.clock.now()
        if type(request.command) is RecordCount or time_for(state.inventory, now) is not now or has_backlog(tools, state.inventory, now):
            return
        outcome = refusal_or_no_op(tools, state, request, at=now)
        if outcome is not None and tools.reader.is_surely_current(state):
            request.attempts = 1
            request.outcome = outcome

    async def _attempt(self, batch: "_Batch", state: WarmState) -> None:
        inventory, tools = state.inventory, self._tools
        batch.attempt += 1
        decided: list[Decided] = []
        drafted: Sequence[NewEvent] = ()
        savepoint: int | None = None
        version, position = inventory.version, state.position
        try:
            now = tools.clock.now()
            at = time_for(inventory, now)
            if batch.attempt > 1 or not is_prepared(tools, inventory, batch.commands, at):
                with _shield():
                    now = await self._get_ready(batch, state)
                at = time_for(inventory, now)
            for read in batch.reads:
                _answer_read(read, state, at)
            version, position = inventory.version, state.position
            savepoint = inventory.savepoint()
            decided = await self._decide(batch, state, now, at)
            drafted = decided[0].drafted if len(decided) == 1 else [event for one in decided for event in one.drafted]
            if drafted:
                position = await self._append(batch, state, StreamWrite(batch.stream, version, drafted), savepoint, decided)
            elif not (batch.is_fresh or tools.reader.is_surely_current(state)) and await self._is_behind(state):
                batch.decide_again()
                return
        except RETRIED as failure:
            problem = self._keep_unsettled(batch, version, drafted, decided, failure)
            if savepoint is not None:
                inventory.rollback(savepoint)
                state.position = position
            batch.look_up_again(decided, problem)
            batch.lost = batch.lost + 1 if isinstance(problem, ConcurrencyError) else 0
            if batch.attempt >= tools.settings.max_attempts or not batch.may_retry(problem):
                batch.fail(problem, reads=isinstance(problem, StoreUnavailableError) and not decided)
            return
        state.position = position
        state.is_refusing = bool(decided) and not decided[-1].events
        batch.is_fresh = True
        for read in batch.reads:
            read.outcome = read.answer
        in_doubt: list[Decided] = []
        unsettled = tools.unsettled
        if unsettled:
            unsettled.seen(batch.stream, inventory.version)
        for one in decided:
            if one.events or not (one.request.named or unsettled):
                one.request.outcome = one.outcome(position)
            else:
                in_doubt.append(one)
        if in_doubt:
            await self._answer_doubtful(batch, state, in_doubt, position)
        batch.settled()

    async def _append(self, batch: "_Batch", state: WarmState, write: StreamWrite, savepoint: int, decided: Sequence[Decided]) -> int:
        """Append what was decided; gives the position."""
        append = Append((write,))
        try:
            await self._tools.committer.carry(append)
        except anyio.get_cancelled_exc_class() as problem:
            if append.is_withdrawn:
                state.inventory.rollback(savepoint)
                state.inventory.settle()
                batch.withdrawn = state
            if append.outcome is None:
                if not append.is_withdrawn:
                    unknown = interrupted(type(self._tools.store).__name__)
                    self._keep_unsettled(batch, write.expected_version, write.events, decided, unknown)
                raise
            batch.cancelled = problem
        return batch.position_of(append.result())

    def _keep_unsettled(
        self, batch: "_Batch", version: int, drafted: Sequence[NewEvent], decided: Sequence[Decided], problem: Exception
    ) -> Exception:
        """Remember an append that failed, if its outcome is unknown; return ``problem``, with the time that this takes."""
        if not drafted or not isinstance(problem, AppendOutcomeUnknownError):
            return problem
        commands = [(batch.stream, one.request.command.command_id) for one in decided if one.events]
        return self._tools.unsettled.add((StreamWrite(batch.stream, version, drafted),), commands, problem)

    async def _answer_doubtful(self, batch: "_Batch", state: WarmState, in_doubt: Sequence[Decided], position: int) -> None:
        """Answer those who are refused, or ask for nothing, unless their command was accepted before.

        Those whose append may still take effect get no outcome until it is settled: they are decided again after that.
        """
        tools, pause = self._tools, 0.0
        unsettled = tools.unsettled
        may_land = {one.request: unsettled.find(batch.stream, one.request.command.command_id) for one in in_doubt} if unsettled else {}
        with _shield():
            await self._look_up(batch, state, [one.request for one in in_doubt])
        for one in in_doubt:
            if one.request.outcome is not None:
                continue
            append = may_land.get(one.request)
            if append is None:
                one.request.outcome = one.outcome(position)
            elif (left := append.until - unsettled.now()) > tools.settings.longest_settling:
                one.request.outcome = _failure_of(one.request, append.problem)
            else:
                pause = max(pause, left, _SHORTEST_PAUSE)
        if pause:
            batch.is_fresh = False
            await tools.sleep(pause)

    async def _get_ready(self, batch: "_Batch", state: WarmState) -> datetime:
        """Read and do what must be known and done before the batch is decided; gives the time of the decision."""
        tools = self._tools
        if not tools.turns.is_due(batch.lost):
            await tools.wait(batch.attempt)
        if batch.attempt > 1 and not batch.is_fresh:
            await tools.reader.refresh(state)
            batch.is_fresh = True
        await self._look_up(batch, state, [one for one in batch.commands if one.look_up])
        await prepare(tools, state, batch.commands)
        return tools.clock.now()

    async def _is_behind(self, state: WarmState) -> bool:
        with _shield():
            is_behind = await self._tools.reader.refresh(state)
        return is_behind  # noqa: RET504  # types say that a scope may swallow what is raised in it; this one can't

    async def _decide(self, batch: "_Batch", state: WarmState, now: datetime, at: datetime) -> list[Decided]:
        tools = self._tools
        limits = tools.capabilities
        decided: list[Decided] = []
        names: set[str] = set()
        events = size = 0
        for number, request in enumerate(batch.commands):
            if number and number % _TURN == 0:  # a long batch lets the others of the event loop run: nobody else has the state
                await cancel_shielded_checkpoint()
            command_id = request.command.command_id
            if command_id in names:
                request.look_up = True
                continue
            savepoint = state.inventory.savepoint() if decided else 0
            one = decide_request(tools, state, request, now=now, at=at)
            events += len(one.drafted)
            size += one.size
            if decided and (events > limits.max_append_events or size > limits.max_append_bytes):
                state.inventory.rollback(savepoint)
                break
            decided.append(one)
            names.add(command_id)
        return decided

    async def _look_up(self, batch: "_Batch", state: WarmState, requests: Sequence[CommandRequest]) -> None:
        if requests:
            found = await self._tools.replay_check.look_up(state, requests, now=self._tools.clock.now())
            for request, outcome in found.items():
                request.outcome = outcome
            batch.prune()


class _Batch:
    """The requests of one serving that have no outcome yet."""

    __slots__ = ("_always_look_up", "attempt", "cancelled", "commands", "is_fresh", "lost", "reads", "stream", "withdrawn")

    def __init__(self, inventory_id: InventoryId, requests: Sequence[Request], *, look_up: bool) -> None:
        self.stream = inventory_id.stream
        self.commands: list[CommandRequest] = []
        self.reads: list[ReadRequest] = []
        for one in requests:
            if isinstance(one, CommandRequest):
                self.commands.append(one)
            else:
                self.reads.append(one)
        self.attempt = 0
        self.cancelled: BaseException | None = None
        self.withdrawn: WarmState | None = None
        self.is_fresh = False
        self.lost = 0
        self._always_look_up = look_up
        for command in self.commands:
            command.batch_size = len(self.commands)
        if look_up:
            self._look_up_named()

    @property
    def waits(self) -> bool:
        """Whether anybody still waits for an outcome."""
        return bool(self.commands or self.reads)

    def position_of(self, result: AppendResult) -> int:
        """Of the last event of an append that these were decided to.

        Raises:
            EventIdCollisionError: it was stored earlier, so there was no new commit: the state must be read again and the commands
                looked up.
        """
        if result.replayed:
            first = EventIds(self.stream).first_own(self.commands[0].command)
            raise EventIdCollisionError(stream=self.stream, event_id=first, problem="was stored earlier")
        return result.position

    def prune(self) -> None:
        """Leave out those that have their outcome."""
        self.commands = [one for one in self.commands if one.outcome is None]
        self.reads = [one for one in self.reads if one.outcome is None]

    def decide_again(self) -> None:
        """The state was stale, and is not any more; that is no failed attempt."""
        self.attempt -= 1
        self.is_fresh = True
        if self._always_look_up:
            self._look_up_named()

    def settled(self) -> None:
        """An attempt stood: the state is what the store has."""
        self.attempt = self.lost = 0
        self.prune()

    def look_up_again(self, decided: Sequence[Decided], problem: Exception) -> None:
        """After a failed append: commands that may be stored already are looked up before they are decided again."""
        self.is_fresh = False
        if isinstance(problem, AppendOutcomeUnknownError):
            for one in decided:
                if one.events:
                    one.request.unknown = problem
        for request in self.commands:
            if request.named or request.unknown is not None or isinstance(problem, EventIdCollisionError):
                request.look_up = True

    def may_retry(self, problem: Exception) -> bool:
        """Whether another attempt makes sense: an absent store is waited for only to learn an unknown outcome, a full disk never."""
        if isinstance(problem, AppendOutcomeUnknownError | StoreUnavailableError) and not problem.retryable:
            return False
        return not isinstance(problem, StoreUnavailableError) or any(one.unknown is not None for one in self.commands)

    def fail(self, problem: Exception, *, reads: bool = True) -> None:
        """Give everyone who waits this failure, or all but the questions: what befell an append is none of theirs."""
        self.prune()
        for request in self.commands:
            request.outcome = _failure_of(request, problem)
        for read in self.reads if reads else ():
            read.outcome = _own_copy(problem)
        self.prune()

    def interrupt(self, store: str) -> None:
        """The task that served them is cancelled: what it was appending is perhaps stored."""
        unknown = interrupted(store)
        self.prune()
        for request in self.commands:
            request.unknown = request.unknown or unknown
            request.look_up = True

    def _look_up_named(self) -> None:
        for request in self.commands:
            request.look_up = request.look_up or request.named


def _shield() -> anyio.CancelScope:
    """Who is cancelled here is so when what was begun is done: others wait for it. It costs several microseconds, so it is not for all."""
    return anyio.CancelScope(shield=True)


def _answer_read(read: ReadRequest, state: WarmState, at: datetime) -> None:
    try:
        read.answer = (read.read(state, at),)
    except Exception as problem:  # noqa: BLE001  # this question's answer
        read.answer = problem


def _failure_of(request: CommandRequest, problem: Exception) -> Exception:
    unknown = request.unknown or (problem if isinstance(problem, AppendOutcomeUnknownError) else None)
    if unknown is not None:
        return AppendOutcomeUnknownError(
            store=unknown.store,
            reason=unknown.reason,
            command=request.command,
            remedy=_remedy(problem),
            retry_after=unknown.retry_after,
        )
    return _own_copy(problem)


def _remedy(problem: Exception) -> str | None:
    return problem.remedy if isinstance(problem, AppendOutcomeUnknownError | StoreUnavailableError) else None


def _own_copy(problem: Exception) -> Exception:
    """An error raised in many tasks must not collect all their tracebacks."""
    if not isinstance(problem, InventoryError):
        return problem
    own = copy(problem)
    own.__cause__ = problem
    return own
