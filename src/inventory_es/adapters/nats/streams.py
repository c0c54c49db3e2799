"""The two streams of a bus on JetStream: made or checked, written in one step, and read from any place."""

import json
from base64 import b64decode
from collections.abc import Mapping, Sequence
from typing import Any, cast

import attrs
from nats.aio.msg import Msg
from nats.nuid import NUID

from inventory_es.adapters.nats.connection import Connection, NatsError, NatsPlace
from inventory_es.ports.errors import IncompatibleStoreError

_SHARDS = 16
_READ_BYTES = 1 << 20
_NO_STREAM = 10059
_STREAM_EXISTS = 10058
_NO_MESSAGE = 10037
_SHARDS_KEY = "inventory_es_shards"


class Streams:
    """The streams of a bus. For tasks of the event loop of the connection."""

    def __init__(self, place: NatsPlace, connection: Connection) -> None:
        self.prefix: str = place.prefix
        self.log: str = f"{place.prefix}-log"
        self.groups: str = f"{place.prefix}-groups"
        self._connection = connection
        self._ids = NUID()

    async def api(self, call: str, **arguments: Any) -> dict[str, Any]:
        """Call JetStream."""
        return _answer(await self._connection.ask(f"$JS.API.{call}", json.dumps(arguments).encode()))

    async def publish(self, messages: Sequence[tuple[str, bytes, Mapping[str, str]]]) -> int:
        """Publish messages to a stream, all or none; return the sequence of the last one."""
        if len(messages) > 1:
            batch = self._ids.next().decode()
            of_batch = [{**headers, "Nats-Batch-Id": batch, "Nats-Batch-Sequence": f"{n}"} for n, (_, _, headers) in enumerate(messages, 1)]
            of_batch[-1]["Nats-Batch-Commit"] = "1"
            messages = [(subject, data, headers) for (subject, data, _), headers in zip(messages, of_batch, strict=True)]
        return int(_answer(await self._connection.ask_with(messages))["seq"])

    async def read(self, stream: str, **wanted: Any) -> tuple[list[tuple[int, Msg]], int]:
        """Return messages of a stream with their sequences, and the number of those behind them."""
        request = json.dumps({"max_bytes": _READ_BYTES, **wanted}).encode()
        *messages, end = await self._connection.ask_many(f"$JS.API.DIRECT.GET.{stream}", request)
        status = header_of(end, "Status")
        if status not in {"204", "404"}:
            msg = f"{stream} can't be read: {status} {header_of(end, 'Description')}"
            raise NatsError(msg)
        found = [(int(header_of(message, "Nats-Sequence")), message) for message in messages]
        before = [int(header_of(message, "Nats-Last-Sequence")) for message in [*messages, *([end] if messages else [])]]
        if before[1:] != [sequence for sequence, _ in found]:
            msg = f"{stream} was read with a gap"
            raise NatsError(msg)
        return found, int(header_of(end, "Nats-Num-Pending") or 0)

    async def last(self, subject: str) -> tuple[int, bytes] | None:
        """Return the sequence and the data of the state behind a subject, as the leader of its stream has it."""
        try:
            found = (await self.api(f"STREAM.MSG.GET.{self.groups}", last_by_subj=subject))["message"]
        except NatsError as problem:
            if problem.code == _NO_MESSAGE:
                return None
            raise
        return int(found["seq"]), b64decode(found.get("data", ""))

    def new_token(self) -> str:
        """Return a text that no other claim has."""
        return self._ids.next().decode()


@attrs.frozen
class Found:
    """The streams of a bus that are there and right, and their settings."""

    streams: Streams
    shards: int
    replicas: int
    max_event_bytes: int


async def prepare(place: NatsPlace, name: str, connection: Connection) -> Found:
    """Make or check the streams of a bus."""
    streams = Streams(place, connection)
    shards, replicas = place.options.get("shards"), place.options.get("replicas")
    common = {
        "storage": "file",
        "num_replicas": int(replicas or 1),
        "allow_direct": True,
        "allow_atomic": True,
        "metadata": {_SHARDS_KEY: shards or f"{_SHARDS}"},
    }
    subjects = [f"{place.prefix}.{of}" for of in ("joined.*", "of.*.*", "letter.*.*.*")]
    log = {"name": streams.log, "subjects": [f"{place.prefix}.log.*"], "discard": "new", **common}
    groups = {"name": streams.groups, "subjects": subjects, "max_msgs_per_subject": 1, "allow_msg_ttl": True, **common}
    found = [await _stream(streams, settings) for settings in (log, groups)]
    actual_shards = found[0].get("metadata", {}).get(_SHARDS_KEY, "0")
    actual_replicas = min(int(one["num_replicas"]) for one in found)
    problem = _problem_of(found[0], log) or _problem_of(found[1], groups)
    if not problem and shards not in {None, actual_shards}:
        problem = f"it has {actual_shards} shards, not {shards}: leave the option out, or choose another prefix"
    if not problem and replicas not in {None, f"{actual_replicas}"}:
        problem = f"it has {actual_replicas} replicas, not {replicas}: leave the option out, or edit its streams"
    if problem:
        raise IncompatibleStoreError(store="event bus", place=name, problem=problem)
    size = await connection.max_payload() // 2  # the other half is for the names, and for the reason of a dead letter
    return Found(streams, int(actual_shards), actual_replicas, min(1 << 20, size))


async def _stream(streams: Streams, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the settings of a stream, which is made if there is none."""
    name = settings["name"]
    for call, arguments in (("INFO", {}), ("CREATE", settings)):
        try:
            return cast(Mapping[str, Any], (await streams.api(f"STREAM.{call}.{name}", **arguments))["config"])
        except NatsError as problem:
            if problem.code not in {_NO_STREAM, _STREAM_EXISTS}:  # the latter if another process was faster, with other settings
                raise
    return cast(Mapping[str, Any], (await streams.api(f"STREAM.INFO.{name}"))["config"])


def _problem_of(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Return a sentence about the settings of a stream under which it would lose messages, or lack what the bus needs."""
    name = wanted["name"]
    needed = [flag for flag in ("allow_atomic", "allow_direct", "allow_msg_ttl") if wanted.get(flag)]
    if not all(found.get(flag) for flag in needed):
        return f"its stream {name} lacks {', '.join(needed)}, which a server of 2.12 or newer has: edit it, or choose another prefix"
    if found.get("storage") != "file" or found.get("persist_mode", "default") not in {"", "default"}:
        return f"its stream {name} is not written to a file before it is acknowledged: choose another prefix"
    if found.get("retention") != "limits" or found.get("max_age") or _SHARDS_KEY not in found.get("metadata", {}):
        return f"its stream {name} removes messages, or is of something else: choose another prefix"
    if found.get("max_msgs_per_subject", -1) != wanted.get("max_msgs_per_subject", -1):
        return f"its stream {name} has another max_msgs_per_subject: choose another prefix"
    if found.get("discard") != "new" and max(found.get("max_msgs", -1), found.get("max_bytes", -1)) > 0:
        return f"its stream {name} removes messages above a limit: set no limit, or discard new"
    return ""


def _answer(message: Msg) -> dict[str, Any]:
    """Return the fields of an answer of JetStream."""
    found: dict[str, Any] = json.loads(message.data)
    if (error := found.get("error")) is not None:
        reason = str(error["description"])
        is_full = "exceed" in reason or "insufficient" in reason
        remedy = "raise the limits of JetStream, or trim the bus" if is_full else None
        raise NatsError(reason, code=int(error.get("err_code", 0)), remedy=remedy)
    return found


def subject_of(message: Msg) -> str:
    """Return the subject under which a message is stored."""
    return header_of(message, "Nats-Subject")


def header_of(message: Msg, name: str) -> str:
    """Return a header of a message; an empty text for none."""
    return (message.headers or {}).get(name, "")
