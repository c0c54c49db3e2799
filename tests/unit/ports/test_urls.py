"""URLs of backends on a network: options, and texts without passwords."""

import pytest

from inventory_es.ports.toolkit.urls import masked, options_of


@pytest.mark.parametrize(
    "url",
    [
        "redis://:s3cret@host:6379/0",
        "redis://user:s3cret@host/0?prefix=x",
        "rediss://user:s3cr%40et@host",
        "nats://s3cret@host",
        "redis://host/0?password=s3cret&prefix=x",
        "redis://host/0?prefix=x&auth_token=s3cret",
        "redis://user:s3cret@one@host/0",
        "redis://user:x/s3cr?s3cr#s3cr@host/0",
    ],
)
def test_a_masked_url_has_no_secret_and_keeps_its_host(url: str) -> None:
    assert "s3cr" not in masked(url)
    assert "host" in masked(url)


def test_a_url_without_a_secret_stays() -> None:
    assert masked("redis://host:6379/0?prefix=x") == "redis://host:6379/0?prefix=x"


def test_options_are_read() -> None:
    assert options_of("redis://host?prefix=a%20b&timeout=2", {"prefix", "timeout"}) == {"prefix": "a b", "timeout": "2"}
    assert options_of("redis://host", {"prefix"}) == {}


@pytest.mark.parametrize(
    "url, text",
    [
        ("redis://u:s3cret@host?prefx=a", "unknown option 'prefx'; known are prefix, timeout"),
        ("redis://u:s3cret@host?prefix=a&prefix=b", "the option 'prefix' of"),
        ("redis://u:s3cret@host?prefix=", "needs one value"),
        ("redis://u:s3#cret@host?prefix=a", "write %23"),
    ],
)
def test_a_wrong_option_is_refused_without_the_password(url: str, text: str) -> None:
    with pytest.raises(ValueError, match=r"option|%23") as refused:
        options_of(url, {"prefix", "timeout"})
    assert text in str(refused.value)
    assert "cret" not in str(refused.value)
