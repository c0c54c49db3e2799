"""The lines of an adapter's own code that raised an error, for the failure report."""

import linecache
import sys
import sysconfig
from collections.abc import Collection, Iterator
from pathlib import Path
from traceback import walk_tb
from types import FrameType

_KIT = "inventory_es.testing"
_MOST_CAUSES = 3
_LOOPS = ("anyio", "trio", "outcome")


def own_lines(error: BaseException, owners: Collection[str]) -> list[tuple[str, str]]:
    """Return the adapter's line that raised an error, and those that raised its causes, each with its name in the report.

    The line is that of the innermost frame in the adapter's own package. Without such a frame, it is that of the innermost frame outside
    the kit, Python and the event loops.

    Args:
        error: the error that the adapter raised.
        owners: names of the modules of the adapter and of its contract.
    """
    packages = {owner.partition(".")[0] for owner in owners}
    found: list[tuple[str, str]] = []
    for number, one in enumerate(_causes(error)):
        place = _place(one, packages)
        if number == 0:
            found.append(("raised", place or "outside the adapter's code"))
        else:
            found.append(("cause", f"{type(one).__name__}: {one}" + (f"; {place}" if place else "")))
    return found


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and its causes, as Python would show them."""
    one: BaseException | None = error
    for _ in range(_MOST_CAUSES):
        if one is None:
            return
        yield one
        one = one.__cause__ if one.__suppress_context__ or one.__cause__ is not None else one.__context__


def _place(error: BaseException, packages: Collection[str]) -> str | None:
    frames = [*walk_tb(error.__traceback__)]
    own = [found for found in frames if _package(found[0]) in packages and not _is_of_the_kit(found[0])]
    foreign = [found for found in frames if not (_is_of_the_kit(found[0]) or _is_of_python_or_a_loop(found[0]))]
    if own or foreign:
        frame, line = (own or foreign)[-1]
        source = linecache.getline(frame.f_code.co_filename, line).strip()
        return f"{_shown(frame.f_code.co_filename)}:{line} in {frame.f_code.co_name}" + (f": {source}" if source else "")
    return None


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def _is_of_the_kit(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).startswith(f"{_KIT}.")


def _is_of_python_or_a_loop(frame: FrameType) -> bool:
    file = frame.f_code.co_filename
    installed = sysconfig.get_paths()
    is_of_python = file.startswith(("<", installed["stdlib"])) and not file.startswith((installed["purelib"], installed["platlib"]))
    return is_of_python or _package(frame) in _LOOPS


def _shown(file: str) -> str:
    """Return the path of a file, relative to the current folder or to the folder that it was imported from."""
    path = Path(file)
    folders = [Path.cwd(), *sorted((Path(folder) for folder in sys.path if folder), key=lambda folder: -len(folder.parts))]
    return next((str(path.relative_to(folder)) for folder in folders if path.is_relative_to(folder)), file)
