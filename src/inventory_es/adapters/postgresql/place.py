"""The URL of a store or read model: libpq's own form, and the options of this package."""

import os
import re
from collections.abc import Mapping
from math import ceil
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import attrs
from psycopg import ProgrammingError, pq
from psycopg.conninfo import conninfo_to_dict

DEFAULT_SCHEMA = "inventory_es"
_SCHEMA = re.compile(r"(?!pg_|information_schema$)[a-z_][a-z0-9_]{0,62}")
_LOCAL = re.compile(r"|localhost|127(\.\d+){3}|::1|/.*|@.*")
_REPLICA = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:,\[\]]+)(?::(\d{1,5}))?")
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "pooler": ("transaction",),
    "durability": ("power", "machine"),
    "notify": ("on", "off"),
}
_DEFAULTS: Mapping[str, str] = {
    "application_name": "inventory-es",
    "client_encoding": "UTF8",
    "keepalives_idle": "5",
    "target_session_attrs": "read-write",
    "tcp_user_timeout": "5000",
}
_LIBPQ_WITH_SYSTEM_ROOTS = 160_000
_LEAST_CONNECT_TIMEOUT = 2
"""Seconds. libpq takes a smaller number for this one."""


@attrs.frozen(kw_only=True)
class Place:
    """A schema in a database, and the way to it. Its text and its representation have no password.

    Attributes:
        schema: of the tables and functions.
        shown: host, port, database and schema, for errors.
        parameters: of libpq.
        is_pooled: True behind a pooler that gives a connection to one transaction.
        durability: the least that the server must give; ``None`` for any.
        timeout: seconds in which the server must answer each call.
        notifies: True if processes tell each other at once that something was appended.
        replica: the way to the replicas that pages of the feed are read from; ``None`` for none.
    """

    schema: str
    shown: str
    parameters: Mapping[str, str] = attrs.field(repr=False)
    is_pooled: bool = False
    durability: str | None = None
    timeout: float = 5.0
    notifies: bool = False
    replica: "Place | None" = None

    def __str__(self) -> str:
        return self.shown


def parse_place(url: str) -> Place:
    """Return the place of a URL such as ``postgresql://stock@localhost/shop?schema=berlin``.

    Raises:
        ValueError: an unknown option or value, or no URL of libpq. The message never has the password.
    """
    try:
        parts = urlsplit(url)
        pairs = parse_qsl(parts.query.replace("+", "%2B"), keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise _no_url() from None
    own: dict[str, str] = {}
    others: list[str] = []
    for name, value in pairs:
        if name in own:
            msg = f"the option {name} of the URL is given twice"
            raise ValueError(msg)
        if name in {"schema", "timeout", "replica", *_CHOICES}:
            own[name] = value
        else:
            others.append(f"{quote(name)}={quote(value)}")
    others_text = ["&".join(others)] if others else []
    try:
        given = {name: str(value) for name, value in conninfo_to_dict("?".join([url.partition("?")[0], *others_text])).items()}
    except ProgrammingError as problem:
        unknown = re.search(r"invalid URI query parameter: \"([a-z_]*)\"", str(problem))
        raise _no_url(unknown[1] if unknown else "") from None
    if not re.fullmatch(r"[0-9,]*", given.get("port", "")):
        raise _no_url()
    if given.get("client_encoding", "UTF8").upper().replace("-", "") != "UTF8":
        msg = "the option client_encoding of the URL must be UTF8, or left out"
        raise ValueError(msg)
    schema = own.get("schema", DEFAULT_SCHEMA)
    if not _SCHEMA.fullmatch(schema):
        msg = f"the schema {schema!r} must be lower-case ASCII letters, digits and '_', at most 63, not beginning with a digit or 'pg_'"
        raise ValueError(msg)
    for name, values in _CHOICES.items():
        if name in own and own[name] not in values:
            msg = f"the option {name} of the URL must be {' or '.join(values)}, not {own[name]!r}"
            raise ValueError(msg)
    notifies = own.get("notify") == "on"
    if notifies and "pooler" in own:
        msg = "the option notify=on of the URL needs a session of its own, which a pooler in transaction mode does not give: leave it out"
        raise ValueError(msg)
    timeout = _seconds(own.get("timeout", "5"))
    connecting = {"connect_timeout": str(max(_LEAST_CONNECT_TIMEOUT, ceil(timeout)))}

    def place(given: Mapping[str, str], connecting: Mapping[str, str]) -> Place:
        return Place(
            schema=schema,
            shown=_shown(given, unquote(parts.path[1:]), schema),
            parameters={**_DEFAULTS, **connecting, **_tls(given), **given},
            is_pooled="pooler" in own,
            timeout=timeout,
        )

    replica = None
    if "replica" in own:
        others_than_hosts = {name: value for name, value in given.items() if name not in {"hostaddr", "target_session_attrs"}}
        replica = place({**others_than_hosts, **_replicas(own["replica"])}, {**connecting, "target_session_attrs": "any"})
    return attrs.evolve(place(given, connecting), durability=own.get("durability"), notifies=notifies, replica=replica)


def lent_place(url: str) -> Place:
    """Return the place of a URL without a server, for connections that a host lends, such as ``postgresql://?schema=berlin``.

    Raises:
        ValueError: as :func:`parse_place`, or the URL says more than these connections need.
    """
    place, plain = parse_place(url), parse_place("postgresql://")
    if {**place.parameters, "connect_timeout": ""} != {**plain.parameters, "connect_timeout": ""}:
        msg = "the host lends the connections, so the URL has options of the store alone: write postgresql://?schema=…"
        raise ValueError(msg)
    if place.notifies or place.replica is not None:
        msg = f"the option {'notify' if place.notifies else 'replica'} of the URL needs connections of its own: the host lends them"
        raise ValueError(msg)
    return attrs.evolve(place, shown=f"lent connections, schema {place.schema}")


def _replicas(text: str) -> Mapping[str, str]:
    """Return libpq's parameters for ``HOST[:PORT],…``."""
    found = [_REPLICA.fullmatch(one) for one in text.split(",")]
    hosts = [one for one in found if one is not None]
    if len(hosts) < len(found):
        msg = "the option replica of the URL must be HOST:PORT, or several with commas between them"
        raise ValueError(msg)
    return {"host": ",".join(one[1].strip("[]") for one in hosts), "port": ",".join(one[2] or "5432" for one in hosts)}


def _shown(given: Mapping[str, str], database: str, schema: str) -> str:
    host, port = _hosts(given) or "localhost", given.get("port") or os.environ.get("PGPORT", "5432")
    return f"{host}:{port}/{given.get('dbname', database)}, schema {schema}"


def _hosts(given: Mapping[str, str]) -> str:
    """Return the hosts that libpq connects to, from the URL or the environment, with commas between them."""
    return given.get("hostaddr") or given.get("host") or os.environ.get("PGHOSTADDR") or os.environ.get("PGHOST", "")


def _tls(given: Mapping[str, str]) -> Mapping[str, str]:
    """Return the settings that encrypt a connection to another machine, and check who answers, where the URL says nothing else."""
    is_set = "sslmode" in given or "PGSSLMODE" in os.environ
    is_service = "service" in given or "PGSERVICE" in os.environ  # nobody but libpq knows its host
    if is_set or (not is_service and all(_LOCAL.fullmatch(host) for host in _hosts(given).split(","))):
        return {}
    roots = {"sslrootcert": "system"} if pq.version() >= _LIBPQ_WITH_SYSTEM_ROOTS else {}
    return {"sslmode": "verify-full", **roots}


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 60:  # the message names both
        msg = f"the option timeout of the URL must be 0.1 to 60 seconds, not {text!r}"
        raise ValueError(msg)
    return seconds


def _no_url(unknown: str = "") -> ValueError:
    known = "schema, pooler, durability, notify, replica, timeout, and the parameters of libpq"
    if unknown:
        return ValueError(f"the URL has the unknown option {unknown}; known are {known}")
    return ValueError("the URL of the store can't be read: write postgresql://USER@HOST:PORT/DATABASE, with special characters as %XX")
