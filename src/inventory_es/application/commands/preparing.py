"""What must be known or done before a state can decide: old counts, and a backlog of due reservations."""

from collections.abc import Iterable
from datetime import datetime

from inventory_es.application.commands.decision import decide_request, time_for
from inventory_es.application.commands.requests import CommandRequest
from inventory_es.application.commands.tools import Tools
from inventory_es.application.commands.warm_states import WarmState
from inventory_es.application.context import CommandContext
from inventory_es.domain.commands import ExpireReservations, RecordCount
from inventory_es.domain.inventory import Inventory
from inventory_es.ports import StreamWrite


def is_prepared(tools: Tools, inventory: Inventory, requests: Iterable[CommandRequest], at: datetime) -> bool:
    """Whether the requests can be decided at ``at`` as they stand: none is to be looked up, and :func:`prepare` has nothing to do."""
    for request in requests:
        if request.look_up or type(request.command) is RecordCount:
            return False
    return not has_backlog(tools, inventory, at)


async def prepare(tools: Tools, state: WarmState, requests: Iterable[CommandRequest]) -> None:
    """Bring in what the requests need before they can be decided on ``state``.

    Raises:
        ConcurrencyError, AppendOutcomeUnknownError: while closing a backlog of due reservations; refresh the state and try again.
    """
    for request in requests:
        if not isinstance(request.command, ExpireReservations):
            await _close_backlog(tools, state, request.happened_at)
            break
    for request in requests:
        command = request.command
        if not isinstance(command, RecordCount) or command.observed_version > state.inventory.version:
            continue
        if command.observed_version == state.inventory.version:
            request.observed_on_hand = state.inventory.units_on_hand
        else:
            observed = await tools.reader.at_version(command.inventory_id.stream, command.observed_version)
            request.observed_on_hand = 0 if observed is None else tools.reader.event(observed).on_hand


async def _close_backlog(tools: Tools, state: WarmState, happened_at: datetime | None) -> None:
    """Close due reservations chunk by chunk, each an append of its own, until one chunk is left for the command itself.

    Nothing is done where closing is refused, as it is by a clock that stands behind: each command meets the same refusal.
    """
    inventory = state.inventory
    while True:
        now = tools.clock.now() if happened_at is None else happened_at
        at = time_for(inventory, now)
        if not has_backlog(tools, inventory, at):
            return
        command = ExpireReservations(inventory_id=inventory.inventory_id, command_id=tools.ids.new_id(), limit=tools.expiry_chunk)
        sweep = CommandRequest(command, named=False, expected_version=None, context=CommandContext(), happened_at=happened_at)
        version, savepoint = inventory.version, inventory.savepoint()
        decided = decide_request(tools, state, sweep, now=now, at=at)
        if decided.refusal is not None:
            return
        try:
            result = await tools.committer.append((StreamWrite(inventory.inventory_id.stream, version, decided.drafted),))
        except BaseException:
            inventory.rollback(savepoint)
            raise
        inventory.settle()
        state.position = result.position


def has_backlog(tools: Tools, inventory: Inventory, at: datetime) -> bool:
    """Whether more is due at ``at`` than a command may close on its way."""
    chunk = tools.expiry_chunk
    if inventory.open_count <= chunk or not inventory.due(at, limit=1):
        return False
    return len(inventory.due(at, limit=chunk + 1)) > chunk
