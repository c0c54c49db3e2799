"""Objects by address: ``package.module:Name`` or ``path/to/file.py:Name``."""

import importlib
import importlib.util
import sys
from operator import attrgetter
from pathlib import Path
from types import ModuleType


def load(address: str) -> object:
    """Import the module or file, and return the object of that name.

    Raises:
        ValueError: the address has another form, or there is no such module, file or name; the message says which.
    """
    place, _, name = address.rpartition(":")
    if not place or not name:
        msg = f"{address!r} names nothing: write package.module:Name or path/to/file.py:Name"
        raise ValueError(msg)
    module = _from_file(Path(place)) if place.endswith(".py") else _from_module(place)
    try:
        return attrgetter(name)(module)
    except AttributeError:
        msg = f"{place} has no {name}"
        raise ValueError(msg) from None


def _from_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        msg = f"no module {name}: {error}; run from the folder that has it, or give the path of its file"
        raise ValueError(msg) from None


def _from_file(path: Path) -> ModuleType:
    known = next((m for m in list(sys.modules.values()) if getattr(m, "__file__", None) == str(path.absolute())), None)
    if known is not None:
        return known
    spec = importlib.util.spec_from_file_location(".".join(path.with_suffix("").parts).strip("./"), path.absolute())
    if spec is None or spec.loader is None or not path.is_file():
        msg = f"no file {path}"
        raise ValueError(msg)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
