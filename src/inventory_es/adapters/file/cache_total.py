"""How much a cache folder holds, kept in its lock file, so that no process needs to count for each entry that it adds.

A writer marks it as uncertain before it changes an entry and writes the new total after. Whoever finds the mark, which a writer
that died left behind, or anything else, counts.
"""

import re

import attrs

from inventory_es.ports.file_system import File

_RECORD = re.compile(rb"([0-9]{20}) entries, ([0-9]{20}) bytes\n")
_RECORD_BYTES = len(b"%020d entries, %020d bytes\n" % (0, 0))
_UNCERTAIN = b"uncertain"


@attrs.frozen
class CacheTotal:
    """What all entries of a folder come to."""

    entries: int
    size: int

    def plus(self, entries: int, size: int) -> "CacheTotal":
        """The total after a change."""
        return CacheTotal(self.entries + entries, self.size + size)


def read_total(file: File) -> CacheTotal | None:
    """What the lock file says; ``None`` if it is uncertain. The caller holds the lock."""
    found = _RECORD.fullmatch(file.read(_RECORD_BYTES, 0))
    return None if found is None else CacheTotal(int(found[1]), int(found[2]))


def write_total(file: File, total: CacheTotal | None) -> None:
    """Write it, or with ``None`` the mark. The caller holds the lock."""
    if total is None:
        file.write(_UNCERTAIN, 0)
    else:
        file.write(b"%020d entries, %020d bytes\n" % (total.entries, total.size), 0)
