"""A state machine for hypothesis: any sequence of commands, over the pure domain or over a service on any store.

A host subclasses the machine, adds its own rules, and gives the runner ``MyMachine.TestCase``. The reference handler and the naive model
answer every step. If a service is opened, its answer must be the same. At the end the history is checked against the properties.
"""

from collections.abc import Generator, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, contextmanager
from typing import ClassVar, Self

from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from inventory_es.application.service import InventoryService
from inventory_es.domain.commands import AddStock, Command
from inventory_es.domain.errors import HostFunctionError
from inventory_es.domain.events import Recorded
from inventory_es.domain.identifiers import InventoryId
from inventory_es.domain.inventory import Inventory, Policy
from inventory_es.domain.reservation_book import InventorySnapshot
from inventory_es.testing.clock import ManualClock
from inventory_es.testing.domain.agreement import Agreement
from inventory_es.testing.domain.command_generator import Choices, CommandGenerator, next_time
from inventory_es.testing.domain.history import PropertyError, check_history
from inventory_es.testing.domain.model import Model, Verdict
from inventory_es.testing.domain.program import Call, Program
from inventory_es.testing.domain.program_properties import check_program
from inventory_es.testing.domain.purity import ask_twice
from inventory_es.testing.domain.reference_handler import Answer, ReferenceHandler
from inventory_es.testing.domain.scenarios import SHELF, START
from inventory_es.testing.domain.service_check import compare, history_of, send
from inventory_es.testing.optional import require_event_loop

__tracebackhide__ = True
"""For pytest: a failure shows the line of the test that asked, not ours."""

_FIELDS = st.integers(0, 2**24 - 1)
_OF_TRANSITION = "assert what must hold, and return nothing. It is called without await"
_OF_OPENING = "it gives an async context manager of a service, such as open_inventory(…), or None. It is called without await"


class InventoryMachine(RuleBasedStateMachine):
    """A state machine that sends any sequence of commands to one inventory. Subclass it, and set the class attributes.

    Attributes:
        inventory_id: the inventory.
        policies: the host's rules, under which the handler decides. Give the same policies to the service.
        opening: units at the start; 0 for none.
        backend: the event loop of the service: ``asyncio`` or ``trio``.
        handler: the reference handler, with the state, the history and every answer so far.
        clock: source of the time. Pass the clock to the service.
    """

    inventory_id: ClassVar[InventoryId] = SHELF
    policies: ClassVar[Sequence[Policy]] = ()
    opening: ClassVar[int] = 20
    backend: ClassVar[str] = "asyncio"
    _asked_twice: ClassVar[tuple[Sequence[Policy], Sequence[Policy]]]

    def __init__(self) -> None:
        super().__init__()
        self.clock: ManualClock = ManualClock(START)
        self._agreement = Agreement(self.open_model(), self._pure_policies())
        self.handler: ReferenceHandler = ReferenceHandler(self.inventory_id, policies=self._agreement.policies)
        self._shadow = Inventory(self.inventory_id)
        self._sent: list[Call] = []
        self._is_checked = True
        self._stack = ExitStack()
        service: object = self.open_service(self.clock)
        if service is not None and not isinstance(service, AbstractAsyncContextManager):
            raise HostFunctionError.about(role="hook", function=self.open_service, answer=service, expected=_OF_OPENING)
        if service is not None:
            require_event_loop(self.backend)
        self._remote = None if service is None else self._stack.enter_context(_Remote.over(service, self.backend))
        if self.opening:
            self.send(AddStock(inventory_id=self.inventory_id, command_id="opening", quantity=self.opening))

    def open_service(self, clock: ManualClock) -> AbstractAsyncContextManager[InventoryService] | None:
        """Open a service over a fresh, empty store, with this clock and the machine's policies. A hook: ``None`` by default.

        Args:
            clock: source of the service's time.
        """
        del clock
        return None

    def open_model(self) -> Model:
        """Return the naive model that the handler is compared with, command by command. A hook.

        Give the model policies of its own to compare two statements of one rule: the host's, and a plain one.
        """
        return Model(self.inventory_id, policies=self.policies)

    def on_transition(self, before: InventorySnapshot, event: Recorded, after: InventorySnapshot) -> None:
        """Assert what must hold for each event, given the states before and after it. A hook.

        Assert what no event may do (no reserve takes more than 80 %), rather than what every state must be. A count or a loss may leave
        too many reservations without any reserve.
        """

    def send(self, command: Command) -> Answer:
        """Send a command now, and check everything that can be checked. For the rules of a host.

        Args:
            command: a command to the machine's inventory.

        Raises:
            PropertyError: the model disagrees, or the service's answer differs from the reference.
        """
        self._is_checked = False
        self._sent.append(Call(command, self.clock.now()))
        note(str(self._sent[-1]))
        answer, verdict = self._agreement.execute(self.handler, self._sent[-1])
        if self._remote is not None:
            self._remote.compare(answer, verdict)
        for recorded in answer.appended:
            before = self._shadow.snapshot()
            self._shadow.apply(recorded)
            answer_of_hook: object = self.on_transition(before, recorded, self._shadow.snapshot())  # type: ignore[func-returns-value]  # a host's
            if answer_of_hook is not None:
                raise HostFunctionError.about(role="hook", function=self.on_transition, answer=answer_of_hook, expected=_OF_TRANSITION)
        self._is_checked = True
        return answer

    def generator(self, fields: int) -> CommandGenerator:
        """Return a generator of commands that fit the present state.

        Args:
            fields: a drawn number, 0 or more, from which the choices are read.
        """
        earlier = tuple(call.command for call in self._sent)
        return CommandGenerator(Choices(fields), self.handler.inventory, self.clock.now(), str(len(self._sent)), earlier)

    def teardown(self) -> None:
        """Check the properties of the whole run, and the store's history, unless a step failed."""
        with self._stack:
            if self._is_checked:
                check_history(self.handler.history)
                check_program(Program(inventory_id=self.inventory_id, steps=tuple(self._sent)), policies=self._pure_policies())
                if self._remote is not None:
                    self._remote.compare_history(self.handler)

    @classmethod
    def _pure_policies(cls) -> Sequence[Policy]:
        """Return the policies, asked twice. All examples share one memory, so that an impure policy is found across them."""
        pure: tuple[Sequence[Policy], Sequence[Policy]] | None = cls.__dict__.get("_asked_twice")
        if pure is None or pure[0] is not cls.policies:
            pure = (cls.policies, ask_twice(cls.policies))
            cls._asked_twice = pure
        return pure[1]

    def _has_open(self) -> bool:
        return self.handler.inventory.open_count > 0

    @rule(number=_FIELDS)
    def wait(self, number: int) -> None:
        """Let time pass, stand still, or stop right around the expiry of a reservation."""
        self.clock.at = next_time(Choices(number), self.handler.inventory, self.clock.now())

    @rule(fields=_FIELDS)
    def reserve(self, fields: int) -> None:
        """Send a reserve."""
        self.send(self.generator(fields).reserve())

    @precondition(_has_open)
    @rule(fields=_FIELDS)
    def commit(self, fields: int) -> None:
        """Send a commit."""
        self.send(self.generator(fields).commit())

    @precondition(_has_open)
    @rule(fields=_FIELDS)
    def release(self, fields: int) -> None:
        """Send a release."""
        self.send(self.generator(fields).release())

    @precondition(_has_open)
    @rule(fields=_FIELDS)
    def extend(self, fields: int) -> None:
        """Send an extension."""
        self.send(self.generator(fields).extend())

    @precondition(_has_open)
    @rule(fields=_FIELDS)
    def confirm(self, fields: int) -> None:
        """Send a confirmation."""
        self.send(self.generator(fields).confirm())

    @rule(fields=_FIELDS)
    def add(self, fields: int) -> None:
        """Send an addition."""
        self.send(self.generator(fields).add())

    @rule(fields=_FIELDS)
    def adjust(self, fields: int) -> None:
        """Send an adjustment."""
        self.send(self.generator(fields).adjust())

    @precondition(_has_open)
    @rule(fields=_FIELDS)
    def bump(self, fields: int) -> None:
        """Send an adjustment that takes reserved units."""
        self.send(self.generator(fields).bump())

    @rule(fields=_FIELDS)
    def count(self, fields: int) -> None:
        """Send a count."""
        self.send(self.generator(fields).count())

    @rule(fields=_FIELDS)
    def sweep(self, fields: int) -> None:
        """Send a sweep."""
        self.send(self.generator(fields).sweep())

    @precondition(lambda self: bool(self._sent))
    @rule(fields=_FIELDS)
    def again(self, fields: int) -> None:
        """Send an earlier command once more."""
        self.send(self.generator(fields).again())

    @precondition(lambda self: bool(self._sent))
    @rule(fields=_FIELDS)
    def misuse(self, fields: int) -> None:
        """Send another payload under the id of an earlier command."""
        self.send(self.generator(fields).misuse())


class _Remote:
    """A service on an event loop in a thread of its own, called step by step."""

    def __init__(self, service: InventoryService, portal: BlockingPortal) -> None:
        self._service = service
        self._portal = portal

    @classmethod
    @contextmanager
    def over(cls, service: AbstractAsyncContextManager[InventoryService], backend: str) -> Generator[Self, None, None]:
        with start_blocking_portal(backend) as portal, portal.wrap_async_context_manager(service) as opened:
            yield cls(opened, portal)

    def compare(self, answer: Answer, verdict: Verdict) -> None:
        call = Call(answer.command, answer.clock)
        compare(answer, self._portal.call(send, self._service, call), verdict)

    def compare_history(self, handler: ReferenceHandler) -> None:
        got = list(self._portal.call(history_of, self._service, handler.inventory.inventory_id))
        if got != handler.history:
            msg = f"the store has {len(got)} events, the reference {len(handler.history)}: {got} instead of {handler.history}"
            raise PropertyError(msg, frozenset({"P6"}))
