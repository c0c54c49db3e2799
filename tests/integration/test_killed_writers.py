"""Writers of one file store are killed at random: nothing acknowledged is lost, and the merged history is linearizable."""

from functools import partial
from pathlib import Path

import anyio

from tests.contract.test_file_event_store import TestFileEventStore as FileContract
from tests.integration.killed_writers import WRITERS, torture


def test_four_writers_are_killed_at_random(tmp_path: Path, backend: str) -> None:
    counts = anyio.run(partial(torture, FileContract(), tmp_path, rounds=3, seed=7, backend=backend), backend=backend)
    print(counts)
    assert counts["kills"] == 3 * WRITERS
    assert counts["acknowledged"] > 0
    assert counts["conflicts"] > 0
