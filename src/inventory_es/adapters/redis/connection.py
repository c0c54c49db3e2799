"""The place of a Redis or Valkey server, connections to it, and its notices of changed keys."""

import re
import ssl
import threading
import time
from collections.abc import Callable, Collection, Mapping
from hashlib import sha1
from itertools import pairwise, repeat
from typing import Any, Protocol, Self
from urllib.parse import unquote
from zlib import crc32

import attrs
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from inventory_es.ports.toolkit.urls import masked, options_of, split_url, timeout_of

_OPTIONS = frozenset({"ca", "cluster", "prefix", "timeout"})
_PREFIX = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_PREFIX_RULE = "a prefix has 1 to 64 letters, digits, '_', '-' or '.'"
_DEFAULT_PORT = 6379

_CHANNEL = "__redis__:invalidate"
_ASK = 0.2
"""Seconds between two questions."""
_TRUSTED = 1.0
"""Seconds after a question within which its answer counts."""
_PAUSE = 1.0
"""Seconds between two attempts to connect."""
_UNUSED = 10.0
"""Seconds without a question for a mark after which the thread ends."""
_SLOTS = 4_096
"""Counters, each for all keys of one checksum: so memory has a bound, and a change may end the marks of other keys too."""

LOST = (redis.ConnectionError, redis.TimeoutError, OSError)
"""The errors after which the answer to a call, if there was one, is lost."""

FAILURES = (redis.RedisError, redis.exceptions.RedisClusterException, OSError)
"""Every error that the driver raises for a server that refuses or is away."""


class Client(Protocol):
    """The calls of a driver's client that the adapters make, of one server or of a cluster."""

    def execute_command(self, *words: Any) -> Any:
        """Send one command and return its answer."""
        ...

    def pipeline(self, transaction: bool = ...) -> Any:  # noqa: FBT001  # the driver's signature
        """Return an object that collects commands and sends them together."""
        ...

    def scan_iter(self, match: str, count: int) -> Any:
        """Iterate over the keys of a pattern, page by page, on every primary."""
        ...

    def close(self) -> None:
        """Close every connection."""
        ...


@attrs.frozen(kw_only=True)
class RedisPlace:
    """The place of a server: what a URL says.

    Attributes:
        host: name or address.
        port: of the server.
        database: its number; 0 for a cluster.
        username: for the server; ``None`` for its default user.
        password: for the server; ``None`` for none. No text shows it.
        is_encrypted: True for TLS with a verified certificate (``rediss://``).
        ca: the file of the certificate authority; ``None`` for the system's.
        is_cluster: True for a cluster, of which the server is one node.
        prefix: of every key, so that several stores share a server.
        timeout: the longest wait for one answer, in seconds.
        options: those of the adapter, as texts.
    """

    host: str
    port: int
    database: int
    username: str | None = attrs.field(repr=False)
    password: str | None = attrs.field(repr=False)
    is_encrypted: bool
    ca: str | None
    is_cluster: bool
    prefix: str
    timeout: float
    options: Mapping[str, str]

    @classmethod
    def parse(cls, url: str, *, timeout: float, own: Collection[str] = ()) -> Self:
        """Read a URL ``redis://[user:password@]host[:port][/database][?option=value&…]``, or ``rediss://…`` for TLS.

        Args:
            url: to read. Its options are ``prefix``, ``timeout`` in seconds, ``cluster=yes`` and ``ca=FILE``.
            timeout: the default of that option.
            own: further options, of the adapter.

        Raises:
            ValueError: the URL is no such URL. The message has no password.
        """
        given, parts = options_of(url, _OPTIONS | set(own)), split_url(url)
        if parts.scheme not in {"redis", "rediss"} or not parts.hostname:
            msg = f"{masked(url)!r} names no server: write redis://host:6379/0, or rediss://host:6379/0 for TLS"
            raise ValueError(msg)
        database = parts.path.strip("/") or "0"
        is_cluster = given.get("cluster", "no")
        if not database.isascii() or not database.isdigit() or is_cluster not in {"yes", "no"} or (is_cluster == "yes" and database != "0"):
            msg = f"{masked(url)!r}: the path is the number of a database, and a cluster (cluster=yes) has database 0 alone"
            raise ValueError(msg)
        prefix = given.get("prefix", "inventory_es")
        if not _PREFIX.fullmatch(prefix):
            msg = f"{masked(url)!r}: {_PREFIX_RULE}"
            raise ValueError(msg)
        if "ca" in given and parts.scheme != "rediss":
            msg = f"{masked(url)!r} is without TLS, which the option 'ca' is for: write rediss://"
            raise ValueError(msg)
        return cls(
            host=parts.hostname,
            port=_port_of(url),
            database=int(database),
            username=_decoded(parts.username),
            password=_decoded(parts.password),
            is_encrypted=parts.scheme == "rediss",
            ca=given.get("ca"),
            is_cluster=is_cluster == "yes",
            prefix=prefix,
            timeout=timeout_of(url, given, timeout),
            options={name: value for name, value in given.items() if name in own},
        )

    def __str__(self) -> str:
        """Return the place without user and password."""
        return f"{self.host}:{self.port}/{self.database}, prefix {self.prefix}"

    def connect(self) -> Client:
        """Return a client, for any number of threads. It connects when it is used, but for a cluster's, which connects now."""
        settings: dict[str, Any] = {
            "host": self.host,
            "port": self.port,
            "username": self.username,
            "password": self.password,
            "socket_timeout": self.timeout,
            "socket_connect_timeout": self.timeout,
            "retry": Retry(NoBackoff(), 0),  # whoever is above knows better if a second try is worth its time
            "protocol": 2,  # with 3 the driver asks for notices of maintenance, which lengthen its timeouts
        }
        if self.is_encrypted:
            settings |= {"ssl": True, "ssl_cert_reqs": "required", "ssl_ca_certs": self.ca, "ssl_min_version": ssl.TLSVersion.TLSv1_2}
        client: Any = redis.RedisCluster(**settings) if self.is_cluster else redis.Redis(db=self.database, **settings)
        found: Client = client
        return found


class Connection:
    """A client that connects with its first use, and runs scripts. For any number of threads.

    Args:
        connect: returns the client.
    """

    def __init__(self, connect: Callable[[], Client]) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._client: Client | None = None

    @property
    def client(self) -> Client:
        """The client, connected now if it was not before."""
        if self._client is None:
            with self._lock:
                if self._client is None:
                    self._client = self._connect()
        return self._client

    def run(self, script: "Script", keys: list[str], *arguments: Any) -> Any:
        """Run a script in one round trip; in three, where the server does not know it yet."""
        words = (len(keys), *keys, *arguments)
        try:
            return self.client.execute_command("EVALSHA", script.digest, *words)
        except redis.exceptions.NoScriptError:
            return self.client.execute_command("EVAL", script.text, *words)

    def close(self) -> None:
        """Close every connection."""
        if self._client is not None:
            self._client.close()


class ChangeNotices:
    """The changes of all keys of a prefix, as marks, by the server's own tracking (``CLIENT TRACKING``). For any number of threads.

    A thread reads the notices, and asks for an answer every 0.2 seconds. A notice is sent before the answer to the second question after
    the change, so such an answer proves that every earlier change is known. No mark is given from a second after the last proof on. So a
    frozen server, a lost connection and a late thread all have the same bound.

    Args:
        client: returns the driver's client of one server.
        prefix: of the keys.
    """

    def __init__(self, client: Callable[[], Any], prefix: str) -> None:
        self._client = client
        self._prefix = prefix
        self._counts = [0] * _SLOTS
        self._start = 0
        self._until = 0.0
        self._asked = 0.0
        self._not_before = 0.0
        self._is_closed = False
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self.refusal: redis.ResponseError | None = None

    def mark(self, key: str) -> int | None:
        """Return the mark of a key, which differs after a change; ``None`` while changes are not known. The first call connects."""
        self._asked = now = time.monotonic()
        if now < self._until:
            return self._start + self._counts[crc32(key.encode()) % _SLOTS]
        with self._lock:
            if now >= self._not_before and not self._is_closed and not (self._thread and self._thread.is_alive()):
                self._not_before = now + _PAUSE
                self._thread = threading.Thread(target=self._listen, name="inventory_es change notices", daemon=True)
                self._thread.start()
        return None

    def close(self) -> None:
        """End the thread, and wait for it: for one question and its answer at most."""
        with self._lock:
            self._is_closed, self._until, thread = True, 0.0, self._thread
        if thread is not None:
            thread.join()

    def _listen(self) -> None:
        try:
            with self._client().pubsub() as channel:
                self._track(channel)
                questions = map(self._ask, repeat(channel))
                for proved, _ in pairwise(questions):
                    self._until = proved + _TRUSTED
                    self._read(channel, until=time.monotonic() + _ASK)
                    if self._is_closed or time.monotonic() - self._asked > _UNUSED:
                        break
        except redis.ResponseError as problem:
            self.refusal = problem
        except FAILURES:
            pass  # the calls of the cache tell it
        finally:
            self._until = 0.0

    def _track(self, channel: Any) -> None:
        """Let the server send notices to this connection, and begin other marks."""
        channel.execute_command("CLIENT", "ID")
        channel.execute_command("CLIENT", "TRACKING", "ON", "REDIRECT", channel.parse_response(), "BCAST", "PREFIX", self._prefix)
        channel.parse_response()
        channel.subscribe(_CHANNEL)
        self._start = time.monotonic_ns()
        self.refusal = None

    def _ask(self, channel: Any) -> float:
        """Read every notice up to the answer to a question, and return the time of the question."""
        asked = time.monotonic()
        channel.ping()
        while (message := channel.get_message(timeout=_TRUSTED)) is None or message["type"] != "pong":
            if message is None:
                raise redis.TimeoutError
            self._count(message)
        return asked

    def _read(self, channel: Any, *, until: float) -> None:
        while (left := until - time.monotonic()) > 0:
            if (message := channel.get_message(timeout=left)) is not None:
                self._count(message)

    def _count(self, message: dict[str, Any]) -> None:
        if message["type"] != "message":
            return
        if message["data"] is None:  # every key is gone
            self._start = time.monotonic_ns()
            return
        for key in message["data"]:
            self._counts[crc32(key) % _SLOTS] += 1


@attrs.frozen
class Script:
    """A script that the server runs as one step.

    Attributes:
        text: of the script, in Lua.
        digest: by which a server names it.
    """

    text: str
    digest: str = attrs.field(init=False)

    @digest.default
    def _digest_of_text(self) -> str:
        return sha1(self.text.encode(), usedforsecurity=False).hexdigest()


def remedy_of(problem: BaseException) -> str | None:
    """Return the action that a person must take before a call can succeed; ``None`` if the error may pass by itself."""
    text = str(problem)
    if isinstance(problem, redis.exceptions.OutOfMemoryError) or text.startswith("OOM "):
        return "raise the server's maxmemory, or remove keys from it"
    if isinstance(problem, redis.AuthenticationError) or text.startswith(("WRONGPASS", "NOAUTH")):
        return "correct the user and the password in the URL"
    if isinstance(problem, redis.exceptions.NoPermissionError):
        return "give this user permission for the keys of its prefix and the commands of the adapter"
    if isinstance(problem, redis.ReadOnlyError):
        return "name the primary in the URL"
    return None


def reason_of(problem: BaseException) -> str:
    """Return the server's or the driver's text for an error."""
    return str(problem) or type(problem).__name__


def _port_of(url: str) -> int:
    try:
        return split_url(url).port or _DEFAULT_PORT
    except ValueError:
        msg = f"{masked(url)!r}: a port is a number up to 65535"
        raise ValueError(msg) from None


def _decoded(text: str | None) -> str | None:
    return None if text is None or not text else unquote(text)
