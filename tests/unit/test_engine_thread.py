"""The engines of the synchronous service survive what their host's code raises; a thread that can't says that it ended."""

from contextlib import closing
from typing import Any

import pytest

from inventory_es.adapters.memory import MemoryEventStore
from inventory_es.engine_thread import EngineThread
from inventory_es.errors import StoreClosedError
from inventory_es.sync import open_inventory


class Foreign(MemoryEventStore):
    """An asynchronous store that does not say whether it needs its event loop: it gets one, in a thread."""


class Raising:
    """A policy that raises what it is told to, once."""

    problem: type[BaseException] | None = None

    def __call__(self, *_: Any) -> None:
        problem, self.problem = self.problem, None
        if problem is not None:
            raise problem


@pytest.mark.parametrize("has_thread", [False, True], ids=["direct", "thread"])
@pytest.mark.parametrize("problem", [MemoryError, RecursionError, KeyboardInterrupt, SystemExit])
def test_an_exception_of_any_kind_in_a_policy_reaches_its_caller_and_ends_nothing(problem: type[BaseException], has_thread: bool) -> None:
    policy = Raising()
    with closing(open_inventory(Foreign() if has_thread else "memory:", policies=[policy])) as inventory:
        inventory.add_stock("p", "s", 1)
        policy.problem = problem
        with pytest.raises(problem):
            inventory.add_stock("p", "s", 1)
        assert inventory.add_stock("p", "s", 1).version == 2
        policy.problem = problem
        with pytest.raises(problem):
            inventory.add_stock("other", "s", 1)
        assert inventory.stock("p", "s").on_hand == 2


def test_a_service_whose_thread_has_ended_says_so_at_once() -> None:
    policy = Raising()
    with closing(open_inventory(Foreign(), policies=[policy])) as inventory:
        inventory.add_stock("p", "s", 1)
        assert isinstance(inventory._engine, EngineThread)
        policy.problem = GeneratorExit
        with pytest.raises(GeneratorExit):
            inventory.add_stock("p", "s", 1)
        inventory._engine._thread.join(60)
        for use in (lambda: inventory.add_stock("p", "s", 1), lambda: inventory.stock("p", "s")):
            with pytest.raises(StoreClosedError, match="its thread was ended by an unexpected error; open it again"):
                use()
