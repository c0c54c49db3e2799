"""The broker of the event bus on SQS: two FIFO queues per group.

- ``PREFIX-log-GROUP.fifo`` has the events that the group has not settled. The message group of an event is the digest of its stream.
- ``PREFIX-dead-GROUP.fifo`` has the dead letters, each in a message group of its own, so that all of them can be read.

The service hands out no message of a stream while one of it is in flight. So a stream belongs to the process that has its message, and a
shard is only a part of this process. One message is received at a time, when a consumer wants it, and a refused one goes back at once. So
the service's count of receives is that of deliveries, and a process that dies spends those of no other event.

The lease is the visibility timeout of a message, which a thread renews. Its end is reckoned here too, from before the request on. After
it a receipt handle is not used any more, because the event may be with another process.
"""

import math
import os
import re
import threading
import time
from base64 import b64decode, b64encode
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache, partial
from hashlib import blake2b
from itertools import count, islice
from typing import Any, TypeVar

import anyio
import attrs

from inventory_es.adapters.sqs.place import SqsPlace
from inventory_es.ports.errors import EventBusUnavailableError, IncompatibleStoreError
from inventory_es.ports.toolkit.blocking_calls import BlockingCalls, check_wanted
from inventory_es.ports.toolkit.broker import Broker, Claim, Entry, OwnershipLostError, stream_of
from inventory_es.ports.toolkit.sharded_bus import ShardedBus

T = TypeVar("T")

_MAX_CALLS = 8
_SHARDS = 16  # of a process: how many streams share the loss of one
_BATCH = 10
_BATCH_BYTES = 1_000_000  # of the service's 1 MiB, for bodies
_LOOK = 60  # seconds for which dead letters are in flight while they are read
_PLAIN = re.compile(r"(?![0-9a-f]{40}$)[A-Za-z0-9_-]{1,40}")
_UNSAFE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # the service refuses these characters
_ATTRIBUTES: Mapping[str, str] = {
    "FifoQueue": "true",
    "DeduplicationScope": "messageGroup",
    "FifoThroughputLimit": "perMessageGroupId",
    "MaximumMessageSize": f"{1 << 20}",
    "MessageRetentionPeriod": f"{14 * 86_400}",  # the service's longest
}
_EVENT = "event"
_REFUSED = frozenset({"InvalidClientTokenId", "SignatureDoesNotMatch", "UnrecognizedClientException", "ExpiredToken", "AccessDenied"})


class _SqsError(Exception):
    """A failure that the driver does not raise. Its text says what happened."""


@attrs.define(eq=False)
class _Message:
    """A message in flight.

    Attributes:
        handle: for the one receive of the message.
        key: the service's id of the message.
        data: the entry.
        until: the end of the lease, on the monotonic clock, at the latest.
    """

    handle: str
    key: str
    data: bytes
    until: float


@attrs.define(eq=False)
class _Held:
    """A shard of a group in this process. Its messages by place; ``deliveries`` is the claim's, filled in as messages come."""

    claim: Claim
    deliveries: dict[int, int]
    messages: dict[int, _Message] = attrs.field(factory=dict[int, _Message])
    is_lost: bool = False

    def is_owned(self) -> bool:
        """Return True while every message is in flight for this process alone."""
        return not self.is_lost and all(message.until > time.monotonic() for message in tuple(self.messages.values()))


@attrs.frozen
class _Letter:
    handle: str
    key: str
    event_id: str
    body: str
    sent: int


class SqsBroker(Broker):
    """The queues of a bus. Its owner closes it.

    Args:
        place: of the service.
        client: the driver's client of it.
    """

    def __init__(self, place: SqsPlace, client: Any) -> None:
        self._name = _name_of(place)
        self._place = place
        self._client = client
        self._calls = BlockingCalls(anyio.CapacityLimiter(_MAX_CALLS), name=self._name)
        self._held: dict[tuple[str, int], _Held] = {}
        self._urls: dict[str, str] = {}
        self._places = count(1)
        self._empty: dict[str, float] = {}  # by URL of a queue, when nothing was there
        self._changes = Counter[str]()  # made by this process to a queue, after each of which something may be there
        self._handles = threading.Lock()  # a renewal that came late would hide a message that was given back
        self._reading = threading.Lock()  # of dead letters: two calls would wait for each other's
        self._is_over = threading.Event()
        self._renewal: threading.Thread | None = None

    @property
    def name(self) -> str:
        """The name for errors."""
        return self._name

    @property
    def shards(self) -> int:
        """The number of shards of this process."""
        return _SHARDS

    async def publish(self, batches: Mapping[int, Sequence[bytes]], /) -> None:
        """Send entries to the queue of each group, ten at a time. A call that fails may have sent some, to some groups."""
        entries = [(_digest(stream_of(data)), data) for batch in batches.values() for data in batch]
        urls = await self._run(self._logs)
        for batch in _rounds(entries):
            for url in urls:
                await self._run(partial(self._send, url, batch))

    async def join(self, group: str, /) -> None:
        """Make a group exist, from now on."""
        if self._queue("log", group) not in self._urls:
            await self._run(partial(self._join, group))

    async def claim(self, group: str, shards: Collection[int], /) -> Sequence[Claim]:
        """Let messages of these shards come. Those of a lost claim, or of an interrupted call, go back."""
        await self._calls.settle()  # an interrupted read may receive still
        former = [held for shard in shards if (held := self._held.get((group, shard))) is not None]
        if any(held.messages for held in former):
            await self.release([held.claim for held in former])
        made: list[Claim] = []
        for shard in shards:
            deliveries: dict[int, int] = {}
            made.append(Claim(group, shard, f"{next(self._places)}", 0, frozenset(), deliveries))
            self._held[group, shard] = _Held(made[-1], deliveries)
        return made

    async def release(self, claims: Collection[Claim], /) -> None:
        """Give up claims. Their messages go back."""
        await self._run(partial(self._release, claims))

    async def read(self, wanted: Sequence[tuple[Claim, int, int]], /) -> Sequence[Sequence[Entry] | None]:
        """Return what is in flight here, or receive one message. After none came, it is asked again when something changes, or later."""
        found = self._found(wanted)
        group = wanted[0][0].group
        emptied = self._empty.get(self._urls.get(self._queue("log", group), ""), -math.inf)
        if not any(found) and time.monotonic() - emptied > 0.9 * self._place.poll:
            await self._run(partial(self._receive, group))
            found = self._found(wanted)
        return found

    async def record(self, claim: Claim, place: int, deliveries: int, /) -> None:  # noqa: ARG002  # the port's
        """Look at the claim alone: the receive has counted the delivery."""
        self._owned(claim)

    async def settle(self, claim: Claim, places: Collection[int], /, *, low: int) -> None:  # noqa: ARG002  # the port's
        """Settle entries. A failure may leave some of them, which come again."""
        await self._run(partial(self._settle, claim, tuple(places)))

    async def refuse(self, claim: Claim, place: int, /) -> bool:
        """Let the service deliver a message again, before the next one of its stream."""
        await self._run(partial(self._refuse, claim, place))
        return True

    async def bury(self, claim: Claim, place: int, event_id: str, letter: bytes, /, *, low: int) -> None:  # noqa: ARG002  # the port's
        """Keep a dead letter, then settle the entry. Between the two it is one event in two queues, with one key."""
        await self._run(partial(self._bury, claim, place, event_id, letter))

    async def dead_letters(self, group: str, /, *, limit: int) -> Sequence[bytes]:
        """Return the oldest dead letters of a group. While they are read, they are in flight."""
        return await self._run(partial(self._with_letters, group, lambda letters: [_data_of(one.body) for one in letters[:limit]]))

    async def revive(self, group: str, event_ids: Collection[str], /) -> int:
        """Send dead letters to their log, behind what waits there. A failure in the middle leaves some in both queues."""
        return await self._run(partial(self._with_letters, group, partial(self._revive, group, frozenset(event_ids))))

    async def aclose(self) -> None:
        """Give back every message, and close the connections. Idempotent."""
        await self._calls.close(self._close)

    def _queue(self, kind: str, group: str) -> str:
        """Return the name of a queue. A digest stands for a group whose name is longer, has other characters, or is like a digest."""
        return f"{self._place.prefix}-{kind}-{group if _PLAIN.fullmatch(group) else _digest(group)}.fifo"

    def _url(self, kind: str, group: str) -> str:
        name = self._queue(kind, group)
        if name not in self._urls:
            self._urls[name] = self._client.get_queue_url(QueueName=name)["QueueUrl"]
        return self._urls[name]

    def _logs(self) -> list[str]:
        """Return the queues of all groups: those that the service lists, and those that this process has made."""
        prefix = f"{self._place.prefix}-log-"
        pages = self._client.get_paginator("list_queues").paginate(QueueNamePrefix=prefix, PaginationConfig={"PageSize": 1_000})
        listed = {url for page in pages for url in page.get("QueueUrls", ())}
        return sorted(listed.union(url for name, url in self._urls.items() if name.startswith(prefix)))

    def _join(self, group: str) -> None:
        self._create(self._queue("dead", group))
        name = self._queue("log", group)  # the last one: with it the group exists
        url = self._create(name)
        if self._client.get_queue_attributes(QueueUrl=url, AttributeNames=["RedrivePolicy"]).get("Attributes"):
            text = f"queue {name} has a redrive policy, by which the service takes events away from their group: remove it"
            raise IncompatibleStoreError(store="event bus", place=self._name, problem=text)
        self._urls[name] = url

    def _create(self, name: str) -> str:
        """Make a queue, or find it; return its URL."""
        try:
            return str(self._client.create_queue(QueueName=name, Attributes=_ATTRIBUTES)["QueueUrl"])
        except _failures() as problem:
            if _code_of(problem) not in {"QueueAlreadyExists", "QueueNameExists"}:
                raise
        return str(self._client.get_queue_url(QueueName=name)["QueueUrl"])  # its owner has changed an attribute since

    def _send(self, url: str, batch: Sequence[tuple[str, bytes]], *, event_id: str | None = None) -> None:
        """Send messages, each with its message group.

        The service drops what has an id that it had in the last five minutes. An id is of one call, and holds for the driver's second try
        alone. Otherwise, after a call that sent the second of two events, the next call would send the first one behind it, and no more.
        """
        attributes = {} if event_id is None else {_EVENT: {"DataType": "String", "StringValue": event_id}}
        unique = f"{os.getpid()}-{time.monotonic_ns()}"
        entries = [
            {
                "MessageBody": _text_of(data),
                "MessageGroupId": group,
                "MessageDeduplicationId": f"{_digest(group + unique)}-{blake2b(data, digest_size=20).hexdigest()}",
                "MessageAttributes": attributes,
            }
            for group, data in batch
        ]
        failed = self._each(self._client.send_message_batch, url, entries)
        self._note_change(url)
        if failed:
            raise _SqsError(_text_of_failure(failed))

    def _receive(self, group: str) -> None:
        if self._renewal is None:
            self._renewal = threading.Thread(target=self._renew, name=f"leases of {self._name}", daemon=True)
            self._renewal.start()
        url = self._url("log", group)
        began, changes = time.monotonic(), self._changes[url]
        found = self._client.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=1,
            VisibilityTimeout=self._place.lease,
            MessageSystemAttributeNames=["ApproximateReceiveCount", "MessageGroupId"],
        )
        if not found.get("Messages") and changes == self._changes[url]:
            self._empty[url] = began
        for message in found.get("Messages", ()):
            of = message["Attributes"]
            held, place = self._held[group, int(of["MessageGroupId"][:8], 16) % _SHARDS], next(self._places)
            held.deliveries[place] = int(of["ApproximateReceiveCount"]) - 1
            held.messages[place] = _Message(
                message["ReceiptHandle"], message["MessageId"], _data_of(message["Body"]), began + self._place.lease
            )

    def _note_change(self, url: str) -> None:
        self._changes[url] += 1
        self._empty.pop(url, None)

    def _found(self, wanted: Sequence[tuple[Claim, int, int]]) -> list[list[Entry] | None]:
        found: list[list[Entry] | None] = []
        for claim, after, limit in wanted:
            held = self._held_of(claim)
            waiting = None if held is None or not held.is_owned() else tuple(held.messages.items())
            new = None if waiting is None else (Entry(place, message.data) for place, message in waiting if place > after)
            found.append(None if new is None else list(islice(new, limit)))
        return found

    def _settle(self, claim: Claim, places: Collection[int]) -> None:
        with self._handles:
            self._delete(self._owned(claim), places)

    def _delete(self, held: _Held, places: Collection[int]) -> None:
        found = [place for place in places if place in held.messages]
        self._try(held, found, self._client.delete_message_batch)
        for place in found:
            del held.messages[place]

    def _refuse(self, claim: Claim, place: int) -> None:
        with self._handles:
            held = self._owned(claim)
            if place in held.messages:
                self._try(held, [place], self._client.change_message_visibility_batch, VisibilityTimeout=0)
                del held.messages[place]

    def _bury(self, claim: Claim, place: int, event_id: str, letter: bytes) -> None:
        with self._handles:
            held = self._owned(claim)
            if (message := held.messages.get(place)) is not None:
                until = time.monotonic() + self._place.lease  # renewed first, so that the service itself says whose message it is
                self._try(held, [place], self._client.change_message_visibility_batch, VisibilityTimeout=self._place.lease)
                message.until = until
                self._send(self._url("dead", claim.group), [(message.key, letter)], event_id=event_id)
                self._delete(held, [place])

    def _try(self, held: _Held, places: Sequence[int], call: Callable[..., Any], **settings: Any) -> None:
        """Make a call with the receipt handles of messages. One that the service refuses has expired: with it the shard is lost."""
        entries = [{"ReceiptHandle": held.messages[place].handle, **settings} for place in places]
        url = self._url("log", held.claim.group)
        failed = self._each(call, url, entries)
        self._note_change(url)
        if any(problem.get("SenderFault") for problem in failed):
            held.is_lost = True
            raise OwnershipLostError
        if failed:
            raise _SqsError(_text_of_failure(failed))

    def _each(self, call: Callable[..., Any], url: str, entries: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Make a call with entries, ten at a time; return the service's words about those that failed."""
        failed: list[Mapping[str, Any]] = []
        for start in range(0, len(entries), _BATCH):
            named = [{**entry, "Id": f"{number}"} for number, entry in enumerate(entries[start : start + _BATCH])]
            failed += call(QueueUrl=url, Entries=named).get("Failed", ())
        return failed

    def _release(self, claims: Collection[Claim]) -> None:
        given_up = [held for claim in claims if (held := self._held_of(claim)) is not None]
        try:
            self._give_back(given_up)
        finally:
            for held in given_up:
                del self._held[held.claim.group, held.claim.shard]

    def _give_back(self, given_up: Iterable[_Held]) -> None:
        with self._handles:
            for held in given_up:
                entries = [{"ReceiptHandle": one.handle, "VisibilityTimeout": 0} for one in held.messages.values()]
                held.messages.clear()
                if entries:
                    url = self._url("log", held.claim.group)
                    self._each(self._client.change_message_visibility_batch, url, entries)
                    self._note_change(url)

    def _renew(self) -> None:
        """Renew the leases at a third of their time, or soon after a failure, in a thread. A service that is away lets them end."""
        pause = self._place.lease / 3
        while not self._is_over.wait(pause):
            pause = self._place.lease / 3
            for held in tuple(self._held.values()):
                try:
                    self._renew_shard(held)
                except _failures():
                    pause = self._place.lease / 30
                    break

    def _renew_shard(self, held: _Held) -> None:
        with self._handles, suppress(OwnershipLostError):
            if held.messages and held.is_owned():
                until = time.monotonic() + self._place.lease
                places = tuple(held.messages)
                self._try(held, places, self._client.change_message_visibility_batch, VisibilityTimeout=self._place.lease)
                for place in places:
                    held.messages[place].until = until

    def _with_letters(self, group: str, use: Callable[[Sequence[_Letter]], T]) -> T:
        """Take every dead letter of a group in flight, use them, oldest first, and give back those that are not deleted."""
        try:
            url = self._url("dead", group)
        except _failures() as problem:
            if "NonExistentQueue" not in _code_of(problem) and "QueueDoesNotExist" not in _code_of(problem):
                raise
            return use(())
        found: list[_Letter] = []
        with self._reading:
            try:
                self._take_letters(url, found)
                letters = {letter.key: letter for letter in reversed(found)}
                surplus = [letter for letter in found if letters[letter.key] is not letter]  # its event was not settled with the first one
                self._each(self._client.delete_message_batch, url, [{"ReceiptHandle": one.handle} for one in surplus])
                return use(sorted(letters.values(), key=lambda one: one.sent))
            finally:
                entries = [{"ReceiptHandle": one.handle, "VisibilityTimeout": 0} for one in found]
                self._each(self._client.change_message_visibility_batch, url, entries)

    def _take_letters(self, url: str, found: list[_Letter]) -> None:
        """Receive until the service counts no further letter, neither visible nor in flight elsewhere."""
        end = time.monotonic() + _LOOK
        give_up = time.monotonic() + self._place.timeout
        while True:
            answer = self._client.receive_message(
                QueueUrl=url,
                MaxNumberOfMessages=_BATCH,
                VisibilityTimeout=_LOOK,
                MessageSystemAttributeNames=["MessageGroupId", "SentTimestamp"],
                MessageAttributeNames=[_EVENT],
            )
            messages = answer.get("Messages", ())
            for message in messages:
                of, event_id = message["Attributes"], message.get("MessageAttributes", {}).get(_EVENT, {}).get("StringValue", "")
                found.append(_Letter(message["ReceiptHandle"], of["MessageGroupId"], event_id, message["Body"], int(of["SentTimestamp"])))
            if messages:
                give_up = time.monotonic() + self._place.timeout
            elif self._count(url) <= len(found):
                return
            if time.monotonic() > min(give_up, end):
                reason = "another process reads the dead letters, or the service's count of them is late: try again in a minute"
                raise _SqsError(reason)
            if not messages:
                check_wanted()
                self._is_over.wait(0.05)

    def _count(self, url: str) -> int:
        names = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
        found = self._client.get_queue_attributes(QueueUrl=url, AttributeNames=list(names))["Attributes"]
        return sum(int(found[name]) for name in names)

    def _revive(self, group: str, event_ids: Collection[str], letters: Sequence[_Letter]) -> int:
        found = [letter for letter in letters if letter.event_id in event_ids]
        for batch in _rounds((_digest(stream_of(data)), data) for data in (_data_of(letter.body) for letter in found)):
            self._send(self._url("log", group), batch)
        entries = [{"ReceiptHandle": letter.handle} for letter in found]
        failed = self._each(self._client.delete_message_batch, self._url("dead", group), entries) if found else ()
        if failed:
            raise _SqsError(_text_of_failure(failed))
        return len(found)

    def _owned(self, claim: Claim) -> _Held:
        held = self._held_of(claim)
        if held is None or not held.is_owned():
            raise OwnershipLostError
        return held

    def _held_of(self, claim: Claim) -> _Held | None:
        held = self._held.get((claim.group, claim.shard))
        return held if held is not None and held.claim is claim else None

    def _close(self) -> None:
        self._is_over.set()
        if self._renewal is not None:
            self._renewal.join()
        with suppress(*_failures()):  # the leases end by themselves
            self._give_back(self._held.values())
        self._client.close()

    async def _run(self, function: Callable[[], T]) -> T:
        await self._calls.settle()  # a call that a cancelled caller left behind must not land after this one
        return await self._calls.run(partial(_translated, self._name, function))


class SqsEventBus(ShardedBus):
    """An event bus on Amazon SQS. Opened by :func:`~inventory_es.adapters.sqs.open_sqs_event_bus`.

    Each group has a FIFO queue of its own, which gets events from its first subscription on. The service keeps an event for at most 14
    days. ``publish`` sends to one queue after another, and never waits for a slow group. Of a failed call some groups may have some events.

    It is durable: the service stores each event, answer and dead letter in several places before its answer.
    """


def opened(place: SqsPlace) -> SqsBroker:
    """Return the broker of a place, after one request to it.

    Raises:
        EventBusUnavailableError: the service is away or refuses.
    """
    return _translated(_name_of(place), partial(_open, place))


@cache
def _failures() -> tuple[type[Exception], ...]:
    """Return the errors of the driver and our own. The driver takes half a second to import, so that is done when a bus is opened."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415  # as it says

    return BotoCoreError, ClientError, _SqsError


@cache
def _models() -> Any:
    """Return the driver's reader of its descriptions of services. It keeps what it has read, in 0.1 s, and no credentials."""
    from botocore.loaders import create_loader  # noqa: PLC0415  # see above

    return create_loader()


def _open(place: SqsPlace) -> SqsBroker:
    from botocore.config import Config  # noqa: PLC0415  # see above
    from botocore.session import get_session  # noqa: PLC0415  # see above

    config = Config(
        connect_timeout=place.timeout,
        read_timeout=place.timeout,
        max_pool_connections=_MAX_CALLS + 1,
        retries={"mode": "standard", "total_max_attempts": 2},
    )
    session = get_session()
    session.register_component("data_loader", _models())
    client = session.create_client("sqs", region_name=place.region, endpoint_url=place.endpoint, config=config)
    try:
        client.list_queues(QueueNamePrefix=f"{place.prefix}-log-", MaxResults=1)
    except BaseException:
        client.close()
        raise
    return SqsBroker(place, client)


def _translated(name: str, function: Callable[[], T]) -> T:
    """Call a function, and raise the error of the port. No text has credentials: the driver's own words about them are left out."""
    try:
        return function()
    except _SqsError as problem:
        raise EventBusUnavailableError(bus=name, reason=str(problem)) from problem
    except _failures() as problem:
        remedy = None
        if type(problem).__name__ == "NoCredentialsError":
            remedy = "give the driver credentials: in the environment, a profile, or the role of a machine"
        elif _code_of(problem) in _REFUSED:
            remedy = "give the driver right credentials, and them the permissions of the bus"
        raise EventBusUnavailableError(bus=name, reason=_reason_of(problem), remedy=remedy) from problem


def _name_of(place: SqsPlace) -> str:
    return f"SQS event bus {place}"


def _code_of(problem: Exception) -> str:
    return str((getattr(problem, "response", None) or {}).get("Error", {}).get("Code", ""))  # one without an answer has None


def _reason_of(problem: Exception) -> str:
    if _code_of(problem) in _REFUSED:
        return _code_of(problem)
    return str(problem)


def _text_of_failure(failed: Sequence[Mapping[str, Any]]) -> str:
    return f"{failed[0].get('Code')}: {failed[0].get('Message', '')}"


def _rounds(entries: Iterable[tuple[str, bytes]]) -> Iterator[list[tuple[str, bytes]]]:
    """Yield batches in which each stream has one entry: the service may take one entry of a batch and refuse the one before it."""
    waiting: dict[str, deque[bytes]] = {}
    for stream, data in entries:
        waiting.setdefault(stream, deque()).append(data)
    while waiting:
        batch: list[tuple[str, bytes]] = []
        room = _BATCH_BYTES
        for stream in tuple(islice(waiting, _BATCH)):
            room -= len(_text_of(waiting[stream][0]).encode())
            if batch and room < 0:
                break
            batch.append((stream, waiting[stream].popleft()))
            if not waiting[stream]:
                del waiting[stream]
        yield batch


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=20).hexdigest()


def _text_of(data: bytes) -> str:
    """Return the body of a message: the entry, or, if the service would refuse it, its Base64 behind ``=``."""
    if data.startswith(b"{"):
        text = data.decode()
        if not _UNSAFE.search(text):
            return text
    return f"={b64encode(data).decode()}"


def _data_of(body: str) -> bytes:
    try:
        return b64decode(body[1:], validate=True) if body.startswith("=") else body.encode()
    except ValueError:  # a stranger's: the bus says that it is no event
        return body.encode()
