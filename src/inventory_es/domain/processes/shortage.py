"""Why a line of a process could not be had."""

import attrs


@attrs.frozen
class LineShortage:
    """Why a line could not be had.

    Attributes:
        line: its number.
        product_id: what.
        store_id: where.
        requested: units asked for.
        available: units that were free; ``None`` where it was refused for another reason.
        code: of the error that refused it.
    """

    line: int
    product_id: str
    store_id: str
    requested: int
    available: int | None
    code: str

    @property
    def units(self) -> int | None:
        """Units that lacked; ``None`` where the line was refused for another reason."""
        return None if self.available is None else self.requested - self.available
