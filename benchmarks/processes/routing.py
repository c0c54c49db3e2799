"""Which process a stream belongs to: rendezvous hashing, consistent hashing without a ring.

Every process is scored for every stream, and the highest score wins (D. Thaler, C. Ravishankar: "Using Name-Based Mappings to
Increase Hit Rates", 1998). Whoever knows the same processes comes to the same answer, without asking anybody. When a process comes,
it takes its fair share from all the others; when it goes, its streams spread over all the others; no other stream moves.
"""

from collections.abc import Sequence
from hashlib import blake2b


def owner_of(stream: str, processes: Sequence[str]) -> str:
    """The process that a stream belongs to.

    Args:
        stream: its id as text.
        processes: the names of those that are there, at least one, in any order.
    """
    return max(processes, key=lambda process: blake2b(f"{process}\n{stream}".encode(), digest_size=8).digest())
