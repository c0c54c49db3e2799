"""Standard output of the kit's own commands, in any encoding."""

import sys
from io import TextIOWrapper


def escape_what_is_lacking() -> None:
    """Have both streams write an escape for each character that their encoding lacks, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
