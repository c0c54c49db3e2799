"""The kit's side of other processes: a worker that writes and may be killed, and a process that forks."""

import json
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
import attrs
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from inventory_es.testing.contracts.core.contract import Contract, Run
from inventory_es.testing.promise import MismatchError

_LONGEST_LINE = 1 << 20
_ROOM = __name__.rpartition(".")[0]

Step = Mapping[str, Any]
"""One line of a process."""


@attrs.define(eq=False)
class OtherProcess:
    """A running worker.

    Attributes:
        steps: the steps that were heard so far.
    """

    _process: Process
    _lines: BufferedByteReceiveStream
    steps: list[Step] = attrs.field(factory=list[Step])

    async def go(self) -> None:
        """Let the process write."""
        if self._process.stdin is not None:
            await self._process.stdin.send(b"go\n")

    async def hear(self) -> Step | None:
        """Return the next step that the process prints; ``None`` at its end."""
        try:
            line = await self._lines.receive_until(b"\n", _LONGEST_LINE)
        except (anyio.IncompleteRead, anyio.EndOfStream):
            return None
        try:
            step: dict[str, Any] = json.loads(line)
        except ValueError:
            raise MismatchError(
                expected="the steps of a second process", got=await self._rest(line), meaning="the second process failed"
            ) from None
        if "at" in step:
            self.steps.append(step)
        return step

    async def hear_all(self) -> None:
        """Hear the process to its end, which must be a regular one."""
        last: Step | None = None
        while (step := await self.hear()) is not None:
            last = step
        if last is None or "done" not in last:
            raise MismatchError(expected="a second process that ends", got=f"last heard: {last}", meaning="the second process died")

    async def kill(self) -> None:
        """Kill the process, as a crash would, and hear the steps that it had printed."""
        self._process.kill()
        await self._process.wait()
        while await self.hear() is not None:
            pass

    async def _rest(self, line: bytes) -> str:
        text = line + b"\n"
        try:
            while True:
                text += await self._lines.receive(_LONGEST_LINE)
        except anyio.EndOfStream:
            lines = text.decode(errors="replace").strip().splitlines()
            return f"its last words: {lines[-1]}"


def worker_command(contract: Contract) -> Sequence[str] | None:
    """Return the command line of a worker for this contract; ``None`` where no other process can import the contract."""
    if "<locals>" in contract.address or "__main__" in contract.address:
        return None
    return (sys.executable, "-m", f"{_ROOM}.worker", contract.address)


def task(run: Run, writer: str, rounds: int, *, size: int = 2) -> str:
    """Return the task of a worker on this run's site: its last argument.

    Args:
        run: the run of the case.
        writer: the beginning of the labels of its events.
        rounds: the number of batches that it writes.
        size: the events per batch.
    """
    return json.dumps({**_of_run(run), "writer": writer, "rounds": rounds, "size": size})


def _of_run(run: Run) -> Step:
    return {"site": run.site.name, "path": str(run.site.path), "backend": run.backend}


@asynccontextmanager
async def other_process(arguments: Sequence[str]) -> AsyncGenerator[OtherProcess, None]:
    """Start a worker and wait until it has opened the site. The process is dead when the block ends."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    process = await anyio.open_process(
        list(arguments), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment
    )
    async with process:
        try:
            if process.stdout is None:
                msg = "the worker's output is not piped"
                raise RuntimeError(msg)
            other = OtherProcess(process, BufferedByteReceiveStream(process.stdout))
            first = await other.hear()
            if first != {"ready": True}:
                raise MismatchError(
                    expected="a second process that opens the site",
                    got=f"it said {first}",
                    meaning="the site can't be opened by another process",
                )
            yield other
        finally:
            if process.returncode is None:
                process.kill()


async def steps_of(run: Run, plan: str, *, reopen: Callable[[], AbstractAsyncContextManager[object]] | None = None) -> Sequence[Step]:
    """Run a plan of the process that forks, and return all steps that it prints. Nobody has the site open before.

    Args:
        run: the run of the case.
        plan: the plan, by its name in :mod:`inventory_es.testing.contracts.processes.forker`.
        reopen: opens the site before the plan, and between the first and the last step of a plan that waits for it.

    Raises:
        MismatchError: a process failed, did not end, or used what it had inherited.
    """
    if not hasattr(os, "fork"):
        run.not_tried("os.fork: this platform has none")
    worker = worker_command(run.contract)
    if worker is None:
        run.not_declared("a contract that another process can import; put it at the top level of a module")
    of_plan = json.dumps({**_of_run(run), "plan": plan})
    if reopen is not None:
        async with reopen():
            pass
    async with other_process([sys.executable, "-m", f"{_ROOM}.forker", worker[-1], of_plan]) as forker:
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
            if "written" in step and reopen is not None:
                async with reopen():
                    pass
                await forker.go()
        if "done" not in last:
            raise MismatchError(expected="parent and children that end", got=f"last heard: {last}", meaning="a forked process failed")
        return forker.steps
