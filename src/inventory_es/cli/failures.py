"""The message and the exit code of each error."""

from typing import NamedTuple

import click

from inventory_es.cli.interruptions import CODE, message_after
from inventory_es.cli.replay.orders_file import OrdersError
from inventory_es.domain.errors import FaultError, InventoryError

DONE = 0
WRONG = 1
USAGE = 2
FAULT = 3
DEFECT = 70


class Failure(NamedTuple):
    """The end of the program after an error.

    Attributes:
        exit_code: the exit code of the process.
        message: one line; empty for none.
    """

    exit_code: int
    message: str


def failure(error: BaseException, *, command: str | None = None) -> Failure | None:
    """Return the message and the exit code of an error; ``None`` to raise it further.

    Args:
        error: the error that ended a command.
        command: the name of the command, if known.
    """
    match error:
        case BaseExceptionGroup():  # of tasks that ran side by side: the first one brought the others down
            return failure(error.exceptions[0], command=command)
        case RuntimeError() if isinstance(error.__cause__, KeyboardInterrupt):  # within the making of a class, up to Python 3.11
            return failure(error.__cause__, command=command)
        case SystemExit() | GeneratorExit():
            return None
        case click.exceptions.Exit():
            return Failure(error.exit_code, "")
        case click.exceptions.NoArgsIsHelpError():
            return Failure(USAGE, error.format_message())
        case click.UsageError():
            where = f"{error.ctx.command_path}: " if error.ctx is not None and error.ctx.parent is not None else ""
            return Failure(USAGE, _line(f"{where.removeprefix('inventory-es ')}{error.format_message()}"))
        case click.ClickException():
            return Failure(error.exit_code, _line(error.format_message()))
        case KeyboardInterrupt() | click.Abort():
            return Failure(CODE, message_after(command))
        case BrokenPipeError():
            return Failure(DONE, "")
        case OrdersError():
            return Failure(WRONG, _line(str(error)))
        case InventoryError() if isinstance(error, ValueError):
            return Failure(USAGE, _line(str(error)))
        case FaultError():
            return Failure(FAULT, _line(str(error)))
        case InventoryError():
            return Failure(WRONG, _line(str(error)))
        case OSError():
            place = f"{error.filename}: " if error.filename is not None else ""
            return Failure(FAULT, _line(f"{place}{error.strerror or error}"))
        case _:
            what = f"{type(error).__name__}: {error}"
            return Failure(DEFECT, _line(f"a defect of this program, please report it: {what} (--traceback shows more)"))


def _line(text: str) -> str:
    return " ".join(text.split())
