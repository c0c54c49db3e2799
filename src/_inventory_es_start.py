"""Where the program ``inventory-es`` starts: beside the package, whose own import takes a moment in which Ctrl-C must work already.

It imports nothing that Python has not loaded by then; ``signal`` itself would bring a dozen modules with it. Nothing depends on it.
"""

import _signal  # type: ignore[import-not-found]  # typeshed has it under its public name alone
import os


def main() -> None:
    """Run the command line. From its first line on, Ctrl-C ends the process at once; the command line takes that over."""
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _end)
    from inventory_es.cli.__main__ import main as run  # noqa: PLC0415  # only now

    run()


def _end(_number: int, _frame: object) -> None:
    os.write(2, b"\ninventory-es: interrupted; nothing was changed\n")
    os._exit(130)
