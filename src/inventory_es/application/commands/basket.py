"""Several commands, all accepted or none: one atomic append over their streams, with a host's own writes."""

from collections.abc import Sequence
from itertools import groupby

from inventory_es.application.commands.decision import CommandRequest, Decider, Decision, time_for
from inventory_es.application.commands.group_commit import Append
from inventory_es.application.commands.idempotency import UnsettledAppend
from inventory_es.application.commands.repository import RETRIED, Repository
from inventory_es.application.commands.states import InventoryState
from inventory_es.domain.commands import RecordCount
from inventory_es.domain.errors import CommandsRejectedError, RejectionError
from inventory_es.domain.identifiers import InventoryId
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.errors import (
    AppendOutcomeUnknownError,
    ConcurrencyError,
    EventIdCollisionError,
    StoreUnavailableError,
)
from inventory_es.ports.records import NewEvent, StreamWrite


class _Line:
    """The part of a basket about one inventory: its commands, in the order given, and its state, once it is loaded."""

    __slots__ = ("inventory_id", "is_fresh", "requests", "state", "version")

    state: InventoryState

    def __init__(self, inventory_id: InventoryId) -> None:
        self.inventory_id = inventory_id
        self.requests: list[CommandRequest] = []
        self.version = 0
        self.is_fresh = False

    @property
    def waiting(self) -> list[CommandRequest]:
        return [one for one in self.requests if one.outcome is None]


class Basket:
    """One all-or-nothing set of commands on its way. Its caller holds the lanes of all its inventories, shielded.

    Args:
        repository: loads states, finds earlier commands, appends.
        decider: decides commands.
        requests: the commands, in the order given.
        writes: to streams of the host's own, stored with them.
    """

    def __init__(self, repository: Repository, decider: Decider, requests: Sequence[CommandRequest], writes: Sequence[StreamWrite]) -> None:
        self._repository = repository
        self._decider = decider
        self._requests = requests
        self._writes = writes
        self._line_of: list[_Line] = []
        lines: dict[InventoryId, _Line] = {}
        for one in requests:
            inventory_id = one.command.inventory_id
            line = lines.get(inventory_id)
            if line is None:
                line = lines[inventory_id] = _Line(inventory_id)
            line.requests.append(one)
            self._line_of.append(line)
        self._lines = sorted(lines.values(), key=lambda one: one.inventory_id.stream)
        self._looked_up: dict[CommandRequest, float] = {}
        self._unknown: AppendOutcomeUnknownError | None = None
        self._stays_unknown = False

    async def execute(self) -> None:
        """Accept all commands and give each its outcome, or raise.

        Raises:
            CommandsRejectedError: some are refused; nothing was written.
            ConcurrencyError: a stream of the host's own moved, or others kept winning. Nothing was written.
            AppendOutcomeUnknownError: perhaps written; send the same commands and writes again.
        """
        for line in self._lines:
            await self._load(line)
        if not self._repository.store.capabilities.unique_event_ids:
            for request in self._requests:
                request.look_up = request.named
        try:
            await self._until_it_stands()
        except RejectionError:
            self._keep_states()
            raise
        self._keep_states()

    async def _until_it_stands(self) -> None:
        attempt = lost = 0
        fairness = self._repository.fairness
        while True:
            attempt += 1
            if lost < fairness.races:
                await self._repository.pause(attempt)
            try:
                is_turn = lost >= fairness.races
                async with fairness.turn(*[line.inventory_id.stream for line in self._lines], is_needed=is_turn):
                    if is_turn:
                        await self._refresh()
                    if await self._attempt():
                        return
                attempt -= 1
            except RETRIED as problem:
                lost = lost + 1 if isinstance(problem, ConcurrencyError) else 0
                if self._stays_unknown:
                    raise
                if attempt >= self._repository.settings.max_attempts or not self._may_retry(problem):
                    raise (self._unknown or problem) from problem

    def _keep_states(self) -> None:
        for line in self._lines:
            line.state.inventory.settle()
            self._repository.cache.return_(line.inventory_id.stream, line.state)

    async def _load(self, line: _Line) -> None:
        state = self._repository.cache.checkout(line.inventory_id.stream)
        if state is None:
            state = await self._repository.reader.load(line.inventory_id)
            line.is_fresh = True
        line.state = state

    async def _attempt(self) -> bool:
        """Decide and append once.

        Returns:
            ``False``: something was learned on the way; decide again.
        """
        await self._look_up([one for one in self._waiting if one.look_up])
        await self._prepare()
        decided = self._decide()
        refused = [one for _, one in decided if one.refusal is not None]
        doubts = [line for line in dict.fromkeys(line for line, one in decided if not one.events) if self._in_doubt(line)]
        reused = any(isinstance(one.outcome, RejectionError) for one in self._requests)
        unsettled = [] if doubts else self._unsettled([one for _, one in decided if refused or reused or not one.events])
        if doubts or refused or reused or unsettled:
            self._rollback()
            await self._learn(doubts)
            if unsettled:
                await self._let_settle(unsettled)
            elif not doubts:
                self._refuse(refused)
            return False
        try:
            await self._append(decided)
        except Exception as problem:
            self._rollback()
            await self._after_failure(problem)
            raise
        return True

    async def _prepare(self) -> None:
        try:
            for line in self._lines:
                await self._decider.prepare(line.state, line.waiting)
        except RETRIED as problem:
            await self._after_failure(problem)
            raise
        for line in self._lines:
            line.state.inventory.settle()
            line.state.inventory.savepoint()
            line.version = line.state.inventory.version

    @property
    def _waiting(self) -> list[CommandRequest]:
        return [one for one in self._requests if one.outcome is None]

    def _decide(self) -> list[tuple[_Line, Decision]]:
        clock = self._repository.clock.now()
        decided: list[tuple[_Line, Decision]] = []
        for request, line in zip(self._requests, self._line_of, strict=True):
            if request.outcome is None:
                now = clock if request.happened_at is None else request.happened_at
                at = time_for(line.state.inventory, now)
                if isinstance(request.command, RecordCount) and request.command.observed_version > line.version:
                    request.observed_on_hand = _on_hand_at(request.command.observed_version, line, decided)
                decided.append((line, self._decider.decide(line.state, request, now=now, at=at)))
        return decided

    def _in_doubt(self, line: _Line) -> bool:
        return not line.is_fresh or any(one.named and one not in self._looked_up for one in line.waiting)

    async def _learn(self, lines: Sequence[_Line]) -> None:
        """Read the tails of their streams and look their commands up, which a refusal or a no-op rests on."""
        for line in lines:
            if not line.is_fresh:
                await self._repository.reader.refresh(line.state)
                line.is_fresh = True
        await self._look_up([one for line in lines for one in line.waiting if one.named])

    async def _look_up(self, requests: Sequence[CommandRequest]) -> None:
        if not requests:
            return
        asked, began = set(requests), self._repository.unsettled.now()
        for line in self._lines:
            mine = [one for one in line.requests if one in asked]
            if mine:
                for request, outcome in (await self._repository.find(line.state, mine)).items():
                    request.outcome = outcome
        self._looked_up |= dict.fromkeys(asked, began)

    def _unsettled(self, quiet: Sequence[Decision]) -> list[UnsettledAppend]:
        """Return the appends that may still take effect, of commands that would be told that they don't."""
        unsettled = self._repository.unsettled
        if not unsettled.appends:
            return []
        for line in self._lines:
            unsettled.seen(line.inventory_id.stream, line.version)
        appends: set[UnsettledAppend] = set()
        for request in (one.request for one in quiet):
            stream, command_id = request.command.inventory_id.stream, request.command.command_id
            append = unsettled.find(stream, command_id, now=self._looked_up.get(request))
            if append is not None:
                appends.add(append)
        return list(appends)

    async def _let_settle(self, appends: Sequence[UnsettledAppend]) -> None:
        """Wait until these appends are settled; then their streams are read and their commands looked up again.

        Raises:
            AppendOutcomeUnknownError: that takes too long.
        """
        last = max(appends, key=lambda one: one.until)
        left = last.until - self._repository.unsettled.now()
        if left > self._repository.settings.longest_settling:
            self._stays_unknown = True
            raise self._told(last.problem)
        await self._repository.sleep(max(left, 0.0))
        self._looked_up.clear()
        for line in self._lines:
            line.is_fresh = False

    def _refuse(self, refused: Sequence[Decision]) -> None:
        """Raise for every refused command: those refused now, and those whose id was used for something else."""
        why: dict[CommandRequest, Exception | None] = {one.request: one.refusal for one in refused}
        why |= {one: one.outcome for one in self._requests if isinstance(one.outcome, RejectionError)}
        rejections: list[RejectionError] = []
        indexes: list[int] = []
        for index, request in enumerate(self._requests):
            if request not in why:
                continue
            problem = why[request]
            if not isinstance(problem, RejectionError):
                raise problem or AssertionError
            rejections.append(problem)
            indexes.append(index)
        raise CommandsRejectedError(rejections=tuple(rejections), indexes=tuple(indexes))

    async def _append(self, decided: Sequence[tuple[_Line, Decision]]) -> None:
        new_events = self._new_events(decided)
        writes = [StreamWrite(line.inventory_id.stream, line.version, events) for line, events in new_events.items()]
        position = max((line.state.position for line in self._lines), default=0)
        if writes or self._writes:
            append = Append((*writes, *self._writes))
            cancelled = await self._repository.append(append, [one for _, one in decided])
            if cancelled is not None:
                raise cancelled
            result = append.result()
            if result.replayed and writes:
                raise EventIdCollisionError(
                    stream=writes[0].stream, event_id=writes[0].events[0].event_id, problem="was stored earlier, with the whole append"
                )
            position = result.position
        for line in new_events:
            line.state.position = position
        for _, one in decided:
            one.request.outcome = one.outcome(position)

    def _new_events(self, decided: Sequence[tuple[_Line, Decision]]) -> dict[_Line, list[NewEvent]]:
        """Return the new events of each line; its commands of one time are one instant."""
        accepted: dict[_Line, list[Decision]] = {}
        for line, one in decided:
            if one.new_events:
                accepted.setdefault(line, []).append(one)
        new_events: dict[_Line, list[NewEvent]] = {}
        for line, of_it in accepted.items():
            new_events[line] = []
            for _, instant in groupby(of_it, key=lambda one: one.request.happened_at):
                new_events[line] += self._decider.instant([(one.request, one.new_events) for one in instant])
        return new_events

    def _rollback(self) -> None:
        for line in self._lines:
            line.state.inventory.rollback(0)

    async def _after_failure(self, problem: Exception) -> None:
        for line in self._lines:
            line.is_fresh = False
        self._looked_up.clear()
        if isinstance(problem, AppendOutcomeUnknownError):
            self._unknown = self._told(problem)
        for one in self._waiting:
            one.look_up = one.named or isinstance(problem, EventIdCollisionError | AppendOutcomeUnknownError)
        if isinstance(problem, RETRIED):
            await self._refresh(problem.stream if isinstance(problem, ConcurrencyError) else None)

    def _told(self, problem: AppendOutcomeUnknownError) -> AppendOutcomeUnknownError:
        return AppendOutcomeUnknownError(
            store=problem.store,
            reason=problem.reason,
            command=self._waiting[0].command if len(self._waiting) == 1 else None,
            remedy=problem.remedy,
            retry_after=problem.retry_after,
        )

    async def _refresh(self, moved: StreamId | None = None) -> None:
        """Read what is new in the stream that moved, or in all."""
        for line in self._lines:
            if moved is None or line.inventory_id.stream == moved:
                await self._repository.reader.refresh(line.state)

    def _may_retry(self, problem: Exception) -> bool:
        if isinstance(problem, ConcurrencyError | EventIdCollisionError):
            return problem.stream not in {write.stream for write in self._writes}
        if isinstance(problem, AppendOutcomeUnknownError | StoreUnavailableError) and not problem.retryable:
            return False
        return self._unknown is not None or not isinstance(problem, StoreUnavailableError)


def _on_hand_at(version: int, line: _Line, decided: Sequence[tuple[_Line, Decision]]) -> int | None:
    """Return the units on hand at a version that an earlier command of the set makes; ``None`` if none does."""
    for its_line, one in decided:
        if its_line is line and one.version - len(one.events) < version <= one.version:
            return one.events[version - one.version - 1].on_hand
    return None
