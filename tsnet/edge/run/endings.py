"""What must all be done when something ends: each step, whatever another one raises.

Not here: what ends, and why.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable

from tsnet.edge.io.log import log


def end_all(what: str, steps: Iterable[Callable[[], object]]) -> None:
    """Take every step. What one raises is logged as a fault of this library, even what would end the thread.

    what: whose end it is, for the log.
    """
    for step in steps:
        try:
            step()
        except BaseException:
            with contextlib.suppress(BaseException):
                log.exception(f"{what} could not be ended in order; please report it")
