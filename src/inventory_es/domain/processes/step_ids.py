"""Ids of what a process does to inventories: derived from the process, the line and the step, so that each may be done again.

``order:line`` is the reservation of a line, ``order:line:g2`` the one that follows when it lapsed, and ``order:line:step`` the
command of a later step. An id of the host's inside another has its ``:`` and ``%`` encoded, so that no two steps share a name.
"""

from uuid import UUID

from inventory_es.domain.errors import InvalidIdentifierError
from inventory_es.domain.identifiers import identifier
from inventory_es.domain.stream_id import StreamId

MAX_PROCESS_ID = 64
"""Characters of a process id inside a step's id."""

MAX_STEP_ID = 40
"""Characters of a shipment's or receipt's id inside a step's id: a UUID fits."""


def process_id(name: str, value: str | UUID) -> str:
    """Check the id of a process.

    Args:
        name: what it identifies, for the error.
        value: as any identifier, and short enough to stand inside the ids of steps.

    Raises:
        InvalidIdentifierError: anything else.
    """
    return _short(name, value, MAX_PROCESS_ID)


def part_id(name: str, value: str | UUID) -> str:
    """Check the id of a part of a process, such as a shipment or a receipt; see :func:`process_id`."""
    return _short(name, value, MAX_STEP_ID)


def step_id(process: str, *parts: str | int) -> str:
    """The id of a step: its parts joined by ``:``."""
    return ":".join((encoded(process), *map(str, parts)))


def process_of(category: str, reference: str | None) -> str | None:
    """The process that a movement's reference names, as the steps of processes write it: the text of its stream.

    Args:
        category: of the process.
        reference: of the movement.

    Returns:
        Its id; ``None`` where the reference is a text of the host's own.
    """
    if reference is None or not reference.startswith(f"{category}-"):
        return None
    try:
        (part,) = StreamId.parse(reference).parts
        return process_id("reference", part)
    except ValueError:  # also where there are more parts than one
        return None


def encoded(text: str) -> str:
    """An id as it stands inside the id of a step."""
    return text.replace("%", "%25").replace(":", "%3a") if "%" in text or ":" in text else text


def _short(name: str, value: str | UUID, longest: int) -> str:
    text = identifier(name, value)
    if len(encoded(text)) > longest:
        problem = f"must have at most {longest} characters (':' and '%' count for three): it stands inside the ids of steps"
        raise InvalidIdentifierError(name=name, problem=problem)
    return text
