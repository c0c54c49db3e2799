"""What a verification finds."""

from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import attrs

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.records import RecordedEvent

Concern = Literal["journal", "stream", "lock", "index", "people", "foreign"]
StreamCheck = Callable[[StreamId, Iterator[RecordedEvent]], Iterable[tuple[int, str]]]
"""Checks what the events of a stream mean: gives versions, each with what is wrong there."""


@attrs.frozen
class Finding:
    """Something that is not as it should be.

    Attributes:
        concern: ``journal`` (the truth itself); ``stream`` (what its events mean); ``lock``, ``index`` or ``people`` (derived);
            ``foreign`` (no file of the store).
        path: of the file.
        line: in it, starting at 1; ``None`` for the whole file.
        offset: of the line, in bytes; ``None`` for the whole file.
        problem: what is wrong, without payload.
    """

    concern: Concern
    path: str
    line: int | None
    offset: int | None
    problem: str

    @property
    def is_derived(self) -> bool:
        """Whether :func:`~inventory_es.adapters.file.upkeep.repair.repair` can make it good."""
        return self.concern in {"lock", "index", "people"}

    def __str__(self) -> str:
        place = self.path if self.line is None else f"{self.path}:{self.line} (byte {self.offset})"
        return f"{place}: {self.problem}"
