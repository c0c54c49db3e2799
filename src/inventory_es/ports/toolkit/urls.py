"""URLs of backends on a network: their options, and a form of them without the password."""

import re
from collections.abc import Collection, Mapping
from urllib.parse import parse_qsl, urlsplit

_SECRET = re.compile(r"(?<=//).*@", re.DOTALL)  # a password that was not encoded has any character
_SECRET_OPTION = re.compile(r"(?i)(?<=[?&])([^=&#]*(?:pass|secret|token)[^=&#]*)=[^&#]*")


def masked(url: str) -> str:
    """Return the URL without its user and password, for messages and logs."""
    return _SECRET_OPTION.sub(r"\1=***", _SECRET.sub("***@", url))


def options_of(url: str, known: Collection[str]) -> Mapping[str, str]:
    """Return the options behind the ``?`` of a URL, by name.

    Raises:
        ValueError: an unknown option, one without a value, one given twice, or a fragment.
    """
    parts = urlsplit(url)
    if parts.fragment or "#" in url:
        msg = f"{masked(url)!r} has a '#': write %23 for it in a password, and options behind '?'"
        raise ValueError(msg)
    found: dict[str, str] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in known:
            msg = f"{masked(url)!r} has the unknown option {name!r}; known are {', '.join(sorted(known))}"
            raise ValueError(msg)
        if name in found or not value:
            msg = f"the option {name!r} of {masked(url)!r} needs one value"
            raise ValueError(msg)
        found[name] = value
    return found
