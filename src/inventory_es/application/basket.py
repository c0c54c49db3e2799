"""Several commands, all accepted or none: one atomic append over their streams, with a host's own writes."""

from collections.abc import Mapping, Sequence

from inventory_es.application.deciding import Decided, decide_request
from inventory_es.application.lane_worker import RETRIED
from inventory_es.application.preparing import prepare
from inventory_es.application.requests import CommandRequest
from inventory_es.application.tools import Tools
from inventory_es.application.warm_states import WarmState
from inventory_es.domain.errors import RejectionError
from inventory_es.domain.event_ids import EventIds
from inventory_es.domain.identifiers import InventoryId
from inventory_es.domain.rejections import CommandsRejectedError
from inventory_es.ports import NewEvent, StreamWrite
from inventory_es.ports.errors import (
    AppendOutcomeUnknownError,
    ConcurrencyError,
    EventIdCollisionError,
    StoreUnavailableError,
)


class Basket:
    """One all-or-nothing set of commands on its way. Its caller holds the lanes of all its inventories, shielded.

    Args:
        tools: what it works with.
        requests: the commands, in the order given.
        writes: to streams of the host's own, stored with them.
    """

    def __init__(self, tools: Tools, requests: Sequence[CommandRequest], writes: Sequence[StreamWrite]) -> None:
        self._tools = tools
        self._requests = requests
        self._writes = writes
        self._lines: dict[InventoryId, list[CommandRequest]] = {}
        for one in requests:
            self._lines.setdefault(one.command.inventory_id, []).append(one)
        self._ids = {inventory_id: EventIds(inventory_id.stream) for inventory_id in self._lines}
        self._states: dict[InventoryId, WarmState] = {}
        self._fresh: set[InventoryId] = set()
        self._looked_up: set[CommandRequest] = set()
        self._unknown: AppendOutcomeUnknownError | None = None

    async def execute(self) -> None:
        """Accept all commands and give each its outcome, or raise.

        Raises:
            CommandsRejectedError: some are refused; nothing was written.
            ConcurrencyError: a stream of the host's own moved, or others kept winning. Nothing was written.
            AppendOutcomeUnknownError: perhaps written; send the same commands and writes again.
        """
        for inventory_id in sorted(self._ids, key=lambda one: one.stream):
            await self._load(inventory_id)
        if not self._tools.capabilities.unique_event_ids:
            for request in self._requests:
                request.look_up = request.named
        try:
            await self._until_it_stands()
        except RejectionError:
            self._keep_states()
            raise
        self._keep_states()

    async def _until_it_stands(self) -> None:
        attempt = 0
        while True:
            attempt += 1
            await self._tools.wait(attempt)
            try:
                if await self._attempt():
                    return
                attempt -= 1
            except RETRIED as problem:
                if attempt >= self._tools.settings.max_attempts or not self._may_retry(problem):
                    raise (self._unknown or problem) from problem

    def _keep_states(self) -> None:
        for inventory_id, state in self._states.items():
            state.inventory.settle()
            self._tools.warm.put_back(inventory_id.stream, state)

    async def _load(self, inventory_id: InventoryId) -> None:
        state = self._tools.warm.take(inventory_id.stream)
        if state is None:
            state = await self._tools.reader.load(inventory_id)
            self._fresh.add(inventory_id)
        self._states[inventory_id] = state

    async def _attempt(self) -> bool:
        """Decide and append once.

        Returns:
            ``False``: something was learned on the way; decide again.
        """
        await self._look_up([one for one in self._waiting if one.look_up])
        for inventory_id, lines in self._lines.items():
            mine = [one for one in lines if one.outcome is None]
            await prepare(self._tools, self._states[inventory_id], mine, ids=self._ids[inventory_id])
        versions = {inventory_id: state.inventory.version for inventory_id, state in self._states.items()}
        for state in self._states.values():
            state.inventory.settle()
            state.inventory.savepoint()
        decided = self._decide()
        doubts = [one for one in decided if not one.events and self._in_doubt(one.request)]
        refused = [one for one in decided if one.refusal is not None]
        if doubts or refused:
            self._rollback()
            await self._learn([one.request for one in doubts])
            if not doubts:
                self._refuse(refused)
            return False
        try:
            await self._append(decided, versions)
        except Exception as problem:
            self._rollback()
            await self._after_failure(problem)
            raise
        return True

    @property
    def _waiting(self) -> list[CommandRequest]:
        return [one for one in self._requests if one.outcome is None]

    def _decide(self) -> list[Decided]:
        now = self._tools.clock.now()
        decided: list[Decided] = []
        for one in self._waiting:
            inventory_id = one.command.inventory_id
            at = now if one.happened_at is None else one.happened_at
            decided.append(decide_request(self._tools, self._states[inventory_id], one, now=at, ids=self._ids[inventory_id]))
        return decided

    def _in_doubt(self, request: CommandRequest) -> bool:
        return request.command.inventory_id not in self._fresh or (request.named and request not in self._looked_up)

    async def _learn(self, requests: Sequence[CommandRequest]) -> None:
        """Whether their streams moved, and whether they were accepted before: what a refusal or a no-op rests on."""
        for inventory_id in {one.command.inventory_id for one in requests} - self._fresh:
            await self._tools.reader.refresh(self._states[inventory_id])
            self._fresh.add(inventory_id)
        await self._look_up([one for one in requests if one.named])

    async def _look_up(self, requests: Sequence[CommandRequest]) -> None:
        by_inventory: dict[InventoryId, list[CommandRequest]] = {}
        for request in requests:
            by_inventory.setdefault(request.command.inventory_id, []).append(request)
        for inventory_id, mine in by_inventory.items():
            found = await self._tools.replay_check.look_up(inventory_id.stream, mine)
            for request, outcome in found.items():
                request.outcome = outcome
        self._looked_up.update(requests)
        reused = [(at, one.outcome) for at, one in enumerate(self._requests) if isinstance(one.outcome, RejectionError)]
        if reused:
            raise CommandsRejectedError(rejections=tuple(why for _, why in reused), indexes=tuple(at for at, _ in reused))

    def _refuse(self, refused: Sequence[Decided]) -> None:
        rejections: list[RejectionError] = []
        for one in refused:
            if not isinstance(one.refusal, RejectionError):
                raise one.refusal or AssertionError
            rejections.append(one.refusal)
        indexes = tuple(self._requests.index(one.request) for one in refused)
        raise CommandsRejectedError(rejections=tuple(rejections), indexes=indexes)

    async def _append(self, decided: Sequence[Decided], versions: Mapping[InventoryId, int]) -> None:
        drafted: dict[InventoryId, list[NewEvent]] = {}
        for one in decided:
            if one.drafted:
                drafted.setdefault(one.request.command.inventory_id, []).extend(one.drafted)
        writes = [StreamWrite(inventory_id.stream, versions[inventory_id], events) for inventory_id, events in drafted.items()]
        position = max((state.position for state in self._states.values()), default=0)
        if writes or self._writes:
            result = await self._tools.committer.append((*writes, *self._writes))
            if result.replayed and writes:
                raise EventIdCollisionError(
                    stream=writes[0].stream, event_id=writes[0].events[0].event_id, problem="was stored earlier, with the whole append"
                )
            position = result.position
        for inventory_id in drafted:
            self._states[inventory_id].position = position
        for one in decided:
            one.request.outcome = one.outcome(position)

    def _rollback(self) -> None:
        for state in self._states.values():
            state.inventory.rollback(0)

    async def _after_failure(self, problem: Exception) -> None:
        self._fresh.clear()
        self._looked_up.clear()
        if isinstance(problem, AppendOutcomeUnknownError):
            command = self._waiting[0].command if len(self._waiting) == 1 else None
            self._unknown = AppendOutcomeUnknownError(store=problem.store, reason=problem.reason, command=command)
        if isinstance(problem, EventIdCollisionError | AppendOutcomeUnknownError):
            for one in self._waiting:
                one.look_up = True
        if isinstance(problem, ConcurrencyError):
            for inventory_id, state in self._states.items():
                if inventory_id.stream == problem.stream:
                    await self._tools.reader.refresh(state)
        elif isinstance(problem, RETRIED):
            for state in self._states.values():
                await self._tools.reader.refresh(state)

    def _may_retry(self, problem: Exception) -> bool:
        if isinstance(problem, ConcurrencyError | EventIdCollisionError):
            return problem.stream not in {write.stream for write in self._writes}
        return self._unknown is not None or not isinstance(problem, StoreUnavailableError)
