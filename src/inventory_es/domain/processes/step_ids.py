"""Ids of the steps of a process, derived from the process, the line and the step, so that each step is idempotent.

``order:line`` is the reservation of a line, ``order:line:g2`` its successor where it lapsed, and ``order:line:step`` the command of
a later step. A host's id inside a step's id has its ``:`` and ``%`` encoded, so that no two steps share an id.
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
    """Return the id of a process: an identifier that is short enough to be part of a step's id.

    Raises:
        InvalidIdentifierError: ``value`` is something else. The error has ``name``.
    """
    return _short(name, value, MAX_PROCESS_ID)


def part_id(name: str, value: str | UUID) -> str:
    """Return the id of a part of a process, such as a shipment or a receipt; see :func:`process_id`."""
    return _short(name, value, MAX_STEP_ID)


def step_id(process: str, *parts: str | int) -> str:
    """Return the id of a step: its parts joined by ``:``."""
    return ":".join((encoded(process), *map(str, parts)))


def process_of(category: str, reference: str | None) -> str | None:
    """Return the process of a category that the reference of a movement names; ``None`` for a reference of the host.

    Steps write the text of the process's stream as the reference of each movement.
    """
    if reference is None or not reference.startswith(f"{category}-"):
        return None
    try:
        (part,) = StreamId.parse(reference).parts
        return process_id("reference", part)
    except ValueError:  # also where there are more parts than one
        return None


def encoded(text: str) -> str:
    """Return an id as it is written inside a step's id."""
    return text.replace("%", "%25").replace(":", "%3a") if "%" in text or ":" in text else text


def _short(name: str, value: str | UUID, longest: int) -> str:
    text = identifier(name, value)
    if len(encoded(text)) > longest:
        problem = f"must have at most {longest} characters (':' and '%' count for three): it stands inside the ids of steps"
        raise InvalidIdentifierError(name=name, problem=problem)
    return text
