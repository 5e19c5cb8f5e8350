"""The start of a thread that somebody waits for, in the words of this library's errors.

Not here: threads that nobody waits for, whose owner is told in another way (`workers`, `saver`).
"""

from __future__ import annotations

import threading

from tsnet.errors import NotUp


def start_thread(thread: threading.Thread, purpose: str) -> None:
    """Raises NotUp if this process can have no more threads. purpose: what the thread is for, in its text.

    An interrupt (Ctrl-C) comes out as itself: within the condition that `Thread.start` waits for, CPython turns one now
    and then into "release unlocked lock".
    """
    try:
        thread.start()
    except (RuntimeError, MemoryError) as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise error.__context__ from None
        advice = "end other threads, or raise the limit"
        raise NotUp(f"no thread can be started for {purpose}: {error}; {advice}") from None
