"""The declarations of an adapter next to the observations of its cases."""

from collections.abc import Iterator, Mapping, Sequence

from inventory_es.testing.contracts.core.runner import Result

PROVED_BY: Mapping[str, Sequence[str]] = {
    "durability": ("ES-21", "ES-36", "ES-45", "ES-80", "ES-84"),
    "feed": ("ES-33", "ES-34", "ES-35", "ES-36", "ES-37", "ES-38", "ES-39", "ES-40", "ES-73", "ES-74", "ES-75"),
    "multi_process": ("ES-42", "ES-43"),
    "multi_stream": ("ES-15",),
    "group_commit": ("ES-47",),
    "unique_event_ids": ("ES-17", "ES-18", "ES-19", "ES-71", "ES-72"),
    "settles_within": ("ES-81", "ES-82", "ES-83"),
    "turns_by_stream": ("ES-96", "ES-97"),
    "survives_fork": ("ES-54", "ES-55", "RM-10", "SN-7", "CA-30", "EB-40"),
    "max_event_bytes": ("ES-29", "ES-78", "EB-19"),
    "max_append_events": ("ES-14", "ES-72"),
    "max_append_bytes": ("ES-14", "ES-78"),
    "withdraws": ("ES-60",),
    "capacity": ("CA-13",),
    "is_durable": ("CA-20", "SN-6", "CK-4"),
    "when_down": ("CA-18",),
    "durable": ("EB-11", "EB-17", "EB-20"),
    "late_subscribers": ("EB-16",),
    "max_deliveries": ("EB-09",),
    "max_pending": ("EB-12",),
    "max_in_memory": ("EB-12",),
}
"""By capability, the promises that compare its declaration, or its absence, with the behaviour."""


def rows(declared: Mapping[str, object], results: Sequence[Result]) -> Iterator[tuple[str, str, str]]:
    """Yield one row per capability: its name, its declaration, and the observation of its cases."""
    for name, value in declared.items():
        proved_by = PROVED_BY.get(name, ())
        yield name, str(value), " · ".join(_verdicts(results, proved_by)) or "not run"


def loops(tried: Sequence[str], missing: Sequence[str]) -> str:
    """Return the event loops that were tried and not tried."""
    return " · ".join([*(f"{backend} tried" for backend in tried), *(f"{backend} not tried" for backend in missing)])


def _verdicts(results: Sequence[Result], promise_ids: Sequence[str]) -> Iterator[str]:
    for promise_id in promise_ids:
        verdicts = sorted({result.verdict for result in results if result.promise.id == promise_id})
        if verdicts:
            yield f"{promise_id} {', '.join(verdicts)}"
