"""The promises that a simulation checks, and the error of a broken one."""

import attrs

from inventory_es.testing.promise import Promise


def _promise(promise_id: str, sentence: str) -> Promise:
    return Promise(promise_id, sentence, 0)


KEPT = _promise("SIM-1", "What was acknowledged is in the log, exactly once, as it was acknowledged; what was refused is not.")
EXPLAINED = _promise("SIM-2", "Every answer is one that a state gives which the stream had between question and answer.")
REACHED = _promise("SIM-3", "Once faults stop, every projection reaches the end, and equals the fold of the log.")
CACHED = _promise("SIM-4", "What a cache answers was true within its time to live.")
ENDS = _promise("SIM-5", "Nobody waits for ever.")
ONCE = _promise("P21", "Redelivering accepted commands, however often and however late, changes nothing.")
NAMED_ONCE = _promise("P22", "The same id with another payload never changes state.")
SERIAL = _promise("P29", "The accepted commands of a stream are equivalent to some serial order.")
WHOLE = _promise("P30", "An order over several lines is all or nothing.")
REBUILT = _promise("P33", "A projection rebuilt from zero equals the live one.")


@attrs.define(eq=False, slots=False)
class BreachError(Exception):
    """A broken promise.

    Attributes:
        promise: the promise.
        expected: what the promise asks for.
        got: what was seen.
        meaning: why that breaks the promise.
    """

    promise: Promise
    expected: str
    got: str
    meaning: str

    def __str__(self) -> str:
        return f"{self.promise.id}: expected {self.expected}; got {self.got}: {self.meaning}"
