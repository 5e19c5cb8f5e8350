"""One streaming map response: bytes of its body in, messages out, in order.

A message above 256 KiB (unpacked) is decoded off the node's thread: `effects` holds the `Compute`, later messages
wait for `computed`. The watchdog is armed again by every piece of the body and rests while a message is computed. Of
small messages a part is decoded in each turn, and `go_on` begins the next one.

Source: Go control/controlclient/direct.go sendMapRequest.
Not here: what the messages do (`mapsession`), when to poll again (`client`).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Any

from tsnet.base.links import Compute, Link
from tsnet.base.malformed import MalformedError
from tsnet.control.client.mapjob import prepare_map
from tsnet.control.mapframes import MAX_MESSAGE, MapFrames, content_size
from tsnet.control.messages import MapResponse, decode_map
from tsnet.netmap.model import NetMap

WATCHDOG = 120.0
COMPUTE_ABOVE = 256 * 1024

MESSAGES_A_TURN, BYTES_A_TURN = 16, 128 * 1024
"""What is decoded here in one turn, bytes unpacked: each message may change the netmap, and takes some tenths of a
millisecond. The last one may exceed the bytes."""


class MapPoll:
    """`stream` names the request; `got_map` is set by its owner when the first message with state has arrived.

    known: the netmap that the messages so far have made.
    """

    def __init__(self, stream: int, link: Link, now: float, known: Callable[[], NetMap | None] = lambda: None) -> None:
        self.stream: int = stream
        self.link: Link = link
        self.watchdog_at: float = now + WATCHDOG
        self.got_map = False
        self.effects: list[Compute] = []
        self._known = known
        self._frames = MapFrames()
        self._waiting: deque[bytes] = deque()
        self._computing = False
        self._messages_left, self._bytes_left = MESSAGES_A_TURN, BYTES_A_TURN

    @property
    def is_computing(self) -> bool:
        """Whether a large message is being decoded elsewhere, for which those behind it wait."""
        return self._computing

    @property
    def has_more(self) -> bool:
        """Whether `go_on` would give messages."""
        return bool(self._waiting) and not self._computing

    def receive(self, data: bytes, now: float) -> list[MapResponse]:
        """The next messages that are whole now. Raises MalformedError: the stream is worthless from here on."""
        self._waiting += self._frames.receive(data)
        if self._computing:
            if sum(map(len, self._waiting)) > MAX_MESSAGE:
                raise MalformedError("map messages come faster than they can be read")
            return []
        self.watchdog_at = now + WATCHDOG
        return self._decode()

    def go_on(self) -> list[MapResponse]:
        """In the next turn: more of the messages that came together. Raises MalformedError as `receive` does."""
        self._messages_left, self._bytes_left = MESSAGES_A_TURN, BYTES_A_TURN
        return self._decode()

    def computed(self, value: Any, now: float) -> list[MapResponse]:
        """The answer to our Compute; raises MalformedError if the function did."""
        self._computing = False
        self.watchdog_at = now + WATCHDOG
        if not isinstance(value, MapResponse):
            raise MalformedError(str(value))
        return [value, *self._decode()]

    def _decode(self) -> list[MapResponse]:
        found: list[MapResponse] = []
        while self._waiting and not self._computing and self._messages_left > 0 and self._bytes_left > 0:
            message = self._waiting.popleft()
            size = max(len(message), content_size(message) or 0)
            if size > COMPUTE_ABOVE:
                self.effects.append(Compute(self.link, prepare_map, (message, self._known())))
                self._computing, self.watchdog_at = True, math.inf
            else:
                self._messages_left -= 1
                self._bytes_left -= size
                found.append(decode_map(message))
        return found
