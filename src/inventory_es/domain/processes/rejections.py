"""Rejections of processes of every kind. Nothing was appended."""

from inventory_es.domain.errors import NotFoundError, RefusedError
from inventory_es.domain.stream_id import StreamId


class ProcessNotFoundError(NotFoundError):
    """Nothing ever happened to a process of this id."""

    process: StreamId

    code = "process_not_found"
    sentence = "{process} was never begun: check the id"


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
    sentence = "{process} is {status}, which leaves no room for {command}: read its state, and decide again"


class ProcessIdReusedError(RefusedError):
    """An id (of the process, a shipment, a receipt) was used before in this process, for something else. An id is used once, for ever."""

    process: StreamId
    reused_id: str

    code = "process_id_reused"
    sentence = "id {reused_id!r} was used before in {process} for something else: choose a new id"


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
    sentence = "{process} has {remaining} of {inventory} left, not {requested}: ask for less"
