"""The place of a Kafka cluster, and the topics of a bus there: made or checked."""

import logging
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, Self, TypeVar
from urllib.parse import unquote, urlsplit

import attrs
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from inventory_es.ports.errors import EventBusUnavailableError, IncompatibleStoreError
from inventory_es.ports.toolkit.urls import masked, options_of, split_url, timeout_of

T = TypeVar("T")

_OPTIONS = frozenset({"ca", "prefix", "sasl", "timeout", "tls"})
_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_PREFIX = re.compile(r"[A-Za-z0-9_-]{1,64}")
_DEFAULT_PORT = 9092
_SHARDS = 16
_LOGGER = logging.getLogger("inventory_es.kafka")
_LOGGER.addHandler(logging.NullHandler())  # the driver would write to stderr otherwise


@attrs.frozen(kw_only=True)
class KafkaPlace:
    """The place of a cluster: what a URL says.

    Attributes:
        hosts: one or more addresses, as ``host:port``.
        username: for SASL; ``None`` for none.
        password: for SASL. No text shows it.
        mechanism: of SASL.
        is_encrypted: True if the servers must speak TLS with a verified certificate.
        ca: the file of the certificate authority; ``None`` for the system's.
        prefix: of every topic and group, so that several stores share a cluster.
        timeout: the longest wait for one answer, in seconds.
        options: those of the adapter, as texts.
    """

    hosts: tuple[str, ...]
    username: str | None = attrs.field(repr=False)
    password: str = attrs.field(repr=False)
    mechanism: str
    is_encrypted: bool
    ca: str | None
    prefix: str
    timeout: float
    options: Mapping[str, str]

    @classmethod
    def parse(cls, url: str, *, timeout: float, own: Collection[str] = ()) -> Self:
        """Read a URL ``kafka://[user:password@]host[:port][,host[:port]…][?option=value&…]``.

        Args:
            url: to read. Its options are ``prefix``, ``timeout`` in seconds, ``tls=yes``, ``ca=FILE`` and ``sasl=MECHANISM``.
            timeout: the default of that option.
            own: further options, of the adapter.

        Raises:
            ValueError: the URL is no such URL. The message has no password.
        """
        given, parts = options_of(url, _OPTIONS | set(own)), split_url(url)
        credentials, _, hosts = parts.netloc.rpartition("@")
        if parts.scheme != "kafka" or not hosts or parts.path.strip("/"):
            msg = f"{masked(url)!r} names no server: write kafka://host:9092, or kafka://one:9092,two:9092 for several of a cluster"
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
        mechanism = given.get("sasl", "PLAIN")
        if mechanism not in _MECHANISMS or bool(user) != bool(colon) or ("sasl" in given and not user):
            msg = f"{masked(url)!r}: SASL needs USER:PASSWORD@ before the host, and sasl is one of {', '.join(_MECHANISMS)}"
            raise ValueError(msg)
        return cls(
            hosts=tuple(_address(url, host) for host in hosts.split(",")),
            username=unquote(user) or None,
            password=unquote(password),
            mechanism=mechanism,
            is_encrypted=tls == "yes",
            ca=given.get("ca"),
            prefix=prefix,
            timeout=timeout_of(url, given, timeout),
            options={name: value for name, value in given.items() if name in own},
        )

    def __str__(self) -> str:
        """Return the place without user and password."""
        return f"{','.join(self.hosts)}, prefix {self.prefix}"

    @property
    def log(self) -> str:
        """The topic of the events, a partition of which is a shard."""
        return f"{self.prefix}.log"

    @property
    def letters(self) -> str:
        """The topic of the dead letters, of one partition."""
        return f"{self.prefix}.letters"

    def group_prefix(self) -> str:
        """Return what the id of every group of the bus begins with."""
        return f"{self.prefix}.group."

    def settings(self, **more: Any) -> dict[str, Any]:
        """Return the settings of a client of the driver. What it would print goes to the logger ``inventory_es.kafka``."""
        milliseconds = max(10, round(self.timeout * 1_000))
        found: dict[str, Any] = {
            "bootstrap.servers": ",".join(self.hosts),
            "security.protocol": ("SASL_" if self.username else "") + ("SSL" if self.is_encrypted else "PLAINTEXT"),
            "socket.timeout.ms": milliseconds,
            "socket.connection.setup.timeout.ms": max(1_000, milliseconds),
            "reconnect.backoff.ms": 20,
            "reconnect.backoff.max.ms": 500,
            "logger": _LOGGER,
            "error_cb": _ignore,
            **more,
        }
        if self.username:
            found |= {"sasl.mechanism": self.mechanism, "sasl.username": self.username, "sasl.password": self.password}
        if self.is_encrypted and self.ca:
            found["ssl.ca.location"] = self.ca
        return found


@attrs.frozen
class Found:
    """The topics of a bus that are there and right, and what the cluster says about them."""

    shards: int
    is_durable: bool
    max_event_bytes: int


def prepare(place: KafkaPlace, name: str, admin: AdminClient) -> Found:
    """Make or check the topics of a bus."""
    shards, replicas = place.options.get("shards"), int(place.options.get("replicas", -1))
    kept = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}
    if replicas >= 3:
        kept["min.insync.replicas"] = f"{replicas // 2 + 1}"
    topics = {place.log: int(shards or _SHARDS), place.letters: 1}
    wanted = [NewTopic(topic, count, replicas, config=kept) for topic, count in topics.items()]
    existing = admin.list_topics(timeout=place.timeout).topics
    missing = [topic for topic in wanted if topic.topic not in existing]
    for future in admin.create_topics(missing, request_timeout=place.timeout).values() if missing else ():
        try:
            future.result(place.timeout)
        except KafkaException as refused:
            if refused.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:  # another process was faster
                raise
    existing = admin.list_topics(timeout=place.timeout).topics
    resources = [ConfigResource(ResourceType.TOPIC, topic) for topic in topics]
    described = admin.describe_configs(resources, request_timeout=place.timeout)
    configs = {key.name: {name: entry.value for name, entry in future.result(place.timeout).items()} for key, future in described.items()}
    partitions = {topic: existing[topic].partitions if topic in existing else {} for topic in topics}
    actual = len(partitions[place.log])
    problem_found = next((problem for topic in topics if (problem := _problem_of(topic, configs[topic]))), "")
    if not problem_found and (not actual or (shards is not None and actual != int(shards))):
        problem_found = f"it has {actual} shards, not {shards}: leave the option out, or choose another prefix"
    if not problem_found and len(partitions[place.letters]) != 1:
        problem_found = f"its topic {place.letters} has {len(partitions[place.letters])} partitions, not 1: choose another prefix"
    if problem_found:
        raise IncompatibleStoreError(store="event bus", place=name, problem=problem_found)
    least = min(len(of.replicas) for topic in topics for of in partitions[topic].values())
    in_sync = min(int(configs[topic].get("min.insync.replicas", 1)) for topic in topics)
    unclean = any(configs[topic].get("unclean.leader.election.enable") == "true" for topic in topics)
    size = min(int(configs[topic].get("max.message.bytes", 1_000_000)) for topic in topics) // 2  # the rest is for a dead letter's reason
    return Found(actual, is_durable(least, in_sync, is_unclean=unclean), min(1 << 20, size))


def is_durable(replicas: int, in_sync: int, *, is_unclean: bool) -> bool:
    """Return True if what the cluster acknowledges is on two servers, and stays when one of them is away."""
    return replicas > in_sync >= 2 and not is_unclean


def _problem_of(topic: str, config: Mapping[str, str | None]) -> str:
    """Return a sentence about settings under which a topic would lose events."""
    if config.get("cleanup.policy") != "delete":
        return f"its topic {topic} is compacted, so that events vanish: set cleanup.policy=delete, or choose another prefix"
    if config.get("retention.ms") != "-1" or config.get("retention.bytes") not in {"-1", None}:
        return f"its topic {topic} removes events by itself: set retention.ms=-1 and retention.bytes=-1, and trim the bus"
    return ""


def translated(name: str, function: Callable[[], T]) -> T:
    """Call a function, and raise the error of the port."""
    try:
        return function()
    except KafkaException as problem:
        error = problem.args[0]
        raise EventBusUnavailableError(bus=name, reason=error.str(), remedy=_remedy_of(error)) from problem
    except TimeoutError as problem:
        raise EventBusUnavailableError(bus=name, reason=str(problem) or "no answer in time") from problem


_REMEDIES = {
    KafkaError._AUTHENTICATION: "correct the user, the password and the option sasl in the URL",  # noqa: SLF001  # public, by its documentation
    KafkaError.SASL_AUTHENTICATION_FAILED: "correct the user, the password and the option sasl in the URL",
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "give this user the rights to create, describe, read and write the topics of its prefix",
    KafkaError.GROUP_AUTHORIZATION_FAILED: "give this user the rights to read the groups of its prefix",
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: "give this user the right to write the transactional ids of its prefix",
    KafkaError.OFFSET_METADATA_TOO_LARGE: "raise the servers' offset.metadata.max.bytes to 4096 or more",
    KafkaError.INVALID_SESSION_TIMEOUT: "choose a lease between the servers' group.min.session.timeout.ms and its max",
    KafkaError.INVALID_REPLICATION_FACTOR: "choose no more replicas than the cluster has servers",
    KafkaError._SSL: "correct the options tls and ca in the URL",  # noqa: SLF001  # public too
}


def _remedy_of(error: KafkaError) -> str | None:
    """Return the action that a person must take after an error; ``None`` if it may pass by itself."""
    return _REMEDIES.get(error.code())


def _ignore(_error: KafkaError) -> None:
    """Ignore an error of the driver's background: the call that it hurts tells it."""


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
