"""The place of a bus on SQS, by URL. The driver is not imported here: it takes half a second."""

import re
from collections.abc import Mapping
from typing import Self

import attrs

from inventory_es.ports.toolkit.urls import masked, options_of, split_url, timeout_of

_OPTIONS = frozenset({"endpoint", "lease", "poll", "prefix", "timeout"})
_REGION = re.compile(r"[a-z0-9-]{1,64}")
_PREFIX = re.compile(r"[A-Za-z0-9_]{1,30}")  # no '-', which ends it in the names of queues


@attrs.frozen
class SqsPlace:
    """A region, and the names of a bus in it. It has no credentials: the driver finds them.

    Attributes:
        region: of the service.
        endpoint: the URL of another server than the region's; ``None`` for that one.
        prefix: of every queue, so that several stores share an account.
        timeout: the longest wait for one answer, in seconds.
        lease: the seconds after which an event of a process that died is received again.
        poll: the seconds between two looks for events.
    """

    region: str
    endpoint: str | None
    prefix: str
    timeout: float
    lease: int
    poll: float

    @classmethod
    def parse(cls, url: str, *, timeout: float, lease: int, poll: float) -> Self:
        """Read a URL ``sqs://REGION[?option=value&…]``.

        Args:
            url: to read. Its options are ``endpoint``, ``prefix``, and ``lease``, ``poll`` and ``timeout`` in seconds.
            timeout: the default of that option.
            lease: likewise.
            poll: likewise.

        Raises:
            ValueError: the URL is no such URL, or has credentials. The message has none.
        """
        given, parts = options_of(url, _OPTIONS), split_url(url)
        if "@" in parts.netloc:
            where = "in the environment, a profile, or the role of a machine"
            msg = f"{masked(url)!r} has credentials: leave them out, the driver finds them by itself, {where}"
            raise ValueError(msg)
        if parts.scheme != "sqs" or not _REGION.fullmatch(parts.netloc) or parts.path.strip("/"):
            msg = f"{masked(url)!r} names no region: write sqs://eu-central-1"
            raise ValueError(msg)
        prefix = given.get("prefix", "inventory_es")
        if not _PREFIX.fullmatch(prefix):
            msg = f"{masked(url)!r}: a prefix has 1 to 30 letters, digits or '_'"
            raise ValueError(msg)
        lease, poll = _seconds(url, given, lease, poll)
        return cls(parts.netloc, _endpoint(url, given), prefix, timeout_of(url, given, timeout), lease, poll)

    def __str__(self) -> str:
        """Return the place without credentials, which it does not have."""
        return f"{self.endpoint or self.region}, prefix {self.prefix}"


def _seconds(url: str, given: Mapping[str, str], lease: int, poll: float) -> tuple[int, float]:
    try:
        found = int(given.get("lease", lease)), float(given.get("poll", poll))
    except ValueError:
        found = 0, 0.0
    if not (1 <= found[0] <= 3_600 and 0.01 <= found[1] <= 60):
        msg = f"{masked(url)!r}: lease is 1 to 3600 whole seconds, and poll is 0.01 to 60 seconds"
        raise ValueError(msg)
    return found


def _endpoint(url: str, given: Mapping[str, str]) -> str | None:
    endpoint = given.get("endpoint")
    if endpoint is None:
        return None
    parts = split_url(endpoint)
    if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc or parts.query or parts.fragment:
        msg = f"{masked(url)!r}: an endpoint is a URL of http or https with a host, without credentials"
        raise ValueError(msg)
    return endpoint
