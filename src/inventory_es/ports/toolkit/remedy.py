"""Remedies of lasting errors of the operating system: the action that a person must take."""

import errno

_SPACE = "free space on its disk"
_PERMISSION = "give this user permission"
_PLACE = "name another path"
_REMEDIES = {
    errno.ENOSPC: _SPACE,
    errno.EDQUOT: "free space, or have the quota raised",
    errno.EFBIG: "have the limit on the size of files raised",
    errno.EROFS: "mount its file system for writing",
    errno.EACCES: _PERMISSION,
    errno.EPERM: _PERMISSION,
    errno.ENOENT: "make it, or name another path",
    errno.ENOTDIR: _PLACE,
    errno.EISDIR: _PLACE,
    errno.ELOOP: _PLACE,
    errno.ENAMETOOLONG: _PLACE,
}

NOT_WRITTEN = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""The errors of a write after which a part is written at most."""

FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
"""The errors that mean that this user may not write."""


def remedy_of(problem: BaseException | None) -> str | None:
    """Return the remedy of an error of the operating system, or ``None`` if the error may pass by itself."""
    number = problem.errno if isinstance(problem, OSError) else None
    return None if number is None else _REMEDIES.get(number)


def reason_of(problem: BaseException | None) -> str:
    """Return the text of the operating system for an error."""
    return (isinstance(problem, OSError) and problem.strerror) or "the file system refused"


def no_folder(path: str) -> FileNotFoundError:
    """Return the error for a missing folder."""
    return FileNotFoundError(errno.ENOENT, f"there is no folder {path}", path)
