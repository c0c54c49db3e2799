"""Bytes that an adapter may mistake for an end, a number, nothing, or its own encoding."""

import bz2
import gzip
import lzma
import pickle
import zlib
from base64 import b64encode
from typing import Final

HOSTILE_BYTES: Final = (
    bytes(range(256)), b"", b"\x00", b"a\x00b", b"a\x00", b"\x00a", b"\xff\xfe", b"\xef\xbb\xbfa", b"\r\n", b"a\n", b"a\r\nb", b" a ",
    b"\ta", "\u2028".encode(), b"null", b"None", b"nil", b"true", b"TRUE", b"0", b"007", b"-0", b"+1", b"1.0", b"1e3", b"NaN", b"{}",
    b"[1, 2]", b'{"b": 1, "a": 1}', b'"', b'"a"', b"'", b"\\n", b"\\x41", b"%41", b"a+b", b"&amp;", b64encode(b"text"), b"74657874",
    gzip.compress(b"text"), zlib.compress(b"text"), bz2.compress(b"text"), lzma.compress(b"text"), b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd",
    b"\x80\x04N.", pickle.dumps("text"), b"x" * 100_000,
)  # fmt: skip
