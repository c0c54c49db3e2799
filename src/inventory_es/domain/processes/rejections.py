"""What a process refuses, whatever its kind. Nothing was appended."""

import attrs

from inventory_es.domain.errors import NotFoundError, RefusedError
from inventory_es.domain.stream_id import StreamId


@attrs.define(slots=False, eq=False, str=False, kw_only=True)
class ProcessNotFoundError(NotFoundError):
    """Nothing ever happened to a process of this id."""

    process: StreamId

    code = "process_not_found"

    @property
    def message(self) -> str:
        """One sentence for a person, derived from the facts."""
        return f"{self.process} was never begun: check the id"


@attrs.define(slots=False, eq=False, str=False, kw_only=True)
class ProcessStateError(RefusedError):
    """The process is in a state in which this can't be done.

    Attributes:
        status: the state's name.
        command: what was asked.
    """

    process: StreamId
    status: str
    command: str

    code = "process_state"

    @property
    def message(self) -> str:
        """One sentence for a person, derived from the facts."""
        return f"{self.process} is {self.status}, which leaves no room for {self.command}: read its state, and decide again"


@attrs.define(slots=False, eq=False, str=False, kw_only=True)
class ProcessIdReusedError(RefusedError):
    """An id (of the process, a shipment, a receipt) was used before in this process, for something else. An id is used once, for ever."""

    process: StreamId
    reused_id: str

    code = "process_id_reused"

    @property
    def message(self) -> str:
        """One sentence for a person, derived from the facts."""
        return f"id {self.reused_id!r} was used before in {self.process} for something else: choose a new id"


@attrs.define(slots=False, eq=False, str=False, kw_only=True)
class QuantityExceedsProcessError(RefusedError):
    """More units than the process still has to move.

    Attributes:
        inventory: of which line.
        requested: units asked for.
        remaining: units left; 0 also for an inventory that is none of the process's.
    """

    process: StreamId
    inventory: StreamId
    requested: int
    remaining: int

    code = "quantity_exceeds_process"

    @property
    def message(self) -> str:
        """One sentence for a person, derived from the facts."""
        return f"{self.process} has {self.remaining} of {self.inventory} left, not {self.requested}: ask for less"
