"""Places of NATS servers, by URL."""

import pytest

from inventory_es.adapters.nats.connection import NatsPlace


def place(url: str) -> NatsPlace:
    return NatsPlace.parse(url, timeout=5)


def test_a_url_names_everything() -> None:
    found = place("nats://us%65r:p%40ss@one:4000,two,[::1]:5?prefix=shop-1&timeout=0.2&tls=yes")
    assert (found.hosts, found.prefix, found.timeout) == (("one:4000", "two:4222", "[::1]:5"), "shop-1", 0.2)
    assert (found.username, found.password, found.token, found.is_encrypted) == ("user", "p@ss", None, True)


def test_the_least_url_has_defaults() -> None:
    found = place("nats://host")
    assert (found.hosts, found.prefix, found.timeout, found.is_encrypted, found.ca) == (("host:4222",), "inventory_es", 5, False, None)
    assert (found.username, found.password, found.token) == (None, None, None)


def test_a_user_without_a_password_is_a_token() -> None:
    found = place("nats://s3cret%2B@host/")
    assert (found.username, found.password, found.token) == (None, None, "s3cret+")


@pytest.mark.parametrize("url", ["nats://user:s3cret@host", "nats://s3cret@host"])
def test_no_text_of_a_place_has_its_password(url: str) -> None:
    found = place(url)
    assert str(found) == "host:4222, prefix inventory_es"
    assert "s3cret" not in repr(found)
    assert "user" not in repr(found)


@pytest.mark.parametrize(
    "url",
    [
        "nats:host",
        "nats://",
        "nats://u:s3cret@",
        "nats://u:s3cret@one,,two",
        "tls://u:s3cret@host",
        "nats://u:s3cret@host/stream",
        "nats://u:s3cret@host:70000",
        "nats://u:s3cret@host:port",
        "nats://u:s3cret@host?prefix=a.b",
        "nats://u:s3cret@host?prefix=a*",
        "nats://u:s3cret@host?timeout=0",
        "nats://u:s3cret@host?timeout=nan",
        "nats://u:s3cret@host?tls=no&ca=FILE",
        "nats://u:s3cret@host?tls=1",
        "nats://u:s3cret@host?lease=1",
    ],
)
def test_a_wrong_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ValueError, match=r"nats|tls") as refused:
        place(url)
    assert "s3cret" not in str(refused.value)


def test_tls_checks_the_certificate() -> None:
    context = place("nats://host?tls=yes").settings()["tls"]
    assert (context.check_hostname, context.verify_mode.name) == (True, "CERT_REQUIRED")
    assert place("nats://host?tls=yes").settings()["servers"] == ["tls://host:4222"]
    assert "tls" not in place("nats://host").settings()
