"""An adapter under test, and the expectations that the cases of all ports share."""

from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Generic, TypeVar

import anyio
import attrs

from inventory_es.testing.contracts.core.contract import Run
from inventory_es.testing.contracts.core.schedule import AtSuspension
from inventory_es.testing.promise import MismatchError

T = TypeVar("T")
E = TypeVar("E", bound=Exception)
PortT = TypeVar("PortT")


def show_done(_answer: object) -> str:
    """Return what the history shows of an answer that says nothing."""
    return "done"


@attrs.define(eq=False)
class TestedPort(Generic[PortT]):
    """An adapter under test: every call is noted in the history and driven by the schedule.

    Attributes:
        raw: the adapter itself.
        run: the run of the case.
        name: the name of this instance, where several have the site open; its notes begin with it.
    """

    __test__ = False  # no test class, although its name begins with Test

    raw: PortT
    run: Run
    name: str = attrs.field(default="", kw_only=True)

    async def call(
        self,
        note: str,
        call: Coroutine[Any, Any, T],
        show: Callable[[T], str] = show_done,
        at_suspension: AtSuspension | None = None,
        held: Callable[[], Iterable[object]] | None = None,
    ) -> T:
        """Drive one call of the adapter, and note it with its answer.

        Args:
            note: the call, as the history shows it.
            call: the call.
            show: returns the answer as the history shows it.
            at_suspension: called each time that the call is suspended.
            held: the turns to wait at each await point, in place of those of the schedule.
        """
        entry = self.run.history.begin(self.name + note)
        try:
            result = await self.run.schedule.drive(call, at_suspension, held)
        except anyio.get_cancelled_exc_class():
            entry.outcome = "cancelled"
            raise
        except Exception as error:
            entry.outcome = self.show_error(error)
            raise
        entry.outcome = show(result)
        return result

    def show_error(self, error: Exception) -> str:
        """Return an error as the history shows it."""
        return type(error).__name__


def expect(*, that: bool, expected: str, got: object, meaning: str) -> None:
    """Raise a mismatch unless ``that`` holds."""
    if not that:
        raise MismatchError(expected=expected, got=str(got), meaning=meaning)


async def refused(
    kind: type[E], call: Callable[[], Awaitable[object]], *, meaning: str, answered: Callable[[Any], str] = lambda _: "no error"
) -> E:
    """Expect a call to raise this kind of error, and return the error.

    Args:
        kind: the class of the error.
        call: makes the call.
        meaning: why any other answer breaks the promise.
        answered: returns an answer as the report shows it.
    """
    try:
        answer = await call()
    except kind as error:
        return error
    except Exception as error:
        raise MismatchError(expected=kind.__name__, got=f"{type(error).__name__}({error})", meaning=meaning) from error
    raise MismatchError(expected=kind.__name__, got=answered(answer), meaning=meaning)


async def ends_well(call: Awaitable[T], port: str, *allowed: type[Exception], answer: str = "an answer") -> tuple[T] | None:
    """Expect an answer, or an allowed error, from a call during which the adapter was closed.

    Args:
        call: the call.
        port: the name of the adapter's kind in the report: ``cache``.
        allowed: errors that are as good as an answer.
        answer: the answer, as the report names it.

    Returns:
        The answer in a tuple; ``None`` after an allowed error.
    """
    try:
        return (await call,)
    except allowed:
        return None
    except Exception as error:
        raise MismatchError(
            expected=f"{answer}, or StoreClosedError",
            got=f"{type(error).__name__}({error})",
            meaning=f"the {port} was closed during the call, and an error of the driver's own reached the caller",
        ) from error


def show_declared(declared: dict[str, bool]) -> str:
    """Return the names of the declarations that are set, as the report shows them."""
    return ", ".join(name for name, value in declared.items() if value) or "nothing beyond the least"
