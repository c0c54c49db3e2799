"""A replay that is killed comes to the same totals, whenever it is killed."""

from pathlib import Path

import pytest

from tests.integration.killed_replays import kill_again_and_again


@pytest.mark.parametrize("seed", [1, 2])
def test_a_killed_replay_comes_to_the_same(seed: int, tmp_path: Path) -> None:
    assert kill_again_and_again(tmp_path / "replay", seed) > 3
