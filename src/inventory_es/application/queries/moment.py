"""A moment of the past that somebody asks about: an instant, or a version."""

from datetime import datetime

from inventory_es.domain.quantity import whole_number


def check_moment(time: datetime | None, version: int | None) -> None:
    """Refuse what is no moment.

    Raises:
        ValueError: none or both are given, the time has no time zone, or the version is no number of 1 or more.
        TypeError: the time is no datetime.
    """
    if (time is None) == (version is None):
        msg = "give either a time or a version"
        raise ValueError(msg)
    if version is not None and type(version) is not int:
        whole_number("version", version, at_least=1)
    given: object = time
    if given is not None and not isinstance(given, datetime):
        msg = f"time must be an aware datetime, not a {type(given).__name__}"
        raise TypeError(msg)
    if version is not None and version < 1:
        msg = "the first version is 1: ask for it or a later one, or for a time"
        raise ValueError(msg)
    if time is not None and time.utcoffset() is None:
        msg = "time must be an aware datetime: give it a time zone"
        raise ValueError(msg)
