"""The map polls, one after the other for as long as we follow the map of the node's key.

    begin ─► messages ─► the session's netmap           ended by control, refused, or broken: again after a backoff
      ▲                                                 told to sleep: again after that
      └───────────── at ◄───────────────────────────────┘

| a poll that ends with           | is followed by                                                          |
|---------------------------------|-------------------------------------------------------------------------|
| the third end within a minute   | DuplicateNode: another process polls with our key; we slow down         |
| a message that is malformed     | Problem and MapHealth, counted as "map-refused"; the next one is whole  |
| HTTP 404                        | `Ended.REMOVED`, if the key has not expired                             |
| HTTP 400, 401, 403, 404         | `Ended.REFUSED`, if it has: polled rarely, until somebody extends it    |
| anything else                   | Problem, unless the answer was only cut short                           |

Source: Go control/controlclient/auto.go mapRoutine, direct.go sendMapRequest.
Not here: bytes (`mappoll`), the netmap (`mapsession`), whether to poll at all (`client`).
"""

from __future__ import annotations

import enum
import math
from collections import Counter, deque
from collections.abc import Callable, Iterable

import attrs

from tsnet.base.keys import DiscoKey
from tsnet.base.links import Compute, Computed, Link
from tsnet.base.malformed import MalformedError
from tsnet.base.trace import Trace
from tsnet.control.client import controlerrors, facts
from tsnet.control.client.address import ControlAddress
from tsnet.control.client.backoff import Backoff
from tsnet.control.client.controlconnection import ControlConnection, Exchange, Piece
from tsnet.control.client.facts import Fact
from tsnet.control.client.mappoll import MapPoll
from tsnet.control.client.mapsession import MapSession
from tsnet.control.client.resumption import Resumption
from tsnet.control.messages import MAP_PATH, MapRequest, MapResponse

MAX_SLEEP = 300.0
DUPLICATE_ENDS, DUPLICATE_SPAN = 3, 60.0
"""If control ends our map stream this often within this many seconds, another process polls with our key."""

DUPLICATE_PAUSE = 15.0
REFUSALS = frozenset({400, 401, 403, 404})


@attrs.frozen
class Heard:
    """A message that the netmap has already taken in. is_first: whether it is the first with state in its stream."""

    response: MapResponse
    is_first: bool = False


class Ended(enum.Enum):
    AGAIN = "it will be polled again"
    REFUSED = "control does not serve the key that has expired"
    REMOVED = "control does not know the key"


class MapRoutine:
    """at: when the next poll is due, if one is wanted. told: the list that facts are added to."""

    def __init__(
        self,
        address: ControlAddress,
        disco_key: DiscoKey,
        wall_offset: float,
        *,
        entropy: Callable[[int], bytes],
        told: list[Fact],
        dropped: Counter[str],
        trace: Trace | None = None,
    ) -> None:
        self._trace = trace
        self.session: MapSession = MapSession(disco_key, wall_offset)
        self.at: float = -math.inf
        self._effects: list[Compute] = []
        self._address, self._told, self._dropped = address, told, dropped
        self._backoff = Backoff(entropy)
        self._resumption = Resumption()
        self._uplink: ControlConnection | None = None
        self._poll: MapPoll | None = None
        self._refused = False
        self._ends: deque[float] = deque(maxlen=DUPLICATE_ENDS)
        self._is_slow = False

    @property
    def is_polling(self) -> bool:
        return self._poll is not None

    @property
    def is_computing(self) -> bool:
        """Whether what comes now would have to wait for a large message to be decoded."""
        return self._poll is not None and self._poll.is_computing

    @property
    def has_more(self) -> bool:
        """Whether messages wait for `go_on`."""
        return self._poll is not None and self._poll.has_more

    @property
    def is_heard(self) -> bool:
        """Whether the poll under way has brought a netmap."""
        return self._poll is not None and self._poll.got_map

    @property
    def watchdog_at(self) -> float:
        return self._poll.watchdog_at if self._poll is not None else math.inf

    def take_effects(self) -> list[Compute]:
        taken, self._effects = self._effects, []
        return taken

    def timers(self) -> Iterable[tuple[float, str]]:
        yield self.session.expiry_at, "expiry"
        yield self.watchdog_at, "watchdog"

    # --- beginning and ending -----------------------------------------------------------------------------------

    def begin(self, uplink: ControlConnection, request: MapRequest, link: Link, now: float) -> None:
        """Begin a poll. link: the name under which its messages are decoded off the node's thread."""
        self._uplink, self._is_slow = uplink, False
        if self.session.netmap is None:
            self._resumption.forget()
        stream = uplink.request("poll", "POST", MAP_PATH, self._resumption.asking(request).encode())
        self._poll = MapPoll(stream, link, now, known=lambda: self.session.netmap)

    def end(self) -> None:
        """End the poll ourselves."""
        if self._poll is not None and self._uplink is not None:
            self._uplink.cancel(self._poll.stream)
        self._poll = None

    def lost(self) -> None:
        """The connection is gone. A wait that has begun goes on; a poll that was under way is due on the next one."""
        self._poll = self._uplink = None
        self._ends.clear()

    def delay(self, now: float) -> float:
        """Count a failure that was seen elsewhere. Returns the seconds to wait."""
        return self._backoff.failed(now)

    def go(self, now: float) -> None:
        """Poll now, since control has accepted the key, or once the wait is over that control asked for."""
        self.at = self._backoff.soonest(now)

    def hurry(self, now: float) -> None:
        """Somebody waits: look now whether the expired key has been extended, and not in some minutes."""
        if self._is_slow and self._poll is None:
            self.go(now)

    # --- what control says --------------------------------------------------------------------------------------

    def receive(self, piece: Piece, now: float) -> list[Heard]:
        poll = self._poll
        if poll is None or poll.stream != piece.exchange.stream:
            return []
        return self._hear(poll, lambda: poll.receive(piece.data, now), now)

    def go_on(self, now: float) -> list[Heard]:
        """In the next turn: apply more of the messages that came together."""
        poll = self._poll
        return [] if poll is None else self._hear(poll, poll.go_on, now)

    def computed(self, event: Computed, now: float) -> list[Heard]:
        poll = self._poll
        if poll is None or event.link != poll.link:
            self._dropped["late"] += 1
            return []
        return self._hear(poll, lambda: poll.computed(event.value, now), now)

    def _hear(self, poll: MapPoll, read: Callable[[], list[MapResponse]], now: float) -> list[Heard]:
        """Apply the messages in order, until one ends the poll or is refused. Those before it count as heard."""
        heard: list[Heard] = []
        try:
            responses = read()
            self._effects += poll.effects
            poll.effects.clear()
            for response in responses:
                if self._poll is not poll:
                    break
                heard.append(self._apply(poll, response, now))
        except MalformedError as error:
            self._refuse(error, now)
        return heard

    def ended(self, exchange: Exchange, *, expired: bool, now: float, expected: bool = False) -> Ended:
        """The poll has ended. expired: whether control has said that the key has; the session may know it, too.

        expected: a refusal is no trouble, since control has not accepted the key in this process yet.
        """
        poll, self._poll = self._poll, None
        if exchange.status in REFUSALS and (expired or self.session.expired):
            self.at, self._is_slow = now + self._backoff.refused(now), True
            self._say("poll refused", status=exchange.status, again_in=self.at - now)
            return Ended.REFUSED
        self.at = now + self._backoff.failed(now, exchange)
        self._say("poll ended", status=exchange.status or "broken off", again_in=self.at - now)
        if exchange.status == 404:
            return Ended.REMOVED
        if exchange.status == 200 and poll is not None and poll.got_map:
            self._look_for_a_duplicate(now)
        elif exchange.status not in (0, 200) and not expected:
            detail = f"the map request failed (HTTP status {exchange.status} {exchange.text})"
            self._told.append(facts.Problem(controlerrors.unreachable(self._address, detail), fatal=False))
        return Ended.AGAIN

    def _apply(self, poll: MapPoll, response: MapResponse, now: float) -> Heard:
        is_first = not poll.got_map
        if response.keep_alive or (response.is_empty and not is_first):
            if not is_first:
                self._resumption.taken(response, is_first=False)
            return Heard(response)
        if is_first and not self._resumption.goes_on(response):
            self.session.begin()
        self.session.apply(response.update, now, response.peers_weight)
        self._resumption.taken(response, is_first=is_first)
        poll.got_map = True
        if is_first:
            self._backoff.succeeded(now)
            if self._refused:
                self._refused = False
                self._told.append(facts.MapHealth(""))
        if response.sleep:
            self.end()
            self.at = now + max(min(response.sleep, MAX_SLEEP), self._backoff.failed(now))
            self._say("control asks for a pause", again_in=self.at - now)
        return Heard(response, is_first)

    def _refuse(self, error: MalformedError, now: float) -> None:
        """End the stream: without this message the netmap is out of date. A new stream begins with a whole netmap."""
        self._dropped["map-refused"] += 1
        self._resumption.forget()
        problem = controlerrors.not_control(self._address, f"a map message is refused ({error})")
        self._told.append(facts.Problem(problem, fatal=False))
        self._refused = True
        self._told.append(facts.MapHealth(f"control's map message is refused ({error}); the map before it stays"))
        self.end()
        self.at = now + self._backoff.failed(now)
        self._say("map refused", why=str(error), again_in=self.at - now)

    def _say(self, event: str, **fields: object) -> None:
        if self._trace is not None:
            self._trace(event, **fields)

    def _look_for_a_duplicate(self, now: float) -> None:
        self._ends.append(now)
        if len(self._ends) == DUPLICATE_ENDS and now - self._ends[0] <= DUPLICATE_SPAN:
            self._ends.clear()
            self.at = max(self.at, now + DUPLICATE_PAUSE * self._backoff.between(1.0, 2.0))
            reason = "control has ended the map stream of this node three times in a minute, as for another poll"
            self._told.append(facts.DuplicateNode(reason))
