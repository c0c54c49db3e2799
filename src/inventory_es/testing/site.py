"""A place where an adapter under test keeps its data."""

from pathlib import Path

import attrs


@attrs.frozen(eq=False)
class Site:
    """A fresh, empty place, made by the kit for one run of one case. Opening the same site again must show the same data.

    Attributes:
        name: unique among all runs and processes: lower-case ASCII letters, digits and ``_``, at most 40 characters. Good as the
            name of a schema, a database, a key prefix.
        path: an empty folder that exists; removed, with all that is in it, after the run.
    """

    name: str
    path: Path
