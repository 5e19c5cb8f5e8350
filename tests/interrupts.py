"""KeyboardInterrupt at every moment of a call at which a signal can interrupt it.

    for subject in interrupted(make, call, module, …):      once for each moment, and last without an interrupt
        …                                                   what must be true of the subject now

CPython lets a signal in where a function begins, after each call that it makes and at each turn of a loop. Here an
interrupt comes at all of those but the last, and at each line of the modules besides. C code is one step.
"""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from types import CodeType, FrameType, ModuleType
from typing import Any, TypeVar

from tests.faults import no_collector

T = TypeVar("T")


def interrupted(make: Callable[[], T], call: Callable[[T], object], *modules: ModuleType) -> Iterator[T]:
    """What `make` gave, after `call` of it was interrupted at the first moment, the second, … until it was not."""
    moment = 0
    while True:
        moment += 1
        subject = make()
        came = next(_interrupt(lambda subject=subject: call(subject), moment, modules))  # type: ignore[misc]
        yield subject
        if not came:
            assert moment > 2, "nothing of these modules was called"
            return


def _interrupt(call: Callable[[], object], moment: int, modules: tuple[ModuleType, ...]) -> Iterator[bool]:
    """Yields whether there was such a moment.

    A generator, which takes along what a trace function that raises in an exception handler leaves in the interpreter:
    the exception that was being handled, with all its frames.
    """
    files = {module.__file__ for module in modules}
    left = moment

    def count(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal left
        if event == "line" or (event == "opcode" and frame.f_lasti in _after_calls(frame.f_code)):
            left -= 1
            if not left:
                raise KeyboardInterrupt
        return count

    def enter(frame: FrameType, event: str, argument: Any) -> Any:
        if frame.f_code.co_filename not in files:
            return None
        frame.f_trace_opcodes = True
        return count

    before = sys.gettrace()
    with no_collector():
        sys.settrace(enter)
        try:
            call()
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)
    yield left <= 0


_found: dict[CodeType, frozenset[int]] = {}


def _after_calls(code: CodeType) -> frozenset[int]:
    """The offsets of the instructions behind a call."""
    if code not in _found:
        steps = list(dis.get_instructions(code))
        calls = ("CALL", "CALL_FUNCTION_EX", "CALL_KW")
        _found[code] = frozenset(after.offset for step, after in pairwise(steps) if step.opname in calls)
    return _found[code]
