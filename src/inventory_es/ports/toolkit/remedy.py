"""What a person must do about a refusal of the operating system that no repetition mends."""

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
"""The refusals of a write after which a part is written at most."""

FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
"""The refusals that say that somebody may read at most."""


def remedy_of(problem: BaseException | None) -> str | None:
    """Return what mends an error of the operating system; ``None``: it may pass."""
    number = problem.errno if isinstance(problem, OSError) else None
    return None if number is None else _REMEDIES.get(number)


def reason_of(problem: BaseException | None) -> str:
    """Return what the operating system says."""
    return (isinstance(problem, OSError) and problem.strerror) or "the file system refused"


def no_folder(path: str) -> FileNotFoundError:
    """Return the error that names the folder which is missing above ``path``."""
    return FileNotFoundError(errno.ENOENT, f"there is no folder {path}", path)
