"""What a store declares about itself, as data."""

from typing import Literal

import attrs

Durability = Literal["none", "process", "os", "power"]
FeedKind = Literal["none", "total"]


@attrs.frozen(kw_only=True)
class StoreCapabilities:
    """What a store promises beyond the least. Defaults are pessimistic; the contract tests hold that declared and observed agree.

    Attributes:
        durability: whose crash an acknowledged append survives: nobody's, this process's, the operating system's, a power cut.
        feed: ``total`` where the store is an :class:`~inventory_es.ports.EventFeed` too.
        multi_process: whether several processes (and several instances in one) may open the same data.
        multi_stream: whether one append may write to several streams, all or none.
        group_commit: whether the store is a :class:`~inventory_es.ports.GroupCommit` too.
        unique_event_ids: whether an event id is found for ever; otherwise an append is idempotent only at the versions it expects.
        withdraws: whether an append whose caller is cancelled is withdrawn where it only waits for others, with
            :class:`~inventory_es.ports.toolkit.blocking_calls.WithdrawnError` as the cause of the cancellation; and where it has begun,
            finished and answered in ``finishing``.
        settles_within: seconds after which an append without an answer (:class:`~inventory_es.ports.errors.AppendOutcomeUnknownError`, or
            its caller was cancelled) has taken effect or never will, counted from the end of its call and as this handle reads. 0: it has
            when the call ends, or reads wait for it. ``None``: no such time is known.
        survives_fork: whether a process that has it open may fork or become a daemon. The process goes on, a child that opens the place
            beside it loses nothing, and the handle that the child inherited raises ``StoreClosedError``. Needs ``multi_process``.
        max_event_bytes: the largest event (data and metadata), in bytes.
        max_append_events: the most events in one append.
        max_append_bytes: the most bytes (data and metadata of all its events) in one append. A maximum itself is taken, by whatever
            number of streams.
    """

    durability: Durability = "none"
    feed: FeedKind = "none"
    multi_process: bool = False
    multi_stream: bool = False
    group_commit: bool = False
    unique_event_ids: bool = False
    withdraws: bool = False
    settles_within: float | None = None
    survives_fork: bool = False
    max_event_bytes: int = 1 << 20
    max_append_events: int = 1_000
    max_append_bytes: int = 8 << 20
