"""All mutants, by port and promise."""

from tests.contract.mutants import (
    answer_mutants,
    bus_cancellation_mutants,
    bus_mutants,
    cache_mutants,
    catalogue_mutants,
    feed_mutants,
    fidelity_mutants,
    dead_letter_mutants,
    delivery_mutants,
    following_mutants,
    fork_mutants,
    glance_mutants,
    identity_mutants,
    place_mutants,
    process_mutants,
    read_model_mutants,
    reading_mutants,
    snapshot_mutants,
    turn_mutants,
    writing_mutants,
)
from tests.contract.mutants.mutant import MUTANTS as _REGISTERED

_MODULES = (
    answer_mutants,
    bus_cancellation_mutants,
    bus_mutants,
    cache_mutants,
    catalogue_mutants,
    feed_mutants,
    fidelity_mutants,
    dead_letter_mutants,
    delivery_mutants,
    following_mutants,
    fork_mutants,
    glance_mutants,
    identity_mutants,
    place_mutants,
    process_mutants,
    read_model_mutants,
    reading_mutants,
    snapshot_mutants,
    turn_mutants,
    writing_mutants,
)
MUTANTS = sorted(_REGISTERED, key=lambda mutant: (mutant.port, mutant.promise_id, mutant.name))
