"""The kit's side of the cases about forks: start the process that forks, and hear what parent and children did."""

import json
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from inventory_es.testing.contracts.core.contract import Run
from inventory_es.testing.contracts.processes.other_process import Step, other_process, worker_command
from inventory_es.testing.promise import MismatchError

Visit: TypeAlias = Callable[[], Awaitable[object]]


async def steps_of(run: Run, plan: str, *, visit: Visit | None = None) -> Sequence[Step]:
    """Run a plan of :mod:`inventory_es.testing.contracts.processes.forker` on a site that nobody has open, and return all told steps.

    Args:
        run: of the case.
        plan: which.
        visit: opens and closes the site between the first and the last step of a plan that waits for it.

    Raises:
        MismatchError: a process failed, or did not end, or used what it had inherited.
    """
    if not hasattr(os, "fork"):
        run.not_tried("os.fork: this platform has none")
    worker = worker_command(run.contract)
    if worker is None:
        run.not_declared("a contract that another process can import; put it at the top level of a module")
    task = {"site": run.site.name, "path": str(run.site.path), "backend": run.backend, "plan": plan}
    async with other_process(
        [sys.executable, "-m", "inventory_es.testing.contracts.processes.forker", worker[-1], json.dumps(task)]
    ) as forker:
        await forker.go()
        last: Step = {}
        while (step := await forker.hear()) is not None:
            last = step
            if "inherited" in step:
                raise MismatchError(
                    expected=f"StoreClosedError from {step['inherited']}",
                    got="an answer",
                    meaning="a forked child used the adapter that belongs to its parent",
                )
            if "written" in step and visit is not None:
                await visit()
                await forker.go()
        if "done" not in last:
            raise MismatchError(expected="parent and children that end", got=f"last heard: {last}", meaning="a forked process failed")
        return forker.steps
