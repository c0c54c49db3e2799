"""Absolute paths, so that a later ``os.chdir`` moves no store."""

import os
from pathlib import Path

AnyPath = str | bytes | os.PathLike[str] | os.PathLike[bytes]
"""A path, in every form that the operating system accepts."""


def absolute_path(path: AnyPath) -> str:
    """Return the path from the root on, with ``~`` and ``~user`` as home folders. Links and ``..`` stay unchanged.

    Raises:
        ValueError: a NUL character, an unknown home folder, or a relative path while the working directory is gone.
    """
    given = os.fsdecode(path)
    if "\0" in given:
        msg = f"the path {given!r} contains a NUL character: no file has such a name"
        raise ValueError(msg)
    place = os.path.expanduser(given)  # noqa: PTH111  # pathlib drops the './' that makes '~' a plain name
    if place.startswith("~"):
        msg = f"the home folder in {given!r} is unknown: write the path in full, or {'./' + given!r} for a file of that name"
        raise ValueError(msg)
    try:
        return str(Path(place).absolute())
    except OSError:
        msg = f"the path {given!r} is relative, and the working directory is gone: write the path in full, from the root on"
        raise ValueError(msg) from None
