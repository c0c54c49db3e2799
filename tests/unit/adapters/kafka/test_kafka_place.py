"""What the URL of a Kafka cluster says, the state in a commit, and when a bus is durable."""

import pytest
from confluent_kafka import TopicPartition

from inventory_es.adapters.kafka.member import Held, claim_of
from inventory_es.adapters.kafka.place import KafkaPlace, is_durable
from inventory_es.ports.toolkit.broker import Claim


def place(url: str) -> KafkaPlace:
    return KafkaPlace.parse(url, timeout=5, own={"shards"})


def test_a_url_names_servers_credentials_and_options() -> None:
    found = place("kafka://us%65r:p%40ss@one:4000,two,[::1]:5?prefix=shop-1&timeout=0.2&tls=yes&sasl=SCRAM-SHA-512&shards=3")
    assert (found.hosts, found.username, found.password) == (("one:4000", "two:9092", "[::1]:5"), "user", "p@ss")
    assert (found.log, found.letters, found.timeout, found.options) == ("shop-1.log", "shop-1.letters", 0.2, {"shards": "3"})
    settings = found.settings()
    assert (settings["security.protocol"], settings["sasl.mechanism"], settings["sasl.password"]) == ("SASL_SSL", "SCRAM-SHA-512", "p@ss")


def test_a_plain_url_has_the_defaults() -> None:
    settings = place("kafka://host").settings()
    assert (settings["bootstrap.servers"], settings["security.protocol"]) == ("host:9092", "PLAINTEXT")
    assert "sasl.password" not in settings
    assert "ssl.ca.location" not in settings
    assert place("kafka://host?ca=FILE").settings()["ssl.ca.location"] == "FILE"


def test_no_text_shows_the_password() -> None:
    found = place("kafka://user:s3cret@host")
    assert "s3cret" not in f"{found} {found!r}"


@pytest.mark.parametrize(
    "url",
    [
        "kafka:host",
        "kafka://u:s3cret@",
        "kafka://u:s3cret@one,,two",
        "kafka://u:s3cret@host/topic",
        "kafka://u:s3cret@host:70000",
        "kafka://u:s3cret@host?prefix=a.b",
        "kafka://u:s3cret@host?timeout=0",
        "kafka://u:s3cret@host?tls=no&ca=FILE",
        "kafka://u:s3cret@host?sasl=GSSAPI",
        "kafka://s3cret@host",
        "kafka://host?sasl=PLAIN",
        "kafka://u:s3cret@host?lease=1",
    ],
)
def test_a_wrong_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ValueError, match=r"kafka|SASL") as refused:
        place(url)
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    "replicas,in_sync,unclean,durable",
    [(1, 1, False, False), (3, 1, False, False), (2, 2, False, False), (3, 2, True, False), (3, 2, False, True)],
)
def test_durable_needs_two_servers_and_one_to_spare(replicas: int, in_sync: int, unclean: bool, durable: bool) -> None:
    assert is_durable(replicas, in_sync, is_unclean=unclean) is durable


def test_the_largest_state_of_a_shard_fits_into_the_metadata_of_a_commit() -> None:
    """A hundred events have no answer, a hundred letters came again, and half of the 10,000 places above them are settled, as random."""
    low = 1 << 40
    settled = frozenset(low + 2 + place for place in range(10_000) if place * 2_654_435_761 >> 7 & 1)
    waiting = [low + 1 + place for place in range(10_001) if low + 1 + place not in settled][:100]
    deliveries = {place: 1 + place % 5 for place in waiting} | {-(low + place * 977): 2 for place in range(100)}
    held = Held(Claim("g", 1, "token", 0, frozenset(), {}), low, settled, deliveries)
    assert len(held.metadata()) <= 4_096
    found = claim_of("g", 1, TopicPartition("log", 1, low, metadata=held.metadata()))
    assert (found.low, found.settled, found.deliveries) == (low, settled, deliveries)
