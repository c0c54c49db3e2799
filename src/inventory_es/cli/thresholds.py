"""From which available figure on a product is low: one number for all, others for some."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import attrs
import click

_COLUMNS = ("product_id", "threshold")


@attrs.frozen
class Thresholds:
    """Units available at which a product is low.

    Attributes:
        usual: of every product without one of its own, 0 or more.
        own: by product id.
    """

    usual: int
    own: Mapping[str, int] = attrs.field(factory=dict[str, int])

    def of(self, product_id: str) -> int:
        """The one that holds for a product."""
        return self.own.get(product_id, self.usual)


def read_thresholds(path: Path) -> dict[str, int]:
    """The thresholds of a CSV file in UTF-8 with the columns ``product_id`` and ``threshold``.

    Raises:
        click.BadParameter: a line makes no sense; it says which.
    """
    found: dict[str, int] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file, strict=True)
            missing = [name for name in _COLUMNS if name not in (table.fieldnames or ())]
            if missing:
                _refuse(path, 1, f"column {missing[0]} is missing")
            for row in table:
                product, threshold = row["product_id"], (row["threshold"] or "").strip()
                if not product or product in found:
                    _refuse(path, table.line_num, "product_id is twice" if product else "product_id is empty")
                if not (threshold.isascii() and threshold.isdigit() and len(threshold) <= 15):
                    _refuse(path, table.line_num, "threshold must be a whole number of 0 or more")
                found[product] = int(threshold)
    except csv.Error as problem:
        _refuse(path, len(found) + 2, str(problem))
    except UnicodeDecodeError:
        msg = f"{path}: it is not UTF-8"
        raise click.BadParameter(msg) from None
    return found


def _refuse(path: Path, line: int, reason: str) -> NoReturn:
    msg = f"{path}:{line}: {reason}"
    raise click.BadParameter(msg)
