"""URLs of backends on a network: options, and texts without passwords."""

import pytest

from inventory_es.ports.toolkit.urls import masked, name_of, options_of, split_url


@pytest.mark.parametrize(
    "url",
    [
        "redis://:s3cret@host:6379/0",
        "redis://user:s3cret@host/0?prefix=x",
        "rediss://user:s3cr%40et@host",
        "nats://s3cret@host",
        "amqp://user:s3cret@host/vhost?prefix=x",
        "redis://host/0?password=s3cret&prefix=x",
        "redis://host/0?prefix=x&auth_token=s3cret",
        "redis://host/0?pwd=s3cret",
        "redis://host/0?s3cret",
        "redis://host/0?s3cret@x=1",
        "redis://user:s3cret@one@host/0",
        "redis://user:x/s3cr?s3cr#s3cr@host/0",
        "redis:user:s3cret@host/0",
        "redis:s3cret@host/0",
        "redis:/user:s3cret@host/0",
        "user:s3cret@host/0",
        "postgresql:user:s3cret@host/db",
        "redis://host:s3cret",
        "redis://host:s3cret/0",
        "redis://host:6379s3cret",
    ],
)
def test_a_masked_url_has_no_secret_and_keeps_its_host(url: str) -> None:
    assert "s3cr" not in masked(url)
    assert "host" in masked(url) or "s3cret@x" in url


def test_a_masked_url_keeps_its_place_and_the_names_of_its_options() -> None:
    assert masked("redis://host:6379/0") == "redis://host:6379/0"
    assert masked("redis://[::1]:6379/0") == "redis://[::1]:6379/0"
    assert masked("redis://user:s3cret@host:6379/0?prefix=x&timeout=2&y") == "redis://***@host:6379/0?prefix=***&timeout=***&***"
    assert masked("file:stock") == "file:stock"
    assert masked("sqlite:stock.db?") == "sqlite:stock.db?***"


def test_the_name_of_an_open_place_has_its_prefix() -> None:
    assert name_of("redis://user:s3cret@host:6379/0?timeout=2&prefix=shop.2") == "redis://***@host:6379/0?timeout=***&prefix=shop.2"
    assert name_of("redis://host/0?timeout=2") == "redis://host/0?timeout=***"
    assert name_of("redis://host/0?prefix=a%20b") == "redis://host/0?prefix=***"


def test_options_are_read() -> None:
    assert options_of("redis://host?prefix=a%20b&timeout=2", {"prefix", "timeout"}) == {"prefix": "a b", "timeout": "2"}
    assert options_of("redis://host", {"prefix"}) == {}


@pytest.mark.parametrize(
    "url, text",
    [
        ("redis://u:s3cret@host?prefx=a", "unknown option 'prefx'; known are prefix, timeout"),
        ("redis://u:s3cret@host?prefx=s3cret", "unknown option 'prefx'; known are prefix, timeout"),
        ("redis://host#s3cret", "write %23"),
        ("redis://u:s3cret@host?cret", "unknown option text; known are"),
        ("redis://u:s3cret@host?pass%20cret=1", "unknown option text; known are"),
        ("redis://u:s3?cret@host", "write %3F"),
        ("redis://u:s3?cret@host?prefix=a", "write %3F"),
        ("redis://u:s3?prefix=cret@host", "write %3F"),
        ("redis://u:s3cret@host?prefix=a&prefix=b", "the option 'prefix' of"),
        ("redis://u:s3cret@host?prefix=", "needs one value"),
        ("redis://u:s3#cret@host?prefix=a", "write %23"),
        ("redis://u:s3cret@[host", "special characters as %XX"),
        ("redis://u:s3cret@ho\u2100st", "special characters as %XX"),
    ],
)
def test_a_wrong_option_is_refused_without_the_password(url: str, text: str) -> None:
    with pytest.raises(ValueError, match=r"option|%23|%XX|%3F") as refused:
        options_of(url, {"prefix", "timeout"})
    assert text in str(refused.value)
    assert "cret" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_a_url_that_cannot_be_split_is_refused_without_the_password() -> None:
    assert split_url("redis://host:1/0").hostname == "host"
    with pytest.raises(ValueError, match="can't be read") as refused:
        split_url("redis://u:s3cret@ho\u2100st")
    assert "s3cret" not in str(refused.value)
