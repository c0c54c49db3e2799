"""Interruptions at every place where the interpreter looks for signals: when a function begins, after each call, at each jump back."""

import contextlib
import dis
import sys
import threading
from collections.abc import Callable, Collection
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import inventory_es

EVERYWHERE = (str(Path(inventory_es.__file__).parent), contextlib.__file__, threading.__file__)
"""The beginnings of the names of the package's files, and of what it enters blocks and threads by."""

_LOOKS = ("CALL", "JUMP_BACKWARD", "POP_JUMP_BACKWARD", "RESUME")


@cache
def _instructions(code: CodeType) -> dict[int, tuple[bool, int | None]]:
    """By offset: True if the interpreter looks for signals after the instruction, and what handles an exception that it raises."""
    entries: Any = dis._parse_exception_table(code)  # type: ignore[attr-defined]  # no public function tells it
    handlers = {at: one.target for one in reversed(entries) for at in range(one.start, one.end)}
    return {one.offset: (one.opname.startswith(_LOOKS), handlers.get(one.offset)) for one in dis.get_instructions(code)}


def _is_in_finalizer(frame: FrameType | None) -> bool:
    while frame is not None and frame.f_code.co_name != "__del__":
        frame = frame.f_back
    return frame is not None


class InterruptedAt:
    """A trace that raises ``KeyboardInterrupt`` at one of these places.

    A trace raises before the next instruction. Where that has another handler than the one that looks, the place is left out.

    Args:
        place: the number of the place, 1 for the first.
        files: the beginnings of the names of the files that are interrupted.

    Attributes:
        left: the number of places that were not reached; 0 or less if it interrupted.
        where: the place as text, once it interrupted.
    """

    def __init__(self, place: int, files: Collection[str] = EVERYWHERE) -> None:
        self.left = place
        self.where = ""
        self._files = tuple(files)
        self._last: dict[int, tuple[bool, int | None]] = {}  # by id: a frame that is held keeps what it refers to

    def __call__(self, frame: FrameType, what: str, _: object) -> "InterruptedAt | None":
        if not frame.f_code.co_filename.startswith(self._files):
            return None
        frame.f_trace_opcodes = True
        if what == "call":
            self._last.pop(id(frame), None)
        elif what == "opcode":
            instruction = _instructions(frame.f_code)[frame.f_lasti]
            looks, handler = self._last.get(id(frame), (True, instruction[1]))
            self._last[id(frame)] = instruction
            if looks and handler == instruction[1]:
                self.left -= self.left != 1 or not _is_in_finalizer(frame)  # which would swallow it
                if self.left == 0:
                    self.where = f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_qualname}"
                    raise KeyboardInterrupt
        return self

    def run(self, work: Callable[[], object]) -> BaseException | None:
        """Run the work, and return the exception that ended it. It lives on, as in the shell of a notebook."""
        sys.settrace(self)
        try:
            work()
        except BaseException as problem:  # noqa: BLE001  # the interruption, or what became of it
            return problem
        finally:
            sys.settrace(None)
        return None
