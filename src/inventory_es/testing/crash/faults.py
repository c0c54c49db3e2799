"""Which file operation fails, and how."""

import errno
from typing import Literal, Protocol

import attrs

Failure = Literal["EIO", "ENOSPC", "short write", "dropped", "half dropped"]

CHANGING = frozenset({"create", "make_directory", "rename", "remove", "write", "truncate", "sync", "sync_directory"})
GROWING = frozenset({"create", "make_directory", "rename", "write", "truncate", "sync", "sync_directory"})
SYNCING = frozenset({"sync", "sync_directory"})


class FaultPlan(Protocol):
    """Decides about every operation of a :class:`~inventory_es.testing.crash.simfs.SimFS`."""

    def next(self, kind: str, path: str) -> Failure | None:
        """How the next operation fails; ``None`` if it does not.

        ``EIO`` and ``ENOSPC`` do nothing and raise. ``short write`` writes half, then raises ``ENOSPC``. ``dropped`` is a sync that
        raises ``EIO``, after which the changes are neither durable nor pending and the cache still shows them; with ``half dropped``
        some had been written.
        """
        ...


@attrs.define
class FailNth(FaultPlan):
    """The n-th operation that can fail so fails; with ``is_persistent``, every later one too, until :meth:`mend`.

    Attributes:
        number: which one, starting at 1.
        failure: how.
        is_persistent: whether it stays broken.
        hits: how many operations failed.
    """

    number: int
    failure: Failure
    is_persistent: bool = attrs.field(default=False, kw_only=True)
    hits: int = attrs.field(default=0, init=False)
    _seen: int = attrs.field(default=0, init=False)
    _is_mended: bool = attrs.field(default=False, init=False)

    def next(self, kind: str, path: str) -> Failure | None:  # noqa: ARG002  # a plan by path may look at it
        """How the next operation fails; see :class:`FaultPlan`."""
        if self._is_mended or not can_fail(kind, self.failure):
            return None
        self._seen += 1
        if self._seen != self.number and not (self.is_persistent and self._seen > self.number):
            return None
        self.hits += 1
        return self.failure

    def mend(self) -> None:
        """From now on nothing fails."""
        self._is_mended = True


def can_fail(kind: str, failure: Failure) -> bool:
    """Whether an operation of this kind can fail so. Closing, asking for existence and freeing a lock never fail."""
    match failure:
        case "EIO":
            return kind not in {"close", "exists", "release"}
        case "ENOSPC":
            return kind in GROWING
        case "short write":
            return kind == "write"
        case _:
            return kind in SYNCING


def error_of(failure: Failure, path: str) -> OSError:
    """What the operating system raises."""
    if failure in {"ENOSPC", "short write"}:
        return OSError(errno.ENOSPC, "No space left on device", path)
    return OSError(errno.EIO, "Input/output error", path)
