"""Protocols that adapters implement, and the records that cross them."""

from inventory_es.ports.cache import Cache, CacheEntry
from inventory_es.ports.capabilities import Durability, FeedKind, StoreCapabilities
from inventory_es.ports.clock import Clock, IdGenerator, SteadyClock
from inventory_es.ports.codec import BatchCodec, EncodedEvent, EventCodec, KnownGoodCodec, SnapshotCodec
from inventory_es.ports.event_bus import BusCapabilities, BusSubscription, DeadLetter, Delivery, EventBus
from inventory_es.ports.event_store import EventFeed, EventStore, GroupCommit, StreamCatalogue, TurnTaking, VersionGlance
from inventory_es.ports.file_system import File, FileSystem, LockFile, OpenMode
from inventory_es.ports.metadata import EventMetadata
from inventory_es.ports.read_model import (
    Add,
    Change,
    Checkpoint,
    Delete,
    EventMark,
    Patch,
    ProjectionId,
    ProjectionVersion,
    Put,
    ReadModel,
    Row,
    RowsPage,
    Table,
)
from inventory_es.ports.records import (
    AppendResult,
    FeedPage,
    NewEvent,
    RecordedEvent,
    StreamHead,
    StreamPage,
    StreamsPage,
    StreamWrite,
)
from inventory_es.ports.snapshot_store import Snapshot, SnapshotStore

__all__ = [
    "Add",
    "AppendResult",
    "BatchCodec",
    "BusCapabilities",
    "BusSubscription",
    "Cache",
    "CacheEntry",
    "Change",
    "Checkpoint",
    "Clock",
    "DeadLetter",
    "Delete",
    "Delivery",
    "Durability",
    "EncodedEvent",
    "EventBus",
    "EventCodec",
    "EventFeed",
    "EventMark",
    "EventMetadata",
    "EventStore",
    "FeedKind",
    "FeedPage",
    "File",
    "FileSystem",
    "GroupCommit",
    "IdGenerator",
    "KnownGoodCodec",
    "LockFile",
    "NewEvent",
    "OpenMode",
    "Patch",
    "ProjectionId",
    "ProjectionVersion",
    "Put",
    "ReadModel",
    "RecordedEvent",
    "Row",
    "RowsPage",
    "Snapshot",
    "SnapshotCodec",
    "SnapshotStore",
    "SteadyClock",
    "StoreCapabilities",
    "StreamCatalogue",
    "StreamHead",
    "StreamPage",
    "StreamWrite",
    "StreamsPage",
    "Table",
    "TurnTaking",
    "VersionGlance",
]
