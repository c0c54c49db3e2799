"""The place of a NATS server, and a connection to it that asks and gets answers.

The driver is of asyncio alone. So it lives in a thread with an event loop of its own, behind anyio's portal, whatever loop the host runs.
"""

import re
import ssl
from collections.abc import Collection, Mapping
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import anyio
import attrs
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error, MaxPayloadError

from inventory_es.ports.toolkit.loop_thread import LoopThread
from inventory_es.ports.toolkit.urls import masked, options_of, split_url, timeout_of

_OPTIONS = frozenset({"ca", "prefix", "timeout", "tls"})
_PREFIX = re.compile(r"[A-Za-z0-9_-]{1,64}")
_DEFAULT_PORT = 4222
_STATUS = "Status"
_NO_RESPONDERS = "503"


class NatsError(Exception):
    """A call that was refused, or has no answer.

    Attributes:
        code: the number of JetStream's error; 0 for another one.
        remedy: the action that a person must take first; ``None`` if the error may pass by itself.
    """

    def __init__(self, reason: str, *, code: int = 0, remedy: str | None = None) -> None:
        super().__init__(reason)
        self.code = code
        self.remedy = remedy


@attrs.frozen(kw_only=True)
class NatsPlace:
    """The place of a server, or of a cluster: what a URL says.

    Attributes:
        hosts: one or more addresses, as ``host:port``.
        username: for the server; ``None`` for none.
        password: for the server; ``None`` for none. No text shows it.
        token: in the place of user and password. No text shows it.
        is_encrypted: True if the server must speak TLS with a verified certificate.
        ca: the file of the certificate authority; ``None`` for the system's.
        prefix: of every stream and subject, so that several stores share a server.
        timeout: the longest wait for one answer, in seconds.
        options: those of the adapter, as texts.
    """

    hosts: tuple[str, ...]
    username: str | None = attrs.field(repr=False)
    password: str | None = attrs.field(repr=False)
    token: str | None = attrs.field(repr=False)
    is_encrypted: bool
    ca: str | None
    prefix: str
    timeout: float
    options: Mapping[str, str]

    @classmethod
    def parse(cls, url: str, *, timeout: float, own: Collection[str] = ()) -> Self:
        """Read a URL ``nats://[user:password@|token@]host[:port][,host[:port]…][?option=value&…]``.

        Args:
            url: to read. Its options are ``prefix``, ``timeout`` in seconds, ``tls=yes`` and ``ca=FILE``.
            timeout: the default of that option.
            own: further options, of the adapter.

        Raises:
            ValueError: the URL is no such URL. The message has no password.
        """
        given, parts = options_of(url, _OPTIONS | set(own)), split_url(url)
        credentials, _, hosts = parts.netloc.rpartition("@")
        if parts.scheme != "nats" or not hosts or parts.path.strip("/"):
            msg = f"{masked(url)!r} names no server: write nats://host:4222, or nats://one:4222,two:4222 for several of a cluster"
            raise ValueError(msg)
        prefix = given.get("prefix", "inventory_es")
        if not _PREFIX.fullmatch(prefix):
            msg = f"{masked(url)!r}: a prefix has 1 to 64 letters, digits, '_' or '-'"
            raise ValueError(msg)
        tls = given.get("tls", "yes" if "ca" in given else "no")
        if tls not in {"yes", "no"} or (tls == "no" and "ca" in given):
            msg = f"{masked(url)!r}: tls is yes or no, and yes where a ca is given"
            raise ValueError(msg)
        user, colon, password = credentials.partition(":")
        return cls(
            hosts=tuple(_address(url, host) for host in hosts.split(",")),
            username=unquote(user) if colon else None,
            password=unquote(password) if colon else None,
            token=unquote(user) if user and not colon else None,
            is_encrypted=tls == "yes",
            ca=given.get("ca"),
            prefix=prefix,
            timeout=timeout_of(url, given, timeout),
            options={name: value for name, value in given.items() if name in own},
        )

    def __str__(self) -> str:
        """Return the place without user, password and token."""
        return f"{','.join(self.hosts)}, prefix {self.prefix}"

    def settings(self) -> dict[str, Any]:
        """Return the arguments with which a client of the driver connects."""
        tls = {"tls": ssl.create_default_context(cafile=self.ca)} if self.is_encrypted else {}
        return {
            "servers": [f"{'tls' if self.is_encrypted else 'nats'}://{host}" for host in self.hosts],
            "user": self.username,
            "password": self.password,
            "token": self.token,
            "allow_reconnect": False,  # a connection that is lost is replaced by the next call, which fails at once if there is no server
            "max_reconnect_attempts": 1,
            "reconnect_time_wait": 0,
            "connect_timeout": self.timeout,
            **tls,
        }


class _EncryptedClient(Client):
    """A client that sends nothing, its password least of all, to a server without TLS. The driver itself would go on in plain text."""

    _is_checked = False

    def _connect_command(self) -> bytes:
        if not self._server_info.get("tls_required"):
            msg = "the server offers no TLS"
            raise Error(msg)
        self._is_checked = True
        return super()._connect_command()

    def check(self) -> None:
        """Refuse a version of the driver that connects in another way."""
        if not self._is_checked:
            msg = "this version of nats-py can't be kept from plain text"
            raise Error(msg)


@attrs.define(eq=False)
class _Question:
    """A call that waits for its answers. The last one has a status where there may be several."""

    is_many: bool
    answers: list[Msg] = attrs.field(factory=list[Msg])
    done: anyio.Event = attrs.field(factory=anyio.Event)
    problem: NatsError | None = None


class Connection(LoopThread):
    """A connection that is made with its first use, and again after it was lost, in a thread of its own.

    Args:
        place: of the server.
        name: of the thread.
    """

    def __init__(self, place: NatsPlace, name: str) -> None:
        super().__init__(name)
        self._place = place
        self._connecting: anyio.Lock | None = None  # of that loop, and not of the host's
        self._client: Client | None = None
        self._questions: dict[str, _Question] = {}
        self._number = 0
        self._inbox = ""
        self._problem = ""

    async def max_payload(self) -> int:
        """Return the largest message that the server takes, in bytes."""
        with self._bounded():
            return (await self._connected()).max_payload

    async def ask(self, subject: str, data: bytes = b"", headers: Mapping[str, str] | None = None) -> Msg:
        """Send a message, and return its answer.

        Raises:
            NatsError: there is no answer in time, or nobody listens. The server may have done it all the same.
        """
        return (await self._ask([(subject, data, headers or {})], is_many=False))[0]

    async def ask_with(self, messages: Collection[tuple[str, bytes, Mapping[str, str]]]) -> Msg:
        """Send messages in their order, and return the answer to the last one. See :meth:`ask`."""
        return (await self._ask(messages, is_many=False))[0]

    async def ask_many(self, subject: str, data: bytes) -> list[Msg]:
        """Send a message, and return its answers, the last of which has a status. See :meth:`ask`."""
        return await self._ask([(subject, data, {})], is_many=True)

    async def close(self) -> None:
        """Close the client. What still waits for an answer fails."""
        client, self._client = self._client, None
        self._fail("the connection was closed")
        if client is not None:
            with anyio.move_on_after(self._place.timeout, shield=True):
                await client.close()

    async def _ask(self, messages: Collection[tuple[str, bytes, Mapping[str, str]]], *, is_many: bool) -> list[Msg]:
        question = _Question(is_many)
        self._number += 1
        number = str(self._number)
        self._questions[number] = question
        last = len(messages) - 1
        try:
            with self._bounded():
                client = await self._connected()
                for index, (subject, data, headers) in enumerate(messages):
                    reply = f"{self._inbox}.{number}" if index == last else ""
                    await client.publish(subject, data, reply=reply, headers=dict(headers) or None)
                await question.done.wait()
        except TimeoutError as problem:
            await self.close()  # it may hang for ever, and the next call may find another server
            reason = f"no answer in {self._place.timeout:g} s"
            raise NatsError(f"{reason} ({self._problem})" if self._problem else reason, remedy=_remedy_of(self._problem)) from problem
        except MaxPayloadError as problem:
            raise NatsError(str(problem), remedy="raise the server's max_payload") from problem
        except (Error, OSError) as problem:
            raise NatsError(str(problem) or type(problem).__name__) from problem
        finally:
            del self._questions[number]
        if question.problem is not None:
            raise question.problem
        return question.answers

    def _bounded(self) -> Any:
        return anyio.fail_after(self._place.timeout)

    async def _connected(self) -> Client:
        if self._client is None or not self._client.is_connected:
            self._connecting = self._connecting or anyio.Lock()
            async with self._connecting:
                if self._client is None or not self._client.is_connected:
                    self._client = await self._connect()
        return self._client

    async def _connect(self) -> Client:
        client = _EncryptedClient() if self._place.is_encrypted else Client()
        self._problem = ""

        async def note(problem: Exception) -> None:
            self._problem = str(problem) or type(problem).__name__
            if "permissions violation" in self._problem.lower():
                self._fail(self._problem, remedy=_remedy_of(self._problem))

        async def lost() -> None:
            if self._client is client:
                self._client = None
                self._fail(f"the connection was lost ({self._problem or 'closed by the server'})")

        try:
            settings = self._place.settings()
        except OSError as problem:
            reason = f"{self._place.ca}: {problem.strerror}"
            raise NatsError(reason, remedy="correct the option ca in the URL") from problem
        try:
            await client.connect(**settings, error_cb=note, disconnected_cb=lost, closed_cb=lost)
            if isinstance(client, _EncryptedClient):
                client.check()
            inbox = client.new_inbox()
            await client.subscribe(f"{inbox}.*", cb=self._take, pending_msgs_limit=0, pending_bytes_limit=0)
        except (Error, OSError) as problem:
            reason = self._problem or str(problem) or type(problem).__name__
            await client.close()
            raise NatsError(reason, remedy=_remedy_of(reason)) from problem
        except BaseException:
            with anyio.CancelScope(shield=True):
                await client.close()
            raise
        self._inbox = inbox
        self._problem = ""
        return client

    async def _take(self, message: Msg) -> None:
        question = self._questions.get(message.subject.rpartition(".")[2])
        if question is None:
            return  # its caller has given up
        status = (message.headers or {}).get(_STATUS)
        if status == _NO_RESPONDERS:
            question.problem = NatsError("no JetStream answers: it is off for this account, or its stream has no leader now")
        question.answers.append(message)
        if status is not None or not question.is_many:
            question.done.set()

    def _fail(self, reason: str, *, remedy: str | None = None) -> None:
        for question in self._questions.values():
            question.problem = question.problem or NatsError(reason, remedy=remedy)
            question.done.set()


def _remedy_of(reason: str) -> str | None:
    """Return the action that a person must take after an error of the driver; ``None`` if it may pass by itself."""
    remedies = {
        "authorization": "correct the user and the password, or the token, in the URL",
        "authentication": "correct the user and the password, or the token, in the URL",
        "certificate": "give the file of the server's certificate authority in the URL: ca=FILE",
        "no tls": "leave tls=yes out, or let the server demand TLS",
        "permissions violation": "give this user permission for JetStream and the subjects of its prefix",
    }
    return next((remedy for word, remedy in remedies.items() if word in reason.lower()), None)


def _address(url: str, host: str) -> str:
    try:
        parts = urlsplit(f"//{host}")
        port = parts.port or _DEFAULT_PORT
    except ValueError:
        msg = f"{masked(url)!r}: a port is a number up to 65535"
        raise ValueError(msg) from None
    if not parts.hostname:
        msg = f"{masked(url)!r} lacks a host"
        raise ValueError(msg)
    return f"[{parts.hostname}]:{port}" if ":" in parts.hostname else f"{parts.hostname}:{port}"
