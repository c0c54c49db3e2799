"""Appends with an unknown outcome, until they have taken effect or can't any more.

A store may carry out such an append after it was looked for in vain. It can't any more once one of its streams was read beyond the
version that the append expected, or once the time has passed within which the store settles. Until then a command of it is not refused.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from math import inf

import attrs

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import StreamWrite
from inventory_es.ports.errors import AppendOutcomeUnknownError


@attrs.frozen(eq=False)
class UnsettledAppend:
    """An append that may still take effect.

    Attributes:
        versions: what it expects of its streams.
        until: the time at which it is settled; infinite where the store declares none.
        problem: why its outcome is unknown.
    """

    versions: Mapping[StreamId, int]
    until: float
    problem: AppendOutcomeUnknownError


class UnsettledAppends:
    """The unsettled appends of one handle on a store, by stream and command.

    Memory is bounded by the commands whose outcome is unknown: each is forgotten when its stream moves on, or its time has passed and
    it is asked for.

    Args:
        settles_within: seconds, as the store declares.
        monotonic: seconds that never go back.
    """

    def __init__(self, settles_within: float | None, monotonic: Callable[[], float]) -> None:
        self._settles_within = settles_within
        self._monotonic = monotonic
        self._appends: dict[StreamId, dict[str, UnsettledAppend]] = {}

    def __bool__(self) -> bool:
        return bool(self._appends)

    def now(self) -> float:
        """Return the time by which appends are settled."""
        return self._monotonic()

    def add(
        self, writes: Sequence[StreamWrite], commands: Iterable[tuple[StreamId, str]], problem: AppendOutcomeUnknownError
    ) -> AppendOutcomeUnknownError:
        """Keep an append whose call has just ended.

        Args:
            writes: what may still be written.
            commands: stream and id of each command that it carries.
            problem: why its outcome is unknown.

        Returns:
            ``problem``, with the seconds after which its absence is final.
        """
        within = self._settles_within
        if within:
            cause, problem = problem, copy(problem)
            problem.retry_after, problem.__cause__ = within, cause
        if within != 0:
            append = UnsettledAppend(
                versions={write.stream: write.expected_version for write in writes},
                until=inf if within is None else self._monotonic() + within,
                problem=problem,
            )
            for stream, command_id in commands:
                self._appends.setdefault(stream, {})[command_id] = append
        return problem

    def seen(self, stream: StreamId, version: int) -> None:
        """Forget the appends that expected an earlier version of a stream than it was read at: they take effect no more."""
        for append in {*self._appends.get(stream, {}).values()}:
            if append.versions.get(stream, version) < version:
                self._forget(append)

    def find(self, stream: StreamId, command_id: str, *, now: float | None = None) -> UnsettledAppend | None:
        """Return the append of a command that may still take effect.

        Args:
            stream: of the command.
            command_id: its id.
            now: the time at which a look-up of the command begins, or began; the present by default.
        """
        append = self._appends.get(stream, {}).get(command_id)
        if append is None or append.until > (self._monotonic() if now is None else now):
            return append
        self._forget(append)
        return None

    def _forget(self, append: UnsettledAppend) -> None:
        for stream in append.versions:
            commands = self._appends.get(stream, {})
            for command_id in [name for name, kept in commands.items() if kept is append]:
                del commands[command_id]
            if not commands:
                self._appends.pop(stream, None)
