"""Virtual environments for the peers: made on first use, pinned, outside of the tree, separate from our own."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

PINNED: Mapping[str, tuple[tuple[int, int], tuple[str, ...]]] = {
    "eventsourcing": ((3, 10), ("eventsourcing==9.5.6",)),
    "eventsourcing on PostgreSQL": ((3, 10), ("eventsourcing==9.5.6", "psycopg[binary,pool]==3.3.9")),
    "eventsource-py": ((3, 13), ("eventsource-py==0.15.1", "aiosqlite==0.22.1")),
    "eventsource-py on PostgreSQL": ((3, 13), ("eventsource-py[postgresql]==0.15.1",)),
    "umadb": ((3, 10), ("umadb==0.7.8",)),
    "plots": ((3, 11), ("matplotlib==3.11.2",)),
}
"""Each environment's oldest Python, and its packages."""

_NEWEST_PYTHON = 14
_PLAIN = str.maketrans("=[],", "----")
_OURS = {"python", "sqlite", "inventory_es", "anyio", "attrs", "cattrs", "msgspec", "trio"}


class EnvironmentMissingError(Exception):
    """An environment that can't be made here. The message says why."""


def cache_folder() -> Path:
    """Return the folder that keeps environments between runs."""
    chosen = os.environ.get("INVENTORY_ES_BENCHMARKS")
    return Path(chosen) if chosen else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "inventory_es-benchmarks"


def python_of(name: str) -> str:
    """Return the interpreter of an environment. Make the environment if it is missing.

    Raises:
        EnvironmentMissingError: no Python is new enough, or the packages can't be installed.
    """
    oldest, packages = PINNED[name]
    base = _interpreter(name, oldest)
    folder = cache_folder() / f"{'-'.join(packages).translate(_PLAIN)}-python{_version(base)}"
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        _run([base, "-m", "venv", str(folder)])
        _run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages])
        (folder / "complete").touch()
    return str(python)


def versions_of(python: str) -> dict[str, str]:
    """Return the versions of Python and of an environment's packages; in our own environment, of the engine's dependencies."""
    script = (
        "import json, platform, sqlite3\n"
        "from importlib.metadata import distributions\n"
        "found = {one.name: one.version for one in distributions()}\n"
        "print(json.dumps({'python': platform.python_version(), 'sqlite': sqlite3.sqlite_version, **found}))\n"
    )
    found: dict[str, str] = json.loads(_run([python, "-c", script]))
    return {name: version for name, version in found.items() if python != sys.executable or name in _OURS}


def _interpreter(name: str, oldest: tuple[int, int]) -> str:
    if sys.version_info[:2] >= oldest:
        return sys.executable
    for minor in range(oldest[1], _NEWEST_PYTHON + 1):
        found = shutil.which(f"python3.{minor}")
        if found is not None and subprocess.run([found, "-c", ""], check=False, capture_output=True).returncode == 0:
            return found
        kept = sorted(Path.home().glob(f".pyenv/versions/3.{minor}.*/bin/python"))
        if kept:
            return str(kept[-1])
    msg = f"{name} needs Python {oldest[0]}.{oldest[1]} or newer, and none was found"
    raise EnvironmentMissingError(msg)


def _version(python: str) -> str:
    return _run([python, "-c", "import platform; print(platform.python_version())"]).strip()


def _run(command: list[str]) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        msg = f"{' '.join(command[1:4])} … failed: {done.stderr.strip().splitlines()[-1:]}"
        raise EnvironmentMissingError(msg)
    return done.stdout
