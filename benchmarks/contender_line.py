"""The run's connection to a contender's process: it sends a task, and receives the measures."""

import json
import select
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.contenders import Contender
from benchmarks.environments import python_of
from benchmarks.measure import Measures
from benchmarks.sizes import Sizes

ROOT = Path(__file__).parents[1]
PATIENCE = 900.0


class TaskFailedError(Exception):
    """A task that a contender could not do. The message is the contender's."""


class ContenderLine:
    """A contender's process, which the context manager starts and ends.

    Raises:
        EnvironmentMissingError: the environment can't be made here.
    """

    def __init__(self, contender: Contender) -> None:
        self.contender = contender
        self.python = sys.executable if contender.environment is None else python_of(contender.environment)
        self._process: subprocess.Popen[str] | None = None
        self._complaints = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115  # closed on leaving

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [self.python, "-m", *self.contender.module],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            text=True,
            bufsize=1,
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None, traceback: TracebackType | None) -> None:
        if self._process is not None:
            with suppress(BrokenPipeError):
                self._process.communicate()
        self._complaints.close()

    def do(self, task: str, folder: Path, sizes: Sizes) -> Measures:
        """Let the contender do a task, and return its measures.

        Raises:
            TaskFailedError: the contender raised, died or took too long. After the last two, the connection is unusable.
        """
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            msg = "its process was not started"
            raise TaskFailedError(msg)
        try:
            process.stdin.write(json.dumps({"task": task, "folder": str(folder), "sizes": sizes}) + "\n")
        except BrokenPipeError:
            raise TaskFailedError(self._last_words()) from None
        ready, _, _ = select.select([process.stdout], [], [], PATIENCE)
        if not ready:
            process.kill()
            msg = f"no answer within {PATIENCE:.0f} s"
            raise TaskFailedError(msg)
        line = process.stdout.readline()
        if not line:
            raise TaskFailedError(self._last_words())
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise TaskFailedError(answer["error"])
        measures: Measures = answer["measures"]
        return measures

    def _last_words(self) -> str:
        self._complaints.seek(0)
        return f"its process has ended: {''.join(self._complaints.readlines()[-1:]).strip()}"
