"""Stream ids: a category and parts, written as one unambiguous text.

The text joins the parts with ``-``. Inside a part, ``-``, ``%`` and control characters are percent-encoded (lower-case hex of
the UTF-8 bytes). A part that is a canonical lower-case UUID stays literal. The reader takes five adjacent pieces that form a UUID
as one part. If five real parts would read as a UUID, the first character of the first part is encoded.
"""

import re
from collections.abc import Iterator
from functools import cached_property
from typing import Self
from urllib.parse import unquote_to_bytes

import attrs

MAX_PART_LENGTH = 128
MAX_PARTS = 16
PIECES_OF_A_UUID = 5

_CATEGORY = re.compile(r"[a-z][a-z0-9_]{0,63}")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_ENCODED_IN_TEXT = re.compile(r"[-%\x00-\x1f\x7f-\x9f]")


@attrs.frozen(init=False, eq=False, repr=False, slots=False)
class StreamId:
    """The name of one stream: a category (``inventory``) and 1 to 16 parts (product, store).

    Equal by category and parts, ordered by its text, hashable. ``str(stream)`` and :meth:`parse` are inverse to each other.

    Args:
        category: lower-case ASCII letters, digits and ``_``, starting with a letter, 1 to 64 characters.
        parts: texts of 1 to 128 characters, any Unicode but lone surrogates.

    Raises:
        ValueError: a category or part that breaks these rules.
    """

    category: str
    parts: tuple[str, ...]

    def __init__(self, category: str, *parts: str) -> None:
        if not isinstance(category, str) or not _CATEGORY.fullmatch(category):
            msg = "a stream category is 1 to 64 lower-case ASCII letters, digits and '_', starting with a letter"
            raise ValueError(msg)
        if not 1 <= len(parts) <= MAX_PARTS:
            msg = f"a stream id has 1 to {MAX_PARTS} parts after its category, not {len(parts)}"
            raise ValueError(msg)
        for part in parts:
            _check_part(part)
        object.__setattr__(self, "category", category)
        object.__setattr__(self, "parts", parts)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse the text of a stream id, the inverse of ``str(stream)``.

        Raises:
            ValueError: not the canonical text of a stream id.
        """
        category, _, rest = text.partition("-")
        stream = cls(category, *_read_parts(rest))
        if str(stream) != text:
            msg = "not the canonical text of a stream id: write it with str(StreamId(...))"
            raise ValueError(msg)
        return stream

    @cached_property
    def text(self) -> str:
        """The canonical text, the same as ``str(stream)``."""
        return "-".join((self.category, *encode_parts(self.parts, _ENCODED_IN_TEXT)))

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"StreamId.parse({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, StreamId) and self.text == other.text)

    def __hash__(self) -> int:
        return self._hash

    def __lt__(self, other: "StreamId") -> bool:
        return self.text < other.text

    def __reduce__(self) -> tuple[type[Self], tuple[str, ...]]:
        return type(self), (self.category, *self.parts)

    @cached_property
    def _hash(self) -> int:
        return hash(self.text)


def encode_parts(parts: tuple[str, ...], encoded: re.Pattern[str]) -> list[str]:
    """Percent-encode the matches of ``encoded`` in each part. UUIDs stay literal, and the joined text stays unambiguous.

    Args:
        parts: the parts of a stream id, as the caller wrote them.
        encoded: matches each single character that may not stand literally; it must match ``-`` and ``%``.
    """
    pieces = [part if _UUID.fullmatch(part) else encoded.sub(_percent, part) for part in parts]
    for start in range(len(pieces) - PIECES_OF_A_UUID + 1):
        if _UUID.fullmatch("-".join(pieces[start : start + PIECES_OF_A_UUID])):
            first = pieces[start]
            pieces[start] = _percent_text(first[0]) + first[1:]
    return pieces


def _read_parts(text: str) -> Iterator[str]:
    pieces = text.split("-")
    at = 0
    while at < len(pieces):
        joined = "-".join(pieces[at : at + PIECES_OF_A_UUID])
        if _UUID.fullmatch(joined):
            yield joined
            at += PIECES_OF_A_UUID
        else:
            yield unquote_to_bytes(pieces[at]).decode("utf-8")
            at += 1


def _check_part(part: object) -> None:
    if not isinstance(part, str) or not 1 <= len(part) <= MAX_PART_LENGTH:
        msg = f"a part of a stream id is a text of 1 to {MAX_PART_LENGTH} characters"
        raise ValueError(msg)
    if not part.isascii():
        try:
            part.encode("utf-8")
        except UnicodeEncodeError:
            msg = "a part of a stream id has a lone surrogate, which no encoding can carry"
            raise ValueError(msg) from None


def _percent(match: re.Match[str]) -> str:
    return _percent_text(match[0])


def _percent_text(character: str) -> str:
    return "".join(f"%{byte:02x}" for byte in character.encode("utf-8"))
