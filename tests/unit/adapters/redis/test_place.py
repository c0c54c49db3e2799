"""Places of Redis servers, by URL."""

from typing import Any

import pytest

from inventory_es.adapters.redis.connection import RedisPlace


def place(url: str) -> RedisPlace:
    return RedisPlace.parse(url, timeout=0.05)


def test_a_url_names_everything() -> None:
    found = place("rediss://us%65r:p%40ss@host:7000/3?prefix=shop-1&timeout=0.2&ca=/etc/ca.pem")
    assert (found.host, found.port, found.database, found.prefix, found.timeout) == ("host", 7000, 3, "shop-1", 0.2)
    assert (found.username, found.password, found.is_encrypted, found.ca) == ("user", "p@ss", True, "/etc/ca.pem")


def test_the_least_url_has_defaults() -> None:
    found = place("redis://host")
    assert (found.port, found.database, found.prefix, found.timeout, found.is_cluster) == (6379, 0, "inventory_es", 0.05, False)
    assert (found.username, found.password, found.is_encrypted) == (None, None, False)


def test_no_text_of_a_place_has_its_password() -> None:
    found = place("redis://user:s3cret@host/0")
    assert str(found) == "host:6379/0, prefix inventory_es"
    assert "s3cret" not in repr(found)
    assert "user" not in repr(found)


@pytest.mark.parametrize(
    "url",
    [
        "redis:host",
        "redis:///0",
        "amqp://u:s3cret@host",
        "redis://u:s3cret@host/x",
        "redis://u:s3cret@host/0/1",
        "redis://u:s3cret@host/-1",
        "redis://u:s3cret@host:70000/0",
        "redis://u:s3cret@host:port/0",
        "redis://u:s3cret@host/1?cluster=yes",
        "redis://u:s3cret@host?cluster=true",
        "redis://u:s3cret@host?prefix=a:b",
        "redis://u:s3cret@host?prefix=a*",
        "redis://u:s3cret@host?timeout=0",
        "redis://u:s3cret@host?timeout=soon",
        "redis://u:s3cret@host?timeout=nan",
        "redis://u:s3cret@host?socket_timeout=1",
        "redis://u:s3cret@host?ca=/etc/ca.pem",
        "redis://u:s3cret@[host",
        "redis://u:s3cret@ho\u2100st",
        "redis:u:s3cret@host",
        "redis://host:s3cret",
    ],
)
def test_a_wrong_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ValueError, match=r"redis|amqp") as refused:
        place(url)
    assert "s3cret" not in str(refused.value)


def test_tls_checks_the_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr("redis.Redis", lambda **settings: given.update(settings))
    place("rediss://host?ca=/ca.pem").connect()
    assert (given["ssl"], given["ssl_cert_reqs"], given["ssl_ca_certs"]) == (True, "required", "/ca.pem")
