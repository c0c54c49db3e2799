"""Print constraints for the oldest of everything: the recorded versions, with each declared floor in the place of the newest."""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCKED = {"opentelemetry-sdk": "opentelemetry-api", "opentelemetry-semantic-conventions": None}
"""By name, the library whose version it has too; ``None`` for one whose version another library fixes."""

FLOOR = re.compile(r"([A-Za-z0-9._-]+)(?:\[([a-z]+)\])?>=([0-9.]+)$")


def floors() -> dict[str, str]:
    """Return the oldest declared version of each library that the package or one of its extras needs.

    An extra of a library, such as ``psycopg[binary]``, is a library of the same version: ``psycopg-binary``.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    found = [match.groups() for match in map(FLOOR.match, needed) if match]
    return {library: version for name, extra, version in found for library in (name, f"{name}-{extra}" if extra else name)}


def main() -> None:
    """Print one constraint per line."""
    oldest = floors()
    for line in (ROOT / "tests" / "constraints.txt").read_text(encoding="utf-8").splitlines():
        name, _, version = line.partition("==")
        like = LOCKED.get(name, name)
        if like is not None:
            sys.stdout.write(f"{name}=={oldest.get(like, version)}\n" if version else f"{line}\n")


if __name__ == "__main__":
    main()
