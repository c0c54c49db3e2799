"""The program: a group of commands, each loaded when it is called, and the exit code of errors."""

import typing
from collections.abc import Sequence
from contextlib import suppress
from difflib import get_close_matches
from importlib import import_module

import click

from inventory_es import __version__
from inventory_es.cli.failures import failure
from inventory_es.cli.interruptions import raise_as_usual
from inventory_es.cli.output import finish_output, prepare_output, tell

if typing.TYPE_CHECKING:  # the tools that freeze an application follow import statements, and find no other sign of these
    from inventory_es.cli.commands import buses, projections, replay, rows, servers, stock, stores, watch  # noqa: F401  # loaded by name

PROGRAM = "inventory-es"

COMMANDS = {
    "demo": "Simulate a day of a gift shop, and show the results.",
    "replay": "Replay a file of orders into an inventory, exactly once.",
    "stock": "Show the stock of a product in a store, now or at a time.",
    "history": "List the events of a product in a store.",
    "explain": "Explain the available figure of a product in a store.",
    "streams": "List the streams of a store.",
    "verify": "Verify a store, and repair derived data.",
    "backup": "Back up a store while it is in use.",
    "copy": "Copy a store to another store of any kind.",
    "store": "Migrate the tables of a store on a server.",
    "doctor": "Examine a store in PostgreSQL and its server, and say what to do.",
    "project": "Keep a read model up to date with a store.",
    "rebuild": "Rebuild the rows of a projection, and switch readers to the new rows.",
    "parked": "List the dead letters of projections or of a group, or retry or drop those of one stream.",
    "publish": "Publish the events of a store to a bus.",
    "consume": "Write the events of a group of a bus as lines of JSON.",
    "relay": "Publish events to a bus again, from a position on.",
    "watch": "Watch a store live.",
    "plot": "Draw the stock of a product in a store over time: on hand, reserved, available.",
    "low-stock": "List products at or below their threshold.",
    "ledger": "List the movements of a product in a store with the running balance.",
}
"""Every command with its summary, so that help needs to load none."""

_MODULES = {
    "replay": ("demo", "replay"),
    "stock": ("stock", "history", "explain"),
    "servers": ("store", "doctor"),
    "stores": ("streams", "verify", "backup", "copy"),
    "projections": ("project", "rebuild", "parked", "relay"),
    "buses": ("publish", "consume"),
    "watch": ("watch",),
    "rows": ("plot", "low-stock", "ledger"),
}
"""The commands of each module."""

EXIT_CODES = """\
Exit codes: 0 done; 1 refused, or a problem was found; 2 wrong usage; 3 the store can't serve;
70 a defect of this program; 130 interrupted."""


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        if cmd_name not in COMMANDS:
            like = get_close_matches(cmd_name, COMMANDS, n=1)
            ctx.fail(f"No such command {cmd_name!r}." + (f" Did you mean {like[0]!r}?" if like else " --help lists them."))
        (module,) = [name for name, commands in _MODULES.items() if cmd_name in commands]
        command: click.Command = getattr(import_module(f"{__package__}.commands.{module}"), cmd_name.replace("-", "_"))
        raise_as_usual()
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  # click's signature
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(
    cls=_Commands,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=EXIT_CODES,
)
@click.version_option(__version__, prog_name=PROGRAM, message="%(prog)s %(version)s")
@click.option("--traceback", is_flag=True, help="On an error, show the traceback.")
def _program(*, traceback: bool) -> None:  # `run` reads it
    """Stock that never oversells, from the command line.

    The URL of a store is file:DIR for a folder, sqlite:FILE for one file, or postgresql://USER@HOST/DATABASE for a server. A store at
    memory: ends with the command.
    """


def run(arguments: Sequence[str]) -> int:
    """Run one command.

    Args:
        arguments: the arguments of the command line, without the program's name.

    Returns:
        The exit code.
    """
    prepare_output()
    try:
        code: int | None = _program.main(args=list(arguments), prog_name=PROGRAM, standalone_mode=False)
        finish_output()
    except BaseException as error:
        told = failure(error, command=next((one for one in arguments if one in COMMANDS), None))
        if told is None or ("--traceback" in arguments and not isinstance(error, click.ClickException)):
            raise
        if told.message:
            tell(f"{PROGRAM}: {told.message}")
        with suppress(OSError):
            finish_output()
        return told.exit_code
    return code or 0
