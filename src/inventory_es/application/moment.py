"""A moment of the past that somebody asks about: an instant, or a version."""

from datetime import datetime


def check_moment(time: datetime | None, version: int | None) -> None:
    """Refuse what is no moment.

    Raises:
        ValueError: none or both are given, the time has no time zone, or the version is below 1.
    """
    if (time is None) == (version is None):
        msg = "give either a time or a version"
        raise ValueError(msg)
    if version is not None and version < 1:
        msg = "the first version is 1: ask for it or a later one, or for a time"
        raise ValueError(msg)
    if time is not None and time.utcoffset() is None:
        msg = "time must be an aware datetime: give it a time zone"
        raise ValueError(msg)
