"""Standard output of the kit's own commands: safe for any encoding and for a reader that leaves early."""

import os
import sys
from collections.abc import Callable
from io import TextIOWrapper
from pathlib import Path
from typing import NoReturn

UNREAD = 2
"""The exit code of a command whose reader left before its end: the result is unknown then."""


def run_and_exit(main: Callable[[], int]) -> NoReturn:
    """Run a command of the kit, and end the process with its exit code.

    A character that the encoding of a stream lacks is written as an escape. A stream that was closed before the program began is opened on
    the null device. A command whose reader leaves ends without a traceback.

    Args:
        main: the command; returns the exit code.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):  # in the order of their descriptors
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115  # for the rest of the process
        elif mode == "w" and isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes once more
        code = UNREAD
    sys.exit(code)
