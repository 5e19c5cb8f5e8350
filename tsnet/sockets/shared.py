"""What the two ends of a listener share beside the connections, and what happens when its last copy is closed.

    nobody has the descriptor          the port is free before `close` returns
    somebody unseen has it             the node looks from time to time whether he still has it
    the node's side was over before    what the door keeps is freed

Not here: the two ends (`listening`, `backlog`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from tsnet.sockets.answers import Options
from tsnet.sockets.copies import Copies
from tsnet.sockets.kernel_door import KernelDoor
from tsnet.sockets.queue_door import QueueDoor


class Shared:
    """What the two ends of a listener share beside the connections.

    closed: nobody has the descriptor any more. over: the node's end is over.
    look: makes the node look whether the listener is closed; from any thread.
    accepting: one entry for each call of `accept` of this process that may be blocked.
    most: how many connections may wait in the door, whatever the application asks of `listen`.
    """

    def __init__(self, door: KernelDoor | QueueDoor, on_close: Callable[[], None]) -> None:
        self.door: KernelDoor | QueueDoor = door
        self.on_close: Callable[[], None] = on_close
        self.copies: Copies = Copies(self._on_last_close, self._on_unseen)
        self.look: Callable[[], None] = lambda: None
        self.options: Options = Options()
        self.accepting: list[None] = []
        self.most: int | None = None
        self.closed: bool = False
        self.over: bool = False
        self.lock: threading.RLock = threading.RLock()

    def _on_last_close(self) -> None:
        if self.over:
            self.door.close()
            return
        if not self.closed and not self.door.is_open():
            self.on_close()
            self.closed = True  # after what may be interrupted, so that it can be repeated
        self.look()

    def _on_unseen(self) -> None:
        if self.over:
            self.door.close()
        else:
            self.look()
