"""Virtual time: one stack, the peer that the script plays, and nothing between them.

    advance(until)    from deadline to deadline; after each, what the stack sends goes to `sent`
    inject(packet)    a packet of the peer, now
    waiting           a system call that blocks is tried again after every turn

Nothing here waits or reads a clock: 100 virtual seconds cost as much as what happens in them.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

from netstack import Stack, TcpConnection
from tests.scripts.script import ScriptError
from tests.scripts.shell import DEFAULTS, Host
from tests.scripts.wire import Seen, read

START = 1000.0
LINK = "tun0"
MAX_TURNS = 2000
ADDRESSES = {
    4: (ip_address("192.168.0.1"), ip_address("192.0.2.1")),
    6: (ip_address("fd3d:fa7b:d17d::1"), ip_address("2001:db8::1")),
}
"""By IP version: the stack's, and the peer's."""


class Gap(Exception):
    """The script needs something that netstack does not offer."""


class World:
    def __init__(self, *, version: int = 4, mtu: int = 1500, seed: int = 1) -> None:
        self.now = START
        self.local, self.remote = ADDRESSES[version]
        self.stack = Stack(entropy=random.Random(seed).randbytes, mtu=mtu, now=START)
        self.stack.set_addresses([self.local], START)
        self.host = Host()
        self.sent: deque[Seen] = deque()
        self.connection: TcpConnection | None = None
        """The last that a call has made: what tcp_info is about."""
        self.waiting: Callable[[], bool] | None = None
        """Tries the call that blocks once more; whether it has returned."""
        self._by_timer = False
        self.wake_at = math.inf
        """When it is to be tried even if nothing happens."""
        self.configure()

    def configure(self) -> None:
        """Bring the host's settings to the stack: every field of `Stack.options` that stands for one."""
        self.host.notes += apply(self.host.settings, getattr(self.stack, "options", None))
        (self.stack.hold if self.host.full else self.stack.release)(LINK)

    def inject(self, packets: list[bytes]) -> None:
        self.stack.receive([(LINK, packets)], self.now)
        self.turn()

    def turn(self) -> None:
        """Everything that is due now, the waiting call included."""
        while True:
            self._drain()
            if self.waiting is None or not self.waiting():
                return
            self.waiting = None

    def _drain(self) -> None:
        for _ in range(MAX_TURNS):
            for _, packets in self.stack.transmit(self.now):
                self.sent += [read(packet, self.now)._replace(by_timer=self._by_timer) for packet in packets]
            if self.stack.deadline() > self.now:
                return
        raise ScriptError(f"the stack's deadline stays due at {self.now - START:.6f}")

    def next_event(self) -> float:
        return min(self.stack.deadline(), self.wake_at if self.waiting else math.inf)

    def step(self, limit: float) -> bool:
        """Go to the next event, to `limit` at most; whether there was one."""
        at = self.next_event()
        self.now = max(self.now, min(at, limit))
        if at > limit:
            return False
        self._by_timer = True
        self.turn()
        self._by_timer = False
        return True

    def advance(self, until: float) -> None:
        while self.step(until):
            pass


OPTIONS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "tcp_timestamps": ("timestamps", lambda text: text != "0"),
    "tcp_sack": ("sack", lambda text: text != "0"),
    "tcp_dsack": ("dsack", lambda text: text != "0"),
    "tcp_window_scaling": ("window_scaling", lambda text: text != "0"),
    "tcp_syn_retries": ("syn_retries", int),
    "tcp_synack_retries": ("synack_retries", int),
    "tcp_retries2": ("retries", int),
    "tcp_orphan_retries": ("orphan_retries", int),
    "tcp_fin_timeout": ("fin_timeout", float),
    "tcp_frto": ("frto", lambda text: text != "0"),
    "tcp_reordering": ("reordering", int),
    "tcp_congestion_control": ("congestion", str),
    "tcp_slow_start_after_idle": ("slow_start_after_idle", lambda text: text != "0"),
    "tcp_early_retrans": ("tail_loss_probe", lambda text: int(text) >= 3),
    "tcp_recovery": ("rack", lambda text: bool(int(text, 0) & 1)),
}
"""Linux's name -> the field of `Stack.options`, and how to read the value."""

MEANINGLESS = {
    "tcp_fack",
    "tcp_tso_win_divisor",
    "tcp_min_tso_segs",
    "tcp_pacing_ss_ratio",
    "tcp_pacing_ca_ratio",
    "tcp_limit_output_bytes",
    "tcp_rmem",
    "tcp_wmem",
    "tcp_syncookies",
    "tcp_fastopen",
}
"""They set what netstack does not have: the packets are the same."""


def apply(settings: dict[str, str], options: Any) -> list[str]:
    """Set the fields; what cannot be set and is not the default either comes back as notes."""
    notes: list[str] = []
    for name, text in settings.items():
        field, convert = OPTIONS.get(name, ("", str))
        if field and hasattr(options, field):
            setattr(options, field, convert(text))
        elif DEFAULTS.get(name) != text and name not in MEANINGLESS:
            notes.append(f"no option for {name}={text}")
    return notes
