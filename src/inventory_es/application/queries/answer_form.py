"""How an answer lies in a cache: sealed, so that what the cache gives back is known to be that answer, of that key, and not too old.

::

    checksum (4) | computed at, seconds since 1970 (8) | position (8) | length of the key (2) | key | the answer as JSON

A cache may lose, delay and mix up what it was given; it may be shared by releases that know other fields. Whatever does not read back
as the answer that was asked for is a miss.
"""

import struct
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar
from zlib import crc32

import msgspec

T = TypeVar("T")

_CHECKSUM = struct.Struct("<I")
_HEAD = struct.Struct("<dQH")
_BEGIN = _CHECKSUM.size + _HEAD.size


class AnswerForm(Generic[T]):
    """Turns answers of one type into bytes and back.

    Args:
        kind: the type.
    """

    def __init__(self, kind: Any) -> None:
        self._encode = msgspec.json.Encoder().encode
        self._decode = msgspec.json.Decoder(kind).decode

    def seal(self, key: str, answer: T, position: int, at: datetime) -> bytes:
        """The bytes to cache.

        Args:
            key: of the entry.
            answer: what was computed.
            position: as of which position.
            at: when, UTC.
        """
        name = key.encode()
        body = _HEAD.pack(at.timestamp(), position, len(name)) + name + self._encode(answer)
        return _CHECKSUM.pack(crc32(body)) + body

    def unseal(self, key: str, sealed: bytes, *, now: datetime, ttl: timedelta) -> tuple[T, int] | None:
        """The answer and its position; ``None`` where the bytes are no answer of this key from within ``ttl`` before now."""
        try:
            (checksum,) = _CHECKSUM.unpack_from(sealed)
            computed_at, position, length = _HEAD.unpack_from(sealed, _CHECKSUM.size)
            body = memoryview(sealed)
            if checksum != crc32(body[_CHECKSUM.size :]) or body[_BEGIN : _BEGIN + length] != key.encode():
                return None
            if not 0 <= now.timestamp() - computed_at < ttl.total_seconds():
                return None
            return self._decode(body[_BEGIN + length :]), position
        except (struct.error, msgspec.MsgspecError, ValueError, OverflowError, RecursionError):
            return None
