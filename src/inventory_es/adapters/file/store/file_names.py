"""Names of the people's files: no two streams share one, on case-folding and normalising file systems either."""

import re
from hashlib import blake2b

from inventory_es.domain.stream_id import StreamId, encode_parts

SUFFIX = ".jsonl"
_ENCODED_IN_NAME = re.compile(r"[^a-z0-9_.]")
_MAX_NAME = 255 - len(SUFFIX)
_KEPT = 180


def file_name(stream: StreamId) -> str:
    """The name of a stream's file, at most 255 bytes of ASCII.

    Every character but lower-case ASCII letters, digits, ``_`` and ``.`` is percent-encoded; a canonical UUID stays. A longer name is
    cut and ends in ``+`` and a hash of the stream id; no other name has a ``+``.
    """
    name = "-".join((stream.category, *encode_parts(stream.parts, _ENCODED_IN_NAME)))
    if len(name) > _MAX_NAME:
        name = f"{name[:_KEPT]}+{blake2b(stream.text.encode(), digest_size=16).hexdigest()}"
    return name + SUFFIX
