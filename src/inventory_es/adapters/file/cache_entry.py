"""The stored form of one cache entry: a line of JSON, and the value as it is.

    {"key":"stock:85123A:berlin","version":7,"since":"…Z","until":"…Z","size":12,"checksum":"5e6f7a8b"}
    …12 bytes…

The checksum is the CRC-32 of everything else in it. Nothing in it is ever executed or unpickled.
"""

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from zlib import crc32

import msgspec

SUFFIX = ".entry"
MAX_HEADER_BYTES = 8_192
_NAME_LENGTH = 64 + len(SUFFIX)
_UTC = timedelta(0)


class EntryHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first line, but for its line break."""

    key: str
    version: int
    since: datetime
    until: datetime
    size: int
    checksum: str


def entry_name(key: str) -> str:
    """The name of a key's file: a SHA-256, so that no key is too long, hostile or equal to another on any file system."""
    return sha256(key.encode()).hexdigest() + SUFFIX


def is_entry_name(name: str) -> bool:
    """Whether :func:`entry_name` may have made it."""
    return len(name) == _NAME_LENGTH and name.endswith(SUFFIX)


def encode_entry(key: str, value: bytes, *, version: int, since: datetime, until: datetime) -> bytes:
    """The whole file."""
    unsealed = EntryHeader(key, version, since, until, len(value), "")
    header = msgspec.structs.replace(unsealed, checksum=_checksum(unsealed, value))
    return msgspec.json.encode(header) + b"\n" + value


def decode_entry(data: bytes, key: str) -> tuple[EntryHeader, bytes] | None:
    """The entry of ``key``; ``None`` if this is not it, or broken."""
    line, _, value = data.partition(b"\n")
    try:
        header = msgspec.json.decode(line, type=EntryHeader)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    is_intact = (
        header.key == key
        and header.size == len(value)
        and header.version >= 0
        and header.since.utcoffset() == _UTC
        and header.until.utcoffset() == _UTC
        and header.checksum == _checksum(msgspec.structs.replace(header, checksum=""), value)
    )
    return (header, value) if is_intact else None


def since_of(start: bytes) -> datetime:
    """When the entry that begins so was set; the beginning of time if this begins no entry."""
    try:
        return msgspec.json.decode(start.partition(b"\n")[0], type=EntryHeader).since.astimezone(UTC)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError):
        return datetime.min.replace(tzinfo=UTC)


def _checksum(unsealed: EntryHeader, value: bytes) -> str:
    return f"{crc32(value, crc32(msgspec.json.encode(unsealed))):08x}"
