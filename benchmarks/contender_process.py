"""The contender's end of the line: tasks come in, measures go out, a line of JSON each.

Only the standard library: it runs in the peers' own environments too. One contender works at a time; the others wait here for
their turn, asleep.
"""

import gc
import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.measure import Measures
from benchmarks.sizes import Sizes

Task = Callable[[Path, Sizes], Measures]
"""Does its work in a folder and says what it measured."""


def serve(tasks: Mapping[str, Task]) -> None:
    """Answer until the other end hangs up. What anything prints goes to the standard error."""
    answers = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        gc.collect()
        answer: dict[str, object]
        try:
            answer = {"measures": tasks[request["task"]](Path(request["folder"]), request["sizes"])}
        except Exception:  # noqa: BLE001  # the run goes on without this figure, and says why
            answer = {"error": traceback.format_exc()}
        answers.write(json.dumps(answer) + "\n")
