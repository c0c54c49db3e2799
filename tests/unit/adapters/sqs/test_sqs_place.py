"""Places of buses on SQS, by URL."""

import subprocess
import sys

import pytest

from inventory_es.adapters.sqs.place import SqsPlace


def place(url: str) -> SqsPlace:
    return SqsPlace.parse(url, timeout=5, lease=30, poll=0.5)


def test_a_url_says_everything() -> None:
    found = place("sqs://eu-central-1?endpoint=http://127.0.0.1:4566&prefix=shop_1&lease=60&poll=0.1&timeout=0.2")
    assert found == SqsPlace("eu-central-1", "http://127.0.0.1:4566", "shop_1", 0.2, 60, 0.1)
    assert str(found) == "http://127.0.0.1:4566, prefix shop_1"


def test_what_a_url_leaves_out_has_its_default() -> None:
    found = place("sqs://eu-central-1")
    assert found == SqsPlace("eu-central-1", None, "inventory_es", 5, 30, 0.5)
    assert str(found) == "eu-central-1, prefix inventory_es"


@pytest.mark.parametrize(
    "url",
    [
        "sqs:eu-central-1",
        "sqs://",
        "sqs://AKIA:s3cret@eu-central-1",
        "sqs://eu-central-1/queue",
        "sqs://eu-central-1:443",
        "sqs://host.of.a.server",
        "sqs://eu-central-1?prefix=a-b",
        "sqs://eu-central-1?prefix=aaaaaaaaaabbbbbbbbbbccccccccccd",
        "sqs://eu-central-1?lease=0",
        "sqs://eu-central-1?lease=1.5",
        "sqs://eu-central-1?lease=3601",
        "sqs://eu-central-1?poll=0",
        "sqs://eu-central-1?poll=often",
        "sqs://eu-central-1?timeout=0",
        "sqs://eu-central-1?shards=2",
        "sqs://eu-central-1?endpoint=127.0.0.1:4566",
        "sqs://eu-central-1?endpoint=http:%2F%2FAKIA:s3cret%40host",
    ],
)
def test_a_wrong_url_is_refused_without_credentials(url: str) -> None:
    with pytest.raises(ValueError, match="sqs") as refused:
        place(url)
    assert "s3cret" not in str(refused.value)


def test_the_driver_is_imported_when_the_bus_is_opened_and_not_before() -> None:
    program = "import sys, inventory_es.adapters.sqs as sqs; sqs.bus_at('sqs://eu-central-1', None); sys.exit('botocore' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
