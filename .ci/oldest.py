"""Print constraints for the oldest of everything: the recorded versions, with each declared floor in the place of the newest."""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCKED = {"opentelemetry-sdk": "opentelemetry-api", "opentelemetry-semantic-conventions": None}
"""By name, the library whose version it has too; ``None`` for one whose version another library fixes."""

FLOOR = re.compile(r"([A-Za-z0-9._-]+)>=([0-9.]+)$")


def floors() -> dict[str, str]:
    """Return the oldest declared version of each library that the package or one of its extras needs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    return {match[1]: match[2] for match in map(FLOOR.match, needed) if match}


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
