"""One trial in a process of its own, whose changes end with the process."""

import os
import resource
import shutil
import signal
import tempfile
from collections.abc import Callable
from enum import Enum
from pathlib import Path

MEMORY = 4 << 30
WAIT = 20
"""Seconds without progress that mean a deadlock."""


class Outcome(Enum):
    """The outcome of a mutant under the tests."""

    KILLED = "killed"
    SURVIVED = "survived"
    TIMEOUT = "timeout"
    UNKNOWN = "unknown"
    """It can't be put into a process that has imported the right module."""


class NotThisWayError(Exception):
    """A trial that can't be made in this process."""


_CODES = {0: Outcome.SURVIVED, 1: Outcome.KILLED, 2: Outcome.UNKNOWN}


def attempt(passes: Callable[[], bool], *, seconds: float) -> Outcome:
    """Return the outcome of the tests in a fork of this process. Their output is discarded.

    Args:
        passes: runs the tests. Any error but :exc:`NotThisWayError` counts as a failure.
        seconds: limit of processor time. The limit on the clock is some times as long, because a loaded machine is no sign of a loop.
    """
    scratch = Path(tempfile.mkdtemp(prefix="mutant-"))
    child = os.fork()
    if child == 0:
        _be_alone(scratch, seconds)
        code = 1
        try:
            code = 0 if passes() else 1
        except NotThisWayError:
            code = 2
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    _end_what_it_started(child)
    shutil.rmtree(scratch, ignore_errors=True)
    if os.WIFSIGNALED(status):
        return Outcome.TIMEOUT if os.WTERMSIG(status) in {signal.SIGALRM, signal.SIGXCPU} else Outcome.KILLED
    return _CODES.get(os.WEXITSTATUS(status), Outcome.KILLED)


def _be_alone(scratch: Path, seconds: float) -> None:
    os.setpgid(0, 0)
    whole = max(1, round(seconds))
    resource.setrlimit(resource.RLIMIT_CPU, (whole, whole + 1))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    wait_at_most(seconds)
    os.environ["TMPDIR"] = tempfile.tempdir = str(scratch)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)


def wait_at_most(seconds: float) -> None:
    """Let this process end as a timeout, after a time on the clock that allows ``seconds`` of processor time."""
    signal.setitimer(signal.ITIMER_REAL, WAIT + 5 * seconds)


def _end_what_it_started(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return
