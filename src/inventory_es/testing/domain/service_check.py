"""Programs over a service: the same calls at the same times over any store, with its faults, compared with the reference handler."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import NoReturn

import anyio
import attrs

from inventory_es.application.commands.decision import CommandOutcome
from inventory_es.application.results import CommandResult, Reservation
from inventory_es.application.service import InventoryService
from inventory_es.domain.errors import ClockSkewError, CommandsRejectedError, InventoryError, RejectionError
from inventory_es.domain.events import Recorded
from inventory_es.domain.identifiers import InventoryId
from inventory_es.domain.inventory import Policy
from inventory_es.ports.errors import AppendOutcomeUnknownError, StoreUnavailableError
from inventory_es.testing.clock import ManualClock
from inventory_es.testing.domain.agreement import Agreement, afterwards, disagreement, outcome_problems
from inventory_es.testing.domain.formatting import describe
from inventory_es.testing.domain.history import PropertyError, check_history
from inventory_es.testing.domain.model import Model, Verdict
from inventory_es.testing.domain.program import Call, Program
from inventory_es.testing.domain.reference_handler import Answer, ReferenceHandler
from inventory_es.testing.domain.scenarios import START
from inventory_es.testing.faults import FaultKind, Faults
from inventory_es.testing.optional import require_event_loop

__tracebackhide__ = True
"""For pytest: a failure shows the line of the test that asked, not ours."""

ATTEMPTS = 10
"""How often a call is sent after errors that another try can mend. Idempotent, because the command is the same each time."""

OpenService = Callable[[ManualClock, Faults], AbstractAsyncContextManager[InventoryService]]
"""A function that opens a service over a fresh, empty store, with this clock. The host may wrap the store in these faults."""


def check_service(
    program: Program,
    open_service: OpenService,
    *,
    backend: str = "asyncio",
    policies: Sequence[Policy] = (),
    model: Model | None = None,
    together: int = 1,
) -> tuple[Recorded, ...]:
    """Play a program over a service, in one run of an event loop, and compare every answer and the history with the reference.

    The setup and the steps go one after the other, and each answer must be that of the reference handler. The parallel calls go at the
    same time, while appends fail as the program plans. Their outcomes must be those of some serial order.

    Args:
        program: the program.
        open_service: opens the service.
        backend: the event loop: ``asyncio`` or ``trio``.
        policies: the host's rules. The service must have the same policies.
        model: a fresh model to compare both with, such as one with a second statement of the rules. By default the rules of the kit with
            these policies.
        together: how many steps are sent together with ``execute_all``, so that all are accepted or none.

    Returns:
        The history that the service returns.

    Raises:
        PropertyError: the reference could not give an answer, or the history breaks a property.
        ImportError: the event loop is not installed.
    """
    require_event_loop(backend)
    agreement = Agreement(Model(program.inventory_id, policies=policies) if model is None else model, policies)
    try:
        return anyio.run(_ServiceRun(program, agreement).play, open_service, together, backend=backend)
    except PropertyError as error:
        raise error.with_traceback(None) from None  # the frames of the event loop say nothing to a test's author


_Settled = Sequence[tuple[Call, CommandOutcome | InventoryError]]


@attrs.define(eq=False)
class _ServiceRun:
    """A program in play over a service, on the reference handler and on the model."""

    program: Program
    agreement: Agreement
    service: InventoryService = attrs.field(init=False)
    clock: ManualClock = attrs.field(init=False)
    handler: ReferenceHandler = attrs.field(init=False)

    async def play(self, open_service: OpenService, together: int) -> tuple[Recorded, ...]:
        program, self.clock, plan = self.program, ManualClock(START), _Plan(dict(self.program.faults))
        self.handler = ReferenceHandler(program.inventory_id, policies=self.agreement.policies)
        async with open_service(self.clock, plan.faults) as self.service:
            for calls in [*_chunks(program.setup, 1), *_chunks(program.steps, together)]:
                await (self._send_together(calls) if len(calls) > 1 else self._send(calls[0]))
            await self._send_again()
            plan.is_on = True
            settled = await self._race()
            plan.is_on = False
            history = await history_of(self.service, program.inventory_id)
        check_history(history)
        self._check_serial(settled, history)
        return history

    async def _send(self, call: Call) -> None:
        self.clock.at = call.at
        answer, verdict = self.agreement.execute(self.handler, call)
        compare(answer, await send(self.service, call), verdict)

    async def _send_together(self, neighbours: Sequence[Call]) -> None:
        self.clock.at = neighbours[-1].at
        calls = [Call(call.command, self.clock.at) for call in neighbours]
        trial = self.handler.fork()
        try:
            answers = [trial.execute(call.command, at=call.at) for call in calls]
        except ValueError:  # a count of a version that is not there, because an earlier set was refused
            return
        refused = {number: answer.error for number, answer in enumerate(answers) if answer.error is not None}
        expected: InventoryError | None = next((error for error in refused.values() if isinstance(error, ClockSkewError)), None)
        if refused and expected is None:
            rejections = tuple(error for error in refused.values() if isinstance(error, RejectionError))
            expected = CommandsRejectedError(rejections=rejections, indexes=tuple(refused))
        try:
            outcomes = await self.service.execute_all([call.command for call in calls])
        except InventoryError as error:
            if error != expected:
                _unlike(calls, expected, error)
            return
        if expected is not None:
            _unlike(calls, expected, "they were accepted")
        for call, got in zip(calls, outcomes, strict=True):
            answer, verdict = self.agreement.execute(self.handler, call)
            if not answer.replayed:  # a replay returns the state of its reservation before the set
                compare(answer, got, verdict)

    async def _send_again(self) -> None:
        """Send every accepted command once more. Each is replayed, with the present state of its reservation."""
        now = max(self.clock.at, self.handler.inventory.last_time or self.clock.at)
        accepted = [Call(answer.command, now) for answer in self.handler.answers if answer.appended]
        self.clock.at = now
        for call in [*accepted, *afterwards(list(self.handler.answers), now)]:
            await self._send(call)

    async def _race(self) -> _Settled:
        """Send the parallel calls at the same time. Return their outcomes, in the order in which they came."""
        settled: list[tuple[Call, CommandOutcome | InventoryError]] = []

        async def settle(call: Call) -> None:
            settled.append((call, await send(self.service, call)))

        if self.program.parallel:
            self.clock.at = self.program.parallel[0].at
        async with anyio.create_task_group() as tasks:
            for call in self.program.parallel:
                tasks.start_soon(settle, call)
        return settled

    def _check_serial(self, settled: _Settled, history: Sequence[Recorded]) -> None:
        """Check that a serial order explains the outcomes of parallel calls.

        The accepted calls, in the order of their versions, must append on the handler what the store has. Every other call must have an
        answer that the handler would give in between.
        """
        before = self.handler.inventory.version
        accepted = [(call, got) for call, got in settled if _has_appended(got, before)]
        waiting = [(call, got) for call, got in settled if not _has_appended(got, before)]
        explained = self._explained(waiting)
        for call, got in sorted(accepted, key=lambda pair: _version(pair[1])):
            answer, verdict = self.agreement.execute(self.handler, Call(call.command, self.clock.at))
            if answer.error is not None or not answer.appended or answer.recorded[-1].version != _version(got):
                _unexplained(call, got)
            problems = [] if getattr(got, "replayed", False) else outcome_problems(verdict, got)
            if problems:
                raise disagreement(call, verdict, describe(got), problems)
            explained |= self._explained(waiting)
        for number, (call, got) in enumerate(waiting):
            if number not in explained:
                _unexplained(call, got)
        if list(history) != self.handler.history:
            msg = f"the store has {list(history)}, a serial order gives {self.handler.history}"
            raise PropertyError(msg, frozenset({"P29"}))

    def _explained(self, waiting: _Settled) -> set[int]:
        found: set[int] = set()
        for number, (call, got) in enumerate(waiting):
            answer = self.handler.fork().execute(call.command, at=self.clock.at)
            if not answer.appended and answer.error == (got if isinstance(got, InventoryError) else None):
                found.add(number)
        return found


def _chunks(calls: Sequence[Call], size: int) -> Iterator[list[Call]]:
    """Yield up to ``size`` neighbours at a time, with distinct ids, because ``execute_all`` takes no id twice."""
    chunk: list[Call] = []
    for call in calls:
        if len(chunk) == size or any(call.command.command_id == other.command.command_id for other in chunk):
            yield chunk
            chunk = []
        chunk.append(call)
    if chunk:
        yield chunk


def _unlike(calls: Sequence[Call], expected: InventoryError | None, got: object) -> NoReturn:
    sent = " + ".join(describe(call.command) for call in calls)
    wanted = "they are accepted" if expected is None else describe(expected)
    msg = f"{sent}, together: expected that {wanted}, got {describe(got) if isinstance(got, InventoryError) else got}"
    raise PropertyError(msg, frozenset({"P30"}))


async def send(service: InventoryService, call: Call) -> CommandOutcome | InventoryError:
    """Execute a call, and return its outcome or refusal. Send again while the store is unavailable or the outcome unknown."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return await service.execute(call.command)
        except (StoreUnavailableError, AppendOutcomeUnknownError) as error:
            if attempt == ATTEMPTS:
                return error
        except InventoryError as error:
            return error
    raise AssertionError


async def history_of(service: InventoryService, inventory_id: InventoryId) -> tuple[Recorded, ...]:
    """Return the whole history of an inventory from a service."""
    entries = service.history(inventory_id.product_id, inventory_id.store_id)
    return tuple([Recorded(entry.event, entry.version, entry.recorded_at) async for entry in entries])


def compare(answer: Answer, got: CommandOutcome | InventoryError, verdict: Verdict) -> None:
    """Compare one answer of a service with the reference's, and each field of its result with the model's.

    Raises:
        PropertyError: the answers differ.
    """
    error = got if isinstance(got, InventoryError) else None
    _same(answer, "is refused with", answer.error, error)
    if not isinstance(got, InventoryError):
        _same(answer, "is replayed", answer.replayed, got.replayed)
        version = answer.recorded[-1].version if answer.recorded else answer.before.version
        _same(answer, "leaves version", version, got.version)
    problems = outcome_problems(verdict, got)
    if problems:
        raise disagreement(Call(answer.command, answer.clock), verdict, describe(got), problems)


def _same(answer: Answer, what: str, expected: object, got: object) -> None:
    if got != expected:
        msg = f"{describe(answer.command)} {what} {describe(got)}; the reference says {describe(expected)}"
        raise PropertyError(msg, frozenset({"P29"}))


def _has_appended(got: CommandOutcome | InventoryError, before: int) -> bool:
    return isinstance(got, Reservation | CommandResult) and _version(got) > before and getattr(got, "changed", True)


def _version(got: CommandOutcome | InventoryError) -> int:
    return 0 if isinstance(got, InventoryError) else got.version


def _unexplained(call: Call, got: CommandOutcome | InventoryError) -> NoReturn:
    msg = f"{call} got {describe(got)}: no serial order of the calls explains that"
    raise PropertyError(msg, frozenset({"P29"}))


class _Plan:
    """A plan of faults for the appends while it is on, counted from 1."""

    def __init__(self, plan: Mapping[int, FaultKind]) -> None:
        self.is_on = False
        self.faults = Faults(self._choose)
        self._plan = plan
        self._appends = 0

    def _choose(self, operation: str, _number: int) -> FaultKind | None:
        if not self.is_on or operation not in {"append", "append_group"}:
            return None
        self._appends += 1
        return self._plan.get(self._appends)
