"""The state diagrams match the tables: every state and every event with another state is drawn."""

import re
from pathlib import Path
from typing import Any

import pytest

from inventory_es.domain.processes.transfer import transfer as transfers

DOCS = Path(__file__).parents[2] / "docs"
GRID = re.compile(r"(?ms)^```\{state-diagram\} (\S+)\n(.*?)^```")


@pytest.mark.parametrize("table", [transfers])
def test_the_grid_of_the_page_names_the_states_of_the_table(table: Any) -> None:
    grids = {name: grid for page in DOCS.rglob("*.md") for name, grid in GRID.findall(page.read_text(encoding="utf-8"))}
    states = {status.value for (status, _), leads_to in table.TRANSITIONS.items() for status in (status, *leads_to)}
    assert set(grids[table.__name__].split()) - {"."} == states
