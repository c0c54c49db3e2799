"""The states that a power cut may leave a disk in.

There are two models, because neither catches everything:

``prefix``
    Each file has a prefix of its unsynced bytes, cut at every byte. A truncate happened or did not.
``blocks``
    Each sector of a file has any of its contents since the last sync, independent of its neighbours. The file has any of its lengths.
    A sector within the length that was never written holds zeros, garbage, or what an old file left there: this file's own bytes from
    its start, which look just like good data.

In both models, each directory has a prefix of its unsynced entries, because file systems journal them in order. One file's state says
nothing about another's: the states of a disk are the product of those of its files and directories. If there are more of them than
asked for, the oldest and the newest are taken. If there is room, each file then goes through all its states while all others are at
their oldest, and again at their newest. The rest are combinations drawn by chance.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate, chain, pairwise, product
from math import prod
from random import Random
from typing import Literal

from inventory_es.testing.crash.disk import Content, Disk, Entries, Folder, Truncate, apply, apply_entry

Model = Literal["prefix", "blocks"]
MODELS: tuple[Model, ...] = ("prefix", "blocks")
SECTOR = 96
"""Bytes that the disk writes at once: far fewer than on a real disk, so that one line of a journal has several sectors."""

_GARBAGE = bytes.fromhex("a57b225d0a")
_MOST_MIXTURES = 512

_Places = Iterable[tuple[int, ...]]


def power_cuts(disk: Disk, model: Model, chance: Random, *, most: int) -> Iterator[Disk]:
    """Yield the states that a power cut may leave: all of them, or ``most``."""
    files = {n: images(file, model) for n, file in disk.files.items() if file.pending or file.is_lossy}
    folders = {n: _listings(folder) for n, folder in disk.folders.items() if folder.durable is not folder.cache}
    sizes = [*map(len, files.values()), *map(len, folders.values())]
    for picked in _combinations(sizes, chance, most=most):
        places = iter(picked)
        contents = {number: found[next(places)] for number, found in files.items()}
        yield disk.cut(contents, {number: found[next(places)] for number, found in folders.items()})


@lru_cache(maxsize=1_024)
def images(file: Content, model: Model, *, sector: int = SECTOR) -> Sequence[bytes]:
    """Return the contents that a power cut may leave of one file, oldest first, newest last. Very many mixtures are sampled."""
    found = _prefixes(file) if model == "prefix" else _mixtures(file, sector)
    newest = _contents(file)[-1]
    return (*(image for image in dict.fromkeys(found) if image != newest), newest)


def _mixtures(file: Content, sector: int) -> Iterator[bytes]:
    contents = _contents(file)
    sizes = sorted({len(content) for content in contents})
    versions = [_versions(contents, start, sector) for start in range(0, sizes[-1], sector)]
    old = file.durable
    backgrounds = [old + _repeated(fill, sizes[-1] - len(old)) for fill in (b"\0", _GARBAGE, old or _GARBAGE)]
    for picked in _combinations(list(map(len, versions)), Random(len(file.cache)), most=_MOST_MIXTURES):
        slices = [version[place] for version, place in zip(versions, picked, strict=True)]
        for background in backgrounds:
            parts = (part + background[at * sector + len(part) : (at + 1) * sector] for at, part in enumerate(slices))
            whole = b"".join(parts)
            for size in sizes:
                yield whole[:size]


def _repeated(pattern: bytes, size: int) -> bytes:
    return (pattern * (size // len(pattern) + 1))[: max(0, size)]


def _versions(contents: Sequence[bytes], start: int, sector: int) -> Sequence[bytes]:
    """Return the contents that a sector may hold. A sector that is cut off has no content of its own: the file's length covers that."""
    slices = [content[start : start + sector] for content in contents]
    changed = [new for old, new in pairwise(slices) if not old.startswith(new)]
    return tuple(dict.fromkeys([slices[0], *changed]))


def _contents(file: Content) -> list[bytes]:
    """Return the file's content after the last sync and after each change since."""
    return [*accumulate(file.pending, apply, initial=file.durable)]


def _prefixes(file: Content) -> Iterator[bytes]:
    content = file.durable
    yield content
    for change in file.pending:
        if not isinstance(change, Truncate):
            for size in range(1, len(change.data)):
                yield apply(content, change._replace(data=change.data[:size]))
        content = apply(content, change)
        yield content


def _listings(folder: Folder) -> Sequence[Entries]:
    return [*accumulate(folder.pending, apply_entry, initial=folder.durable)]


def _combinations(sizes: Sequence[int], chance: Random, *, most: int) -> _Places:
    """Return choices of one place below each size: the whole product, or ``most`` of it."""
    if prod(sizes) <= most:
        return product(*map(range, sizes))
    corners = [tuple(0 for _ in sizes), tuple(size - 1 for size in sizes)]
    one_at_a_time = list(_one_at_a_time(corners, sizes)) if 2 * sum(sizes) <= most else corners[:most]
    return chain(one_at_a_time, (tuple(map(chance.randrange, sizes)) for _ in range(most - len(one_at_a_time))))


def _one_at_a_time(corners: Sequence[tuple[int, ...]], sizes: Sequence[int]) -> _Places:
    for corner in corners:
        for place, size in enumerate(sizes):
            for picked in range(size):
                yield (*corner[:place], picked, *corner[place + 1 :])
