"""A short share of the requests that are made from the schema. More of them: ``python -m tests.hosts.fuzz --examples N``."""

from pathlib import Path

from tests.hosts.fuzz import fuzz
from tests.hosts.shop_server import shop_server


def test_the_service_answers_as_its_schema_says(tmp_path: Path) -> None:
    with shop_server(tmp_path) as url:
        requests, _ = fuzz(url, tmp_path, "--phases", "examples,fuzzing", "--max-examples", "4")
    assert requests >= 100
