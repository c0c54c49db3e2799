"""Who is measured, and how each is started."""

import attrs

TASKS = ("commands", "hot", "log")
"""What every contender may do, in this order; ours do more."""


@attrs.frozen
class Contender:
    """One way of doing the job.

    Attributes:
        name: as tables show it.
        module: what its process runs, and with which arguments.
        environment: a name of :mod:`benchmarks.environments`; ``None`` for our own.
        is_durable: whether what it acknowledges has been synced.
        tasks: those of :data:`TASKS` that it is measured in.
    """

    name: str
    module: tuple[str, ...]
    environment: str | None = None
    is_durable: bool = True
    tasks: tuple[str, ...] = TASKS

    @property
    def is_ours(self) -> bool:
        """Whether it is the engine."""
        return self.environment is None


OURS = tuple(
    Contender(f"{title}, {backend}", ("benchmarks.engine", store, backend), is_durable=store != "memory")
    for store, title in (("file", "file"), ("sqlite", "SQLite"), ("memory", "memory"))
    for backend in ("asyncio", "trio")
)

_EVENTSOURCING = "benchmarks.peers.library_eventsourcing"

PEERS = (
    Contender("eventsourcing, SQLite", (_EVENTSOURCING, "sqlite"), "eventsourcing"),
    Contender("eventsourcing, SQLite, its cache", (_EVENTSOURCING, "sqlite", "--cache"), "eventsourcing", tasks=("commands", "hot")),
    Contender(
        "eventsourcing, SQLite, its cache, a lock a product",
        (_EVENTSOURCING, "sqlite", "--cache", "--lock"),
        "eventsourcing",
        tasks=("hot",),
    ),
    Contender("eventsource-py, SQLite", ("benchmarks.peers.library_eventsource",), "eventsource-py"),
    Contender(
        "eventsource-py, SQLite, a lock a product", ("benchmarks.peers.library_eventsource", "--lock"), "eventsource-py", tasks=("hot",)
    ),
    Contender("umadb server", ("benchmarks.peers.server_umadb",), "umadb"),
    Contender(
        "umadb server, state kept, a lock a product", ("benchmarks.peers.server_umadb", "--keep"), "umadb", tasks=("commands", "hot")
    ),
    Contender("eventsourcing, memory", (_EVENTSOURCING, "memory"), "eventsourcing", is_durable=False),
    Contender(
        "eventsourcing, memory, its cache",
        (_EVENTSOURCING, "memory", "--cache"),
        "eventsourcing",
        is_durable=False,
        tasks=("commands", "hot"),
    ),
)
