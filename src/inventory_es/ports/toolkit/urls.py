"""URLs of backends on a network: their options, and a form of them without the password."""

import re
from collections.abc import Collection, Mapping
from urllib.parse import SplitResult, parse_qsl, urlsplit

_USER = re.compile(r"((?:[A-Za-z][A-Za-z0-9+.-]*:)?/*).*@", re.DOTALL)  # a password that was not encoded has any character
_PORT = re.compile(r"(//[^/?#@\[\]:]*:)(?!\d*(?:[/?#]|$))[^/?#]*")  # a password whose host was forgotten
_PREFIX = re.compile(r"[?&]prefix=([A-Za-z0-9_.-]{1,64})(?=&|$)")
_NAME_OF_OPTION = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,31}=")


def masked(url: str) -> str:
    """Return the URL without its user, its password and the values of its options, for messages and logs."""
    place, mark, options = _PORT.sub(r"\1***", _USER.sub(r"\1***@", url, count=1)).partition("?")
    names = [_NAME_OF_OPTION.match(option) for option in options.split("&") if mark]
    return re.sub(r"#.*", "#***", place, flags=re.DOTALL) + mark + "&".join(f"{name[0] if name else ''}***" for name in names)


def name_of(url: str) -> str:
    """Return the masked URL with the value of its option ``prefix``, which tells places of one server apart.

    It is for the URL of an open place alone: a text that is no URL may have a part of a password there.
    """
    found = _PREFIX.search(url)
    return masked(url) if found is None else re.sub(r"([?&]prefix=)\*\*\*", rf"\g<1>{found[1]}", masked(url), count=1)


def split_url(url: str) -> SplitResult:
    """Split a URL into its parts.

    Raises:
        ValueError: the text is no URL. The message has no password.
    """
    try:
        return urlsplit(url)
    except ValueError:  # its text may have the password
        msg = f"{masked(url)!r} can't be read: write scheme://HOST:PORT, with special characters as %XX"
        raise ValueError(msg) from None


def options_of(url: str, known: Collection[str]) -> Mapping[str, str]:
    """Return the options behind the ``?`` of a URL, by name.

    Raises:
        ValueError: an unknown option, one without a value, one given twice, a ``@`` among them, or a fragment. The message has no value.
    """
    parts = split_url(url)
    if "#" in url:
        msg = f"{masked(url)!r} has a '#': write %23 for it in a password, and options behind '?'"
        raise ValueError(msg)
    if "@" in parts.query:
        msg = f"{masked(url)!r} has a '@' behind its '?': write %3F for a '?' in a password, and %40 for a '@' in an option"
        raise ValueError(msg)
    found: dict[str, str] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in known:
            shown = repr(name) if _NAME_OF_OPTION.fullmatch(f"{name}=") and value else "text"  # a text without '=' may be anything
            msg = f"{masked(url)!r} has the unknown option {shown}; known are {', '.join(sorted(known))}"
            raise ValueError(msg)
        if name in found or not value:
            msg = f"the option {name!r} of {masked(url)!r} needs one value"
            raise ValueError(msg)
        found[name] = value
    return found


def timeout_of(url: str, options: Mapping[str, str], default: float) -> float:
    """Return the seconds of the option ``timeout`` of a URL, or the default.

    Raises:
        ValueError: it is not a number above 0, up to 600. The message has no password.
    """
    try:
        seconds = float(options.get("timeout", default))
    except ValueError:
        seconds = 0
    if not 0 < seconds <= 600:
        msg = f"{masked(url)!r}: timeout is a number of seconds above 0, up to 600"
        raise ValueError(msg)
    return seconds
