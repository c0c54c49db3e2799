"""The index of the event store, derived from the journal."""
