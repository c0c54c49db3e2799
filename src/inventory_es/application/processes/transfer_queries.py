"""Questions about transfers: where each stands, what is incoming where, and what should have arrived by now."""

from datetime import UTC, datetime, timedelta

import attrs

from inventory_es.application.projections.transfers import INCOMING, NEVER, TRANSFERS, transfers
from inventory_es.application.query_results import Place, QueryPage
from inventory_es.application.questions import Questions, open_questions
from inventory_es.domain.processes.transfer.events import TransferStatus
from inventory_es.ports import ReadModel

_NEVER = datetime.fromisoformat(NEVER)


def _known(due_at: datetime) -> datetime | None:
    return None if due_at == _NEVER else due_at


@attrs.frozen(kw_only=True)
class TransferRow:
    """A transfer as it stands.

    Attributes:
        transfer_id: which.
        status: its state.
        since: when it came into it.
        source_store_id: where the goods were.
        destination_store_id: where they are wanted.
        lines: how many products.
        units: how many units in all.
        in_transit: units under way.
        lost: units that will arrive nowhere.
        drafted_at: when it was drafted.
        dispatched_at: when its goods left; ``None`` before.
        due_at: when they should arrive; ``None`` where nobody said.
        version: of the transfer's stream, at the event that the row shows.
        position: of that event in the store.
        recorded_at: when it happened, UTC.
    """

    transfer_id: str
    status: TransferStatus = attrs.field(converter=TransferStatus)
    since: datetime
    source_store_id: str
    destination_store_id: str
    lines: int
    units: int
    in_transit: int
    lost: int
    drafted_at: datetime
    dispatched_at: datetime | None
    due_at: datetime | None = attrs.field(converter=_known)
    version: int
    position: int
    recorded_at: datetime


@attrs.frozen(kw_only=True)
class IncomingRow:
    """Units of a product that are under way to a store.

    Attributes:
        transfer_id: by which transfer.
        line: its number there.
        product_id: what.
        source_store_id: from where.
        destination_store_id: where to.
        in_transit: how many.
        due_at: when they should arrive; ``None`` where nobody said.
        position: of the event that last moved the line.
        recorded_at: when that happened, UTC.
    """

    transfer_id: str
    line: int
    product_id: str
    source_store_id: str
    destination_store_id: str
    in_transit: int
    due_at: datetime | None = attrs.field(converter=_known)
    position: int
    recorded_at: datetime


class TransferQueries:
    """Eventual reads of transfers. Opened by :func:`open_transfer_queries`.

    Rows are as old as the runner of their projection is behind; see :class:`~inventory_es.application.queries.StockQueries`, whose
    errors they have.

    Args:
        questions: to the projection of transfers.
    """

    def __init__(self, questions: Questions) -> None:
        self._ask = questions.ask

    async def transfer(self, transfer_id: str, *, wait_for_position: int = 0) -> TransferRow | None:
        """Where one transfer stands; ``None`` where it was never drafted."""
        page = await self._ask("transfers", TRANSFERS, TransferRow, {"transfer_id": transfer_id}, 1, wait_for_position)
        return page.rows[0] if page.rows else None

    async def transfers(
        self, status: TransferStatus | str, *, after: Place | None = None, limit: int = 100, wait_for_position: int = 0
    ) -> QueryPage[TransferRow]:
        """The transfers in a state, those first that have been in it for longest. ``DISPATCHED`` is what is in transit."""
        where = {"status": TransferStatus(status).value}
        return await self._ask("transfers", TRANSFERS, TransferRow, where, limit, wait_for_position, order=("since",), after=after)

    async def overdue(
        self, at: datetime, *, after: Place | None = None, limit: int = 100, wait_for_position: int = 0
    ) -> QueryPage[TransferRow]:
        """The transfers whose goods are under way and should have arrived by ``at``, in UTC, those first that are latest.

        Raises:
            ValueError: ``at`` is no aware datetime in UTC.
        """
        if not isinstance(at, datetime) or at.utcoffset() != timedelta(0):
            msg = "at must be an aware datetime in UTC"
            raise ValueError(msg)
        where = {"status": TransferStatus.DISPATCHED.value}
        page = await self._ask("transfers", TRANSFERS, TransferRow, where, limit, wait_for_position, order=("due_at",), after=after)
        late = tuple(row for row in page.rows if row.due_at is not None and row.due_at <= at.astimezone(UTC))
        return attrs.evolve(page, rows=late, next_after=page.next_after if len(late) == len(page.rows) else None)

    async def incoming(
        self,
        destination_store_id: str,
        product_id: str | None = None,
        *,
        after: Place | None = None,
        limit: int = 100,
        wait_for_position: int = 0,
    ) -> QueryPage[IncomingRow]:
        """What is under way to a store, of one product or of all, soonest first."""
        where = {"destination_store_id": destination_store_id} | ({} if product_id is None else {"product_id": product_id})
        return await self._ask("transfers", INCOMING, IncomingRow, where, limit, wait_for_position, order=("due_at",), after=after)


async def open_transfer_queries(read_model: ReadModel, *, patience: float = 5.0, interval: float = 0.01) -> TransferQueries:
    """Ask the read model of the shipped projection of transfers; see :func:`~inventory_es.application.queries.open_queries`.

    Args:
        read_model: where the rows are; it stays the caller's to close.
        patience: the longest wait for a position, in seconds, 0 or more.
        interval: between two looks at the checkpoint while waiting, in seconds, above 0.

    Raises:
        IncompatibleStoreError: the active version has other tables.
        ReadModelUnavailableError: the read model is away.
        CorruptStoreError: the read model is damaged.
        ValueError: ``patience`` or ``interval`` out of range.
    """
    return TransferQueries(await open_questions(read_model, (transfers(),), patience=patience, interval=interval))
