"""Which states a power cut may leave a disk in.

Two models, since neither catches everything:

``prefix``
    Each file has a prefix of its unsynced bytes, cut at every byte; a truncate happened or did not.
``blocks``
    Each sector of a file has any of the contents that it had since the last sync, whatever its neighbours have, and the file any
    of its lengths. Within the length, where a sector was never written, stand zeros, or garbage, or what an old file left there:
    this file's own first bytes, which look just like good data.

In both, each directory has a prefix of its unsynced entries (file systems journal them in order), and one file's state says nothing
about another's: the states of a disk are the product of those of its files and directories. A product over the bound is cut down
to: each file through all its states, with all others at their oldest, then at their newest; and combinations drawn by chance.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, product
from math import prod
from random import Random
from typing import Literal, TypeVar

import attrs

from inventory_es.testing.crash.disk import Content, Disk, Entries, Folder, Truncate, apply, apply_entry

Model = Literal["prefix", "blocks"]
MODELS: tuple[Model, ...] = ("prefix", "blocks")
GARBAGE = bytes.fromhex("a57b225d0a")
MOST_IMAGES = 4_096

_T = TypeVar("_T")


@attrs.frozen(kw_only=True)
class PowerCuts:
    """Lists the states after a power cut.

    Attributes:
        sector: bytes that the disk writes at once. Far smaller than a real one, so that a line has several.
        most: the bound on the states of one crash point and model.
    """

    sector: int = 96
    most: int = 2_000

    def states(self, disk: Disk, model: Model, chance: Random) -> Iterator[Disk]:
        """Every state, or as many as the bound allows, the oldest first; ``chance`` draws where there are too many."""
        files = {n: self._images(file, model, chance) for n, file in disk.files.items() if file.pending or file.is_lossy}
        folders = {n: _listings(folder) for n, folder in disk.folders.items() if folder.durable is not folder.cache}
        choices: list[Sequence[bytes] | Sequence[Entries]] = [*files.values(), *folders.values()]
        for picked in _combinations([range(len(choice)) for choice in choices], self.most, chance):
            places = iter(picked)
            contents = {number: images[next(places)] for number, images in files.items()}
            yield disk.cut(contents, {number: listings[next(places)] for number, listings in folders.items()})

    def _images(self, file: Content, model: Model, chance: Random) -> Sequence[bytes]:
        found = _prefixes(file) if model == "prefix" else self._mixtures(file, chance)
        return tuple(dict.fromkeys(found))

    def _mixtures(self, file: Content, chance: Random) -> Iterator[bytes]:
        contents = _contents(file)
        sizes = sorted({len(content) for content in contents})
        sectors = range(-(-sizes[-1] // self.sector))
        versions = [self._versions(contents, sector) for sector in sectors]
        for picked in _combinations([range(len(version)) for version in versions], MOST_IMAGES // 8, chance):
            slices = [version[place] for version, place in zip(versions, picked, strict=True)]
            for size in sizes:
                for fill in (b"\0", GARBAGE, file.durable[: self.sector] or GARBAGE):
                    yield self._assembled(slices, size, fill)

    def _versions(self, contents: Sequence[bytes], sector: int) -> Sequence[bytes]:
        """What a sector may hold. Being cut off is no content of its own: the length tells that."""
        slices = [content[sector * self.sector : (sector + 1) * self.sector] for content in contents]
        kept = [new for old, new in zip([b"", *slices], slices, strict=False) if not old.startswith(new) or new == slices[0]]
        return tuple(dict.fromkeys([slices[0], *kept]))

    def _assembled(self, slices: Iterable[bytes], size: int, fill: bytes) -> bytes:
        filling = (fill * (self.sector // len(fill) + 1))[: self.sector]
        return b"".join(part if len(part) == self.sector else part + filling[len(part) :] for part in slices)[:size]


def _contents(file: Content) -> list[bytes]:
    """What the file held after the last sync and after each change since."""
    contents = [file.durable]
    for change in file.pending:
        contents.append(apply(contents[-1], change))
    return contents


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
    listings: list[Entries] = [folder.durable]
    for change in folder.pending:
        listings.append(apply_entry(listings[-1], change))
    return listings


def _combinations(choices: Sequence[Sequence[_T]], most: int, chance: Random) -> Iterator[tuple[_T, ...]]:
    """The product, or a part of it that has each choice and at most about ``most`` combinations."""
    if prod(map(len, choices)) <= most:
        return product(*choices)
    return chain(_one_at_a_time(choices), (tuple(map(chance.choice, choices)) for _ in range(most)))


def _one_at_a_time(choices: Sequence[Sequence[_T]]) -> Iterator[tuple[_T, ...]]:
    for others in (0, -1):
        still = [choice[others] for choice in choices]
        for place, choice in enumerate(choices):
            for picked in choice:
                yield (*still[:place], picked, *still[place + 1 :])

