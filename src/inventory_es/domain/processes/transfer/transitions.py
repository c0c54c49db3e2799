"""Which event may follow in which state, and where it leads: the table that transfers are folded by, and drawn from."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from inventory_es.domain.processes.transfer.events import (
    TransferBookedEvent,
    TransferClosedEvent,
    TransferDispatchCommittedEvent,
    TransferDispatchedEvent,
    TransferDraftedEvent,
    TransferLostEvent,
    TransferReceivedEvent,
    TransferReleasedEvent,
    TransferReservedEvent,
    TransferReturnedEvent,
    TransferWithdrawnEvent,
)
from inventory_es.domain.processes.transfer.status import TransferStatus as S

TRANSITIONS: Mapping[tuple[S, type[Any]], tuple[S, ...]] = MappingProxyType(
    {
        (S.NEW, TransferDraftedEvent): (S.DRAFT,),
        (S.DRAFT, TransferReservedEvent): (S.RESERVED,),
        (S.DRAFT, TransferWithdrawnEvent): (S.DRAFT,),
        (S.DRAFT, TransferReleasedEvent): (S.REJECTED, S.CANCELLED),
        (S.RESERVED, TransferDispatchedEvent): (S.RESERVED,),
        (S.RESERVED, TransferDispatchCommittedEvent): (S.DISPATCHED,),
        (S.RESERVED, TransferWithdrawnEvent): (S.RESERVED,),
        (S.RESERVED, TransferReleasedEvent): (S.CANCELLED,),
        (S.DISPATCHED, TransferReceivedEvent): (S.DISPATCHED,),
        (S.DISPATCHED, TransferReturnedEvent): (S.DISPATCHED,),
        (S.DISPATCHED, TransferLostEvent): (S.DISPATCHED,),
        (S.DISPATCHED, TransferBookedEvent): (S.DISPATCHED,),
        (S.DISPATCHED, TransferClosedEvent): (S.CLOSED,),
    }
)
"""From a state and an event to the states that it may lead to; where there are several, the event says which."""
