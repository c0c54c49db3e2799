"""The contenders, and how each is started."""

import attrs

TASKS = ("commands", "hot", "log")
"""The tasks of all contenders, in this order. Ours have more."""


@attrs.frozen
class Contender:
    """One contender: a library or a store of the engine.

    Attributes:
        name: the name in tables.
        module: the module that the process runs, and its arguments.
        environment: a name of :mod:`benchmarks.environments`; ``None`` for our own.
        is_durable: True if the contender syncs before it acknowledges.
        tasks: the tasks of :data:`TASKS` that the contender is measured in.
    """

    name: str
    module: tuple[str, ...]
    environment: str | None = None
    is_durable: bool = True
    tasks: tuple[str, ...] = TASKS

    @property
    def is_ours(self) -> bool:
        """True for the engine."""
        return self.environment is None


OURS = tuple(
    Contender(
        f"{title}, {backend}",
        ("benchmarks.engine", store, backend),
        is_durable=store != "memory",
        tasks=("commands", "hot") if backend == "threads" else TASKS,
    )
    for store, title in (("file", "file"), ("sqlite", "SQLite"), ("memory", "memory"))
    for backend in ("asyncio", "trio", "threads")
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

_ON_POSTGRESQL = ("eventsourcing on PostgreSQL", "eventsource-py on PostgreSQL")

RAW = Contender("raw lock and statement", ("benchmarks.engine.raw_postgresql",))
POSTGRESQL = Contender("inventory_es", ("benchmarks.engine", "postgresql", "asyncio"))

ON_POSTGRESQL = (
    RAW,
    POSTGRESQL,
    Contender("eventsourcing", (_EVENTSOURCING, "postgresql"), _ON_POSTGRESQL[0]),
    Contender("eventsourcing, its cache", (_EVENTSOURCING, "postgresql", "--cache"), _ON_POSTGRESQL[0], tasks=("commands", "hot")),
    Contender(
        "eventsourcing, its cache, a lock a product", (_EVENTSOURCING, "postgresql", "--cache", "--lock"), _ON_POSTGRESQL[0], tasks=("hot",)
    ),
    Contender("eventsource-py", ("benchmarks.peers.library_eventsource", "--postgresql"), _ON_POSTGRESQL[1]),
    Contender("umadb, its own server", ("benchmarks.peers.server_umadb",), "umadb"),
)
"""Those on one PostgreSQL server: the raw work, ours, and the peers, with a peer that is a server of its own."""
