"""What the simulation of feed partitions and cells holds."""

import pytest

from benchmarks.contender_line import ROOT
from benchmarks.processes.partitions import GROUPINGS, MEASURED, Costs, Grouping, check, simulate


def rate(grouping: Grouping, partitions: int, *, cells: int = 1, hot: float = 0.0) -> float:
    return simulate(
        grouping,
        partitions=partitions,
        processes=4 * cells,
        callers=256 * cells,
        cells=cells,
        hot=hot,
        seconds=0.1,
        costs=Costs(),
    )


@pytest.mark.parametrize("partitions, connections, events, measured", MEASURED)
def test_the_model_is_within_two_fifths_of_each_measured_rate(partitions: int, connections: int, events: int, measured: int) -> None:
    costs = Costs(cores=2, connections=1, is_shared=True, forward=0.0)
    grouping: Grouping = "together" if partitions == 1 else "owned"
    told = simulate(grouping, partitions=partitions, processes=connections, callers=connections * events, costs=costs)
    assert told == pytest.approx(measured, rel=0.4)


def test_the_page_has_the_check_of_the_model_as_it_is_now() -> None:
    page = (ROOT / "docs" / "benchmarks" / "partitions.md").read_text(encoding="utf-8")
    assert "\n".join(check()) in page


@pytest.mark.parametrize("grouping", GROUPINGS)
def test_a_run_repeats_exactly(grouping: Grouping) -> None:
    assert rate(grouping, 16) == rate(grouping, 16) > 0


def test_partitions_help_until_the_groups_are_small() -> None:
    assert rate("by partition", 4) > 1.5 * rate("by partition", 1)
    assert rate("by partition", 1_024) < rate("by partition", 16)


def test_owned_partitions_keep_their_groups() -> None:
    assert rate("owned", 1_024) > 0.9 * rate("owned", 16)


def test_one_append_over_all_partitions_gains_nothing() -> None:
    assert rate("together", 64) == pytest.approx(rate("together", 1), rel=0.1)


def test_cells_add_up_and_a_hot_product_stays_in_one() -> None:
    assert rate("owned", 64, cells=4) > 3.5 * rate("owned", 64)
    assert rate("owned", 64, cells=4, hot=1.0) < 2 * rate("owned", 64, hot=1.0)  # of four times the callers
