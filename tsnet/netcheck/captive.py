"""Whether a captive portal answers in the place of others, as in hotels and trains before one has signed in.

    GET http://<a relay's IPv4 address>/generate_204?t=…      X-Tailscale-Challenge: ts_<address>
    204, and X-Tailscale-Response: response ts_<address>      ─► the relay itself has answered
    anything else                                             ─► somebody in between has
    nothing                                                   ─► says nothing: port 80 may be blocked

Up to five relays are asked, those of the home region first, and only such as control says answer on port 80
(CanPort80). They are asked around a proxy, which no portal sees. Where none answers at all, nobody can tell.

Source: Go net/captivedetection/captivedetection.go, endpoints.go, feature/captiveportal.
Not here: when it is asked (`checker`); controlplane.tailscale.com, which Go asks as well: this library talks to
control and relays alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from tsnet.base.addresses import parse_address
from tsnet.base.links import Effect, Event, Link
from tsnet.http1.answers import Answer
from tsnet.http1.client import Http1Client
from tsnet.netcheck.plan import may_be_measured
from tsnet.netmap.model import DerpRegion

MAX_ASKED = 5
TIMEOUT = 3.0
UNCACHED = "no-cache, no-store, must-revalidate, no-transform, max-age=0"


class Question(NamedTuple):
    """challenge: what a relay is asked to repeat."""

    url: str
    challenge: str


class CaptiveCheck:
    """found: True for a portal, False if a relay has answered itself, None if nobody can tell so far."""

    def __init__(self, new_link: Callable[[], Link]) -> None:
        self.found: bool | None = None
        self._http = Http1Client(new_link)
        self._challenges: dict[int, str] = {}

    @property
    def is_under_way(self) -> bool:
        return bool(self._challenges)

    def begin(self, regions: Iterable[DerpRegion], home: int, stamp: str, now: float) -> None:
        """stamp: some text that makes the URL another one than in earlier questions, so that no cache answers."""
        self.stop()
        self.found = None
        for url, challenge in questions(regions, home):
            headers = [("Cache-Control", UNCACHED), ("X-Tailscale-Challenge", challenge)]
            ticket = self._http.request(
                "GET", f"{url}?t={stamp}", now=now, headers=headers, timeout=TIMEOUT, max_redirects=0, direct=True
            )
            self._challenges[ticket] = challenge

    def stop(self) -> None:
        self._http.close()
        self._challenges.clear()

    def owns(self, link: Link) -> bool:
        return self._http.owns(link)

    def receive(self, event: Event, now: float) -> None:
        self._http.receive(event, now)
        self._take()

    def transmit(self, now: float) -> list[Effect]:
        effects = self._http.transmit(now)
        self._take()
        return effects

    def deadline(self) -> float:
        return self._http.deadline()

    def _take(self) -> None:
        for answer in self._http.take_answers():
            challenge = self._challenges.pop(answer.ticket, None)
            if challenge is None or not isinstance(answer, Answer):
                continue
            is_genuine = answer.status == 204 and answer.headers.get("x-tailscale-response") == f"response {challenge}"
            if not is_genuine:
                self.found = True
                self.stop()  # one is enough
            elif self.found is None:
                self.found = False


def questions(regions: Iterable[DerpRegion], home: int) -> list[Question]:
    """Whom to ask, in order."""
    found: list[Question] = []
    for region in sorted(regions, key=lambda region: region.region_id != home):
        for node in region.nodes if may_be_measured(region) else ():
            address = parse_address(node.ipv4)
            if node.can_port_80 and address is not None and address.version == 4:
                found.append(Question(f"http://{address}/generate_204", f"ts_{address}"))
    return found[:MAX_ASKED]
