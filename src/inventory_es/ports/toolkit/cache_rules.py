"""Rules of an entry that every cache shares: misuse, and the end of its life. Pure functions."""

from datetime import datetime, timedelta

from inventory_es.domain.errors import InvalidTtlError

MAX_KEY_LENGTH = 1_024
MAX_VALUE_BYTES = 1 << 20
_ZERO = timedelta(0)


def check_key(key: str) -> None:
    """Refuse an invalid key.

    Raises:
        ValueError: the key is no text of 1 to 1,024 characters, or has a lone surrogate.
    """
    if not isinstance(key, str) or not 1 <= len(key) <= MAX_KEY_LENGTH:
        _misuse(f"a cache key is a text of 1 to {MAX_KEY_LENGTH:,} characters")
    if not key.isascii():
        try:
            key.encode()
        except UnicodeEncodeError:
            _misuse("a cache key has a lone surrogate, which no encoding can carry")


def check_entry(key: str, value: bytes, version: int, *, max_value_bytes: int) -> None:
    """Refuse an invalid entry.

    Raises:
        ValueError: a bad key, a value that is no bytes or too large, a version that is no int of 0 or more.
    """
    check_key(key)
    if type(value) is not bytes:
        _misuse("a cache value is bytes")
    if len(value) > max_value_bytes:
        _misuse(f"a cache value has {len(value):,} bytes; this cache takes {max_value_bytes:,}")
    if type(version) is not int or version < 0:
        _misuse("the version of a cache value is an int of 0 or more")


def end_of_life(now: datetime, ttl: timedelta) -> datetime:
    """Return the first instant at which an entry set now is a miss.

    Raises:
        InvalidTtlError: ``ttl`` is not above zero, or ends beyond the calendar.
    """
    if not isinstance(ttl, timedelta) or ttl <= _ZERO:
        raise InvalidTtlError(problem="of a cache entry must be a timedelta above zero")
    try:
        return now + ttl
    except OverflowError:
        raise InvalidTtlError(problem="of a cache entry ends beyond the calendar") from None


def _misuse(problem: str) -> None:
    raise ValueError(problem)
