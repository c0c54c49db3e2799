"""The contender's side of the connection: it receives tasks and sends measures, one line of JSON each.

Uses only the standard library, because the peers' own environments run it too. One contender works at a time, while the others sleep.
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
"""A task that works in a folder, and returns its measures."""


def serve(tasks: Mapping[str, Task]) -> None:
    """Answer tasks until the other side closes. Everything that is printed goes to standard error."""
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
