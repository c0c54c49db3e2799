"""The place of a RabbitMQ server, and a connection to it whose every call ends in time."""

import logging
import re
import ssl
from collections.abc import Awaitable, Collection, Generator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Self, TypeVar
from urllib.parse import quote, unquote

import aiormq
import anyio
import attrs
from aiormq.abc import AbstractChannel
from pamqp.commands import Basic

from inventory_es.ports.toolkit.urls import masked, options_of, split_url, timeout_of

T = TypeVar("T")

_OPTIONS = frozenset({"ca", "prefix", "timeout"})
_PREFIX = re.compile(r"(?!amq$)[A-Za-z0-9_-]{1,64}")
_DEFAULT_PORTS = {"amqp": 5672, "amqps": 5671}
_MOST_AT_ONCE = 100

logging.getLogger("aiormq").addHandler(logging.NullHandler())  # what it logs is raised too; without a handler, Python would print it


class RabbitError(Exception):
    """A call that was refused, or has no answer.

    Attributes:
        code: the number of AMQP's error; 0 for another one.
        remedy: the action that a person must take first; ``None`` if the error may pass by itself.
    """

    def __init__(self, reason: str, *, code: int = 0) -> None:
        super().__init__(reason)
        self.code = code
        self.remedy: str | None = _remedy_of(reason)


@attrs.frozen(kw_only=True)
class RabbitPlace:
    """The place of a server: what a URL says.

    Attributes:
        host: name or address; of one node, or of what stands before a cluster.
        port: of the server.
        vhost: the virtual host.
        username: for the server.
        password: for the server. No text shows it.
        is_encrypted: True for TLS with a verified certificate (``amqps://``).
        ca: the file of the certificate authority; ``None`` for the system's.
        prefix: of every queue, so that several stores share a virtual host.
        timeout: the longest wait for one answer, in seconds.
        options: those of the adapter, as texts.
    """

    host: str
    port: int
    vhost: str
    username: str = attrs.field(repr=False)
    password: str = attrs.field(repr=False)
    is_encrypted: bool
    ca: str | None
    prefix: str
    timeout: float
    options: Mapping[str, str]

    @classmethod
    def parse(cls, url: str, *, timeout: float, own: Collection[str] = ()) -> Self:
        """Read a URL ``amqp://[user:password@]host[:port][/vhost][?option=value&…]``, or ``amqps://…`` for TLS.

        Args:
            url: to read. Its options are ``prefix``, ``timeout`` in seconds and ``ca=FILE``. Without a user, it is ``guest``, whom a
                server accepts from its own machine alone. Without a virtual host, it is ``/``.
            timeout: the default of that option.
            own: further options, of the adapter.

        Raises:
            ValueError: the URL is no such URL. The message has no password.
        """
        given, parts = options_of(url, _OPTIONS | set(own)), split_url(url)
        vhost = parts.path.removeprefix("/")
        if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or "/" in vhost:
            msg = f"{masked(url)!r} names no server: write amqp://host:5672/VHOST, or amqps://host:5671/VHOST for TLS"
            raise ValueError(msg)
        prefix = given.get("prefix", "inventory_es")
        if not _PREFIX.fullmatch(prefix):
            msg = f"{masked(url)!r}: a prefix has 1 to 64 letters, digits, '_' or '-', and is not the server's own 'amq'"
            raise ValueError(msg)
        if "ca" in given and parts.scheme != "amqps":
            msg = f"{masked(url)!r} is without TLS, which the option 'ca' is for: write amqps://"
            raise ValueError(msg)
        try:
            port = parts.port or _DEFAULT_PORTS[parts.scheme]
        except ValueError:
            msg = f"{masked(url)!r}: a port is a number up to 65535"
            raise ValueError(msg) from None
        return cls(
            host=parts.hostname,
            port=port,
            vhost=unquote(vhost) or "/",
            username=unquote(parts.username or "guest"),
            password=unquote(parts.password or "guest"),
            is_encrypted=parts.scheme == "amqps",
            ca=given.get("ca"),
            prefix=prefix,
            timeout=timeout_of(url, given, timeout),
            options={name: value for name, value in given.items() if name in own},
        )

    def __str__(self) -> str:
        """Return the place without user and password."""
        return f"{self.host}:{self.port}, virtual host {self.vhost}, prefix {self.prefix}"

    def client(self, heartbeat: int) -> aiormq.Connection:
        """Return a connection of the driver that has not connected yet.

        Raises:
            RabbitError: the file of the certificate authority can't be read.
        """
        host = f"[{self.host}]" if ":" in self.host else self.host
        who = f"{quote(self.username, safe='')}:{quote(self.password, safe='')}"
        scheme = "amqps" if self.is_encrypted else "amqp"
        url = f"{scheme}://{who}@{host}:{self.port}/{quote(self.vhost, safe='')}?heartbeat={heartbeat}&name=inventory-es"
        try:
            context = ssl.create_default_context(cafile=self.ca) if self.is_encrypted else None
        except OSError as problem:
            reason = f"certificate authority {self.ca}: {problem.strerror}"
            raise RabbitError(reason) from problem
        return aiormq.Connection(url, context=context)


class Link:
    """A connection that is made with its first use, and again after it was lost. Its coroutines run in one event loop.

    Args:
        place: of the server.
        heartbeat: the seconds after which each side looks for a sign of life of the other one.
    """

    def __init__(self, place: RabbitPlace, heartbeat: int) -> None:
        self._place = place
        self._heartbeat = heartbeat
        self._connecting: anyio.Lock | None = None  # of the loop that uses it, and not of the host's
        self._client: aiormq.Connection | None = None

    async def connected(self) -> aiormq.Connection:
        """Return the driver's connection, made now if there is none."""
        self._connecting = self._connecting or anyio.Lock()
        async with self._connecting:
            if self._client is None or not self._client.is_opened:
                client = self._place.client(self._heartbeat)
                await self.bounded(client.connect())
                self._client = client
            return self._client

    async def channel(self) -> AbstractChannel:
        """Return a new channel, with confirms. Closing it gives back what it did not acknowledge."""
        client = await self.connected()
        return await self.bounded(client.channel())

    def has(self, channel: AbstractChannel) -> bool:
        """Return False if a channel is closed, or was on a connection that was given up, which may not have closed it yet."""
        return self._client is not None and channel.connection is self._client and not channel.is_closed

    async def leave(self, channel: AbstractChannel) -> None:
        """Close a channel, unless it is gone."""
        if self.has(channel):
            await self._in_time(channel.close())

    async def publish(self, channel: AbstractChannel, messages: Collection[tuple[str, str, bytes, Basic.Properties]]) -> None:
        """Publish messages in their order, and wait until the server has them on its disks.

        Args:
            channel: to publish on.
            messages: each with an exchange, a routing key, a body and its properties. One for a queue (no exchange) must find the queue.
        """
        if len(messages) == 1:  # a task of its own would cost as much as the rest
            await self._publish(channel, *next(iter(messages)))
            return
        confirmed = 0
        problems: list[RabbitError] = []
        limiter = anyio.Semaphore(_MOST_AT_ONCE)

        async def send(*message: Any) -> None:
            nonlocal confirmed
            try:
                await self._publish(channel, *message)
                confirmed += 1
            except RabbitError as problem:
                problems.append(problem)
            finally:
                limiter.release()

        async with anyio.create_task_group() as tasks:
            for message in messages:
                await limiter.acquire()
                if problems:
                    break
                tasks.start_soon(send, *message)
        if problems or confirmed < len(messages):
            raise problems[0] if problems else RabbitError("the connection was lost")

    async def _publish(self, channel: AbstractChannel, exchange: str, key: str, body: bytes, properties: Basic.Properties) -> None:
        properties.delivery_mode = 2
        sending = channel.basic_publish(body, exchange=exchange, routing_key=key, properties=properties, mandatory=not exchange)
        await self.bounded(sending)

    async def bounded(self, work: Awaitable[T]) -> T:
        """Await a call of the driver.

        Raises:
            RabbitError: it failed, or has no answer in time. Then the connection is given up, since it may never answer.
        """
        try:
            with anyio.fail_after(self._place.timeout) as scope, _told_by(scope):
                return await work
        except TimeoutError as problem:
            reason = f"no answer in {self._place.timeout:g} s"
            if await self._is_blocked():
                reason += ", since an alarm blocks publishers"
            await self.close()
            raise RabbitError(reason) from problem
        except RabbitError:
            raise
        except Exception as problem:  # the driver rejects what waits on a connection with anything, even a plain Exception
            raise RabbitError(_reason_of(problem), code=_code_of(problem)) from problem

    async def close(self) -> None:
        """Close the connection. What still waits for an answer fails."""
        client, self._client = self._client, None
        if client is not None:
            await self._in_time(client.close())

    async def _in_time(self, closing: Awaitable[None]) -> None:
        with suppress(RabbitError, TimeoutError), anyio.move_on_after(min(1, self._place.timeout), shield=True) as scope, _told_by(scope):
            await closing

    async def _is_blocked(self) -> bool:
        with anyio.move_on_after(0) as look:
            if self._client is not None and self._client.is_opened:
                await self._client.ready()
        return look.cancelled_caught


@contextmanager
def _told_by(scope: anyio.CancelScope) -> Generator[None, None, None]:
    """Raise TimeoutError at the end of a scope's time, and RabbitError for another cancellation, with which the driver ends what waits.

    The driver raises cancellations of its own making in place of the scope's, which the scope would let pass.
    """
    try:
        yield
    except anyio.get_cancelled_exc_class():
        if scope.cancel_called:
            raise TimeoutError from None
        reason = "the connection was lost"
        raise RabbitError(reason) from None


def _code_of(problem: Exception) -> int:
    codes: Mapping[type[Exception], int] = {
        aiormq.exceptions.ChannelAccessRefused: 403,
        aiormq.exceptions.ChannelNotFoundEntity: 404,
        aiormq.exceptions.ChannelPreconditionFailed: 406,
    }
    return codes.get(type(problem), 0)


def _reason_of(problem: Exception) -> str:
    if isinstance(problem, aiormq.exceptions.DeliveryError):
        return "the server did not take a message"
    if "Connection.OpenOk" in str(problem):  # the driver drops the server's own words
        return "the virtual host is not there, or not for this user"
    return ": ".join(str(each) for each in problem.args if each) or repr(problem)


def _remedy_of(reason: str) -> str | None:
    """Return the action that a person must take after an error; ``None`` if it may pass by itself."""
    remedies = {
        "login was refused": "correct the user and the password in the URL",
        "access_refused": "give this user permission to configure, write and read what has its prefix",
        "certificate": "give the file of the server's certificate authority in the URL: ca=FILE",
        "virtual host": "make the virtual host of the URL, and give this user access to it",
        "alarm": "give the server more memory or disk space, or remove messages from its queues",
    }
    return next((remedy for word, remedy in remedies.items() if word in reason.lower()), None)
