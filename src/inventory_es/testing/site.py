"""The place where an adapter under test keeps its data."""

from pathlib import Path

import attrs


@attrs.frozen(eq=False)
class Site:
    """A fresh, empty place for the data of one run of one case. Opening the same site again must show the same data.

    Attributes:
        name: unique among all runs and processes: lower-case ASCII letters, digits and ``_``, at most 40 characters. Fit for the
            name of a schema or a database, or for a key prefix.
        path: an empty folder that exists; the kit removes it with its content after the run.
    """

    name: str
    path: Path
