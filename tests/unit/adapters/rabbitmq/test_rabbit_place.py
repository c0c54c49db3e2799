"""Places of RabbitMQ servers, by URL."""

import pytest

from inventory_es.adapters.rabbitmq.connection import RabbitError, RabbitPlace


def place(url: str) -> RabbitPlace:
    return RabbitPlace.parse(url, timeout=5)


def test_a_url_says_everything() -> None:
    found = place("amqps://us%65r:p%40ss@[::1]:5000/shop%2F1?prefix=shop-1&timeout=0.2&ca=FILE")
    assert (found.host, found.port, found.vhost, found.username, found.password) == ("::1", 5000, "shop/1", "user", "p@ss")
    assert (found.is_encrypted, found.ca, found.prefix, found.timeout) == (True, "FILE", "shop-1", 0.2)


def test_what_a_url_leaves_out_has_its_default() -> None:
    found = place("amqp://host")
    assert (found.port, found.vhost, found.username, found.password, found.is_encrypted) == (5672, "/", "guest", "guest", False)
    assert (found.prefix, found.timeout, place("amqps://host").port) == ("inventory_es", 5, 5671)


def test_no_text_of_a_place_has_its_password() -> None:
    found = place("amqp://user:s3cret@host")
    assert str(found) == "host:5672, virtual host /, prefix inventory_es"
    assert "s3cret" not in repr(found)
    assert "user" not in repr(found)


@pytest.mark.parametrize(
    "url",
    [
        "amqp:host",
        "amqp://",
        "amqp://u:s3cret@",
        "rabbitmq://u:s3cret@host",
        "amqp://u:s3cret@host/a/b",
        "amqp://u:s3cret@host:70000",
        "amqp://u:s3cret@host:port",
        "amqp://u:s3cret@host?prefix=a.b",
        "amqp://u:s3cret@host?prefix=amq",
        "amqp://u:s3cret@host?timeout=0",
        "amqp://u:s3cret@host?ca=FILE",
        "amqp://u:s3cret@host?heartbeat=1",
    ],
)
def test_a_wrong_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ValueError, match="amqp") as refused:
        place(url)
    assert "s3cret" not in str(refused.value)


def test_a_file_of_an_authority_that_is_missing_is_named() -> None:
    with pytest.raises(RabbitError, match="certificate authority /no/file: No such file") as refused:
        place("amqps://host?ca=/no/file").client(10)
    assert refused.value.remedy == "give the file of the server's certificate authority in the URL: ca=FILE"
