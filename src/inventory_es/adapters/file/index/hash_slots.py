"""Open-addressing hash tables over 64-bit keys, as flat integers that can be written to a file and mapped from it.

A table has slots; each is 0 or one more than the row of the key that stands there. The keys themselves stand in an array of their
own, by row. Two rows may have one key (a collision of hashes): a look-up gives both, and its caller looks closer.
"""

from array import array
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from uuid import UUID

_MASK = (1 << 64) - 1
_SPREAD = 0x9E3779B97F4A7C15  # 2**64 divided by the golden ratio: Fibonacci hashing, Knuth, TAOCP 6.4
_MIN_BITS = 3


@lru_cache(maxsize=8_192)
def stream_key(name: str) -> int:
    """64 bits of a stream's text, the same in every process."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little")


def event_key(event_id: UUID, stream: int) -> int:
    """64 bits of an event id within the stream that has this key."""
    number = event_id.int
    return (number ^ (number >> 64) ^ stream) & _MASK


def build_slots(keys: Sequence[int]) -> "array[int]":
    """The slots for these keys, at most half of them taken."""
    bits = max(_MIN_BITS, (2 * len(keys) - 1).bit_length())
    mask, shift = (1 << bits) - 1, 64 - bits
    slots = array("I", bytes(4 << bits))
    for row, key in enumerate(keys, 1):
        at = (key * _SPREAD & _MASK) >> shift
        while slots[at]:
            at = (at + 1) & mask
        slots[at] = row
    return slots


def find_rows(slots: Sequence[int], keys: Sequence[int], key: int) -> Sequence[int]:
    """Return every row that has this key.

    Raises:
        IndexError: no slot is free, or a row has no key: they are not what :func:`build_slots` gave.
    """
    mask = len(slots) - 1
    at = (key * _SPREAD & _MASK) >> (64 - mask.bit_length())
    found: tuple[int, ...] = ()
    for _ in range(mask + 1):
        row = slots[at]
        if not row:
            return found
        if keys[row - 1] == key:
            found = (*found, row - 1)
        at = (at + 1) & mask
    msg = "no slot is free"
    raise IndexError(msg)
