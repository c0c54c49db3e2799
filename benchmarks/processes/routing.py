"""The owner of a stream among processes, by rendezvous hashing: consistent hashing without a ring.

Every process has a score for every stream, and the highest score wins (D. Thaler, C. Ravishankar: "Using Name-Based Mappings to Increase
Hit Rates", 1998). Processes that know the same members agree without communication. A process that joins takes its fair share from all
others. The streams of a process that leaves spread over all others. No other stream moves.
"""

from collections.abc import Sequence
from hashlib import blake2b


def owner_of(stream: str, processes: Sequence[str]) -> str:
    """Return the process that a stream belongs to.

    Args:
        stream: id of the stream as text.
        processes: names of the present processes, at least one, in any order.
    """
    return max(processes, key=lambda process: blake2b(f"{process}\n{stream}".encode(), digest_size=8).digest())
