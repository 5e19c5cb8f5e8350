"""The simplest hole punching there is, between two homes: what the routers allow, without anybody's protocol.

Each host learns its address as the near server sees it, and sends a ping there every 80 ms. A ping is answered to
where it came from, and pings go there, too, from then on. The pair is joined when one host has an answer.

    punch(internet) -> 2        joined in the second round; None: not in ROUNDS of them

With a `stray` router it matters who begins. The ping of the other one, if it comes first, spoils the port.
"""

from __future__ import annotations

import select
import time

from tests.lab.internet import Internet, Side
from tests.lab.questions import Address, Servers, hear, udp
from tests.lab.routers import V6

ROUNDS = 6
INTERVAL = 0.08
PORT = 41_641
PING, PONG = b"ping", b"pong"


class Puncher:
    """One host's socket. theirs: the addresses of the other one, as far as they are known."""

    def __init__(self, side: Side) -> None:
        self.sock = udp(side.host, side.address, PORT)
        self.theirs: list[Address] = []
        self.joined = False

    def ping(self) -> None:
        for address in self.theirs:
            self.sock.sendto(PING, address)

    def read(self) -> None:
        heard = hear(self.sock, 0.001)
        if heard is None:
            return
        data, source = heard
        if data == PING:
            if source not in self.theirs:
                self.theirs.append(source)
            self.sock.sendto(PONG, source)
        elif data == PONG:
            self.joined = True


def punch(internet: Internet, *, late: int = 0) -> int | None:
    """late: rounds by which the right one begins later; negative: the left one."""
    servers = Servers(internet, v6=internet.left.kind.addressing == V6)
    pair = [Puncher(side) for side in internet.sides]
    try:
        mapped = [servers.sees(puncher.sock, 0) for puncher in pair]
        if None in mapped:
            return None
        for puncher, theirs in zip(pair, reversed(mapped), strict=True):
            assert theirs is not None
            puncher.theirs.append(theirs)
        return _rounds(pair[0], pair[1], late)
    finally:
        servers.close()
        for puncher in pair:
            puncher.sock.close()


def _rounds(first: Puncher, second: Puncher, late: int) -> int | None:
    for number in range(1, ROUNDS + 1):
        if number > -late:
            first.ping()
        if number > late:
            second.ping()
        end = time.monotonic() + INTERVAL
        while readable := select.select([first.sock, second.sock], [], [], max(0.0, end - time.monotonic()))[0]:
            for puncher in (first, second):
                if puncher.sock in readable:
                    puncher.read()
            if first.joined or second.joined:
                return number
    return None


def show(table: dict[tuple[str, str], int | None], names: tuple[str, ...]) -> str:
    """Rows are left homes. The round, or FAIL."""
    lines = [" " * 12 + "".join(f"{name:>12}" for name in names)]
    for left in names:
        cells = "".join(f"{table[left, right] or 'FAIL':>12}" for right in names)
        lines.append(f"{left:>12}{cells}")
    return "\n".join(lines)
