"""Projections, relay and sweeper are killed at random: nothing is lost, nothing counts twice, nothing stays due."""

from pathlib import Path

from tests.integration.killed_read_side import torture


def test_two_processes_are_killed_at_random(tmp_path: Path, backend: str) -> None:
    counts = torture(tmp_path, rounds=2, seed=7, backend=backend)
    print(counts)
    assert counts["killed"] == 4
    assert counts["published"] >= counts["events"] > 50
