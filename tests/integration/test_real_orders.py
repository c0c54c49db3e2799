"""Real orders through the whole read side: every balance equals a fold and a count of the file, now and at three dates."""

from functools import partial
from pathlib import Path

import anyio
import pytest

from tests.integration.made_up_orders import SAMPLES, made_up_rows, write_orders
from tests.integration.real_orders import PROJECTIONS, check
from tests.integration.replaying import store_url

DAY = [path for path in SAMPLES if path.suffix == ".csv"]


@pytest.mark.parametrize("path", DAY or [None], ids=lambda path: path.name if path else "no sample data")
@pytest.mark.parametrize("scheme", ["sqlite", "postgresql"])
def test_every_balance_equals_a_fold_and_a_count_of_the_file(path: Path | None, scheme: str, tmp_path: Path) -> None:
    path = path or write_orders(tmp_path / "orders.csv", made_up_rows(100, invoices=120))
    with store_url(scheme, tmp_path) as url:
        figures = anyio.run(partial(check, path, url, past=40))
    assert figures.balances > 0
    assert figures.past_balances == 3 * min(40, figures.balances)
    assert figures.seconds.keys() == {projection.projection_id.name for projection in PROJECTIONS}
