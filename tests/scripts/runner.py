"""One script against one stack: its events in turn, on the hand clock.

    <      inject, now                    a call      start it; it returns at once, or at the end of its range
    >      the oldest packet sent, or     code        over tcp_info as it is now
           the next one within its time   a command   `shell`

A relative time counts from when the event before happened. What the stack sends and nobody expects is only noticed when
the next packet is expected, as in packetdrill.

Not here: what packets and calls mean (`match`, `calls`), the clock (`world`).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from tests.scripts.adaptations import PROMPT, RULES, TICKS, Adaptations
from tests.scripts.calls import Kernel
from tests.scripts.code import Blocks
from tests.scripts.match import TOLERANCE, Window
from tests.scripts.parser import parse
from tests.scripts.peer import Peer
from tests.scripts.script import ACK, Call, Code, Event, Icmp, Packet, Script, ScriptError, Segment, Shell, Udp
from tests.scripts.skips import reason_to_skip
from tests.scripts.sockets import Block, SocketError
from tests.scripts.tcp_info import Whatever, value_of
from tests.scripts.wire import Seen
from tests.scripts.world import START, Gap, World

PATIENCE = 4000.0
"""Virtual seconds that a call may block for, or a packet at `*` be waited for."""

_SAME_ERRORS = {"EWOULDBLOCK": "EAGAIN", "ENOTSUP": "EOPNOTSUPP"}


class Verdict(NamedTuple):
    outcome: str
    """passed, failed or skipped."""
    reason: str = ""
    adaptations: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def judge(text: str, *, strict: bool = False, version: int = 4) -> Verdict:
    """Parse and run; whatever is wrong with the script or the stack ends up in the verdict."""
    feature = reason_to_skip(text)
    if feature is not None:
        return Verdict("skipped", feature)
    try:
        script = parse(text)
    except ScriptError as error:
        return Verdict("failed", f"not understood: {error}")
    run = Run(script, Adaptations(() if strict else RULES), version)
    reason = run.all()
    return Verdict("failed" if reason else "passed", reason or "", tuple(run.adaptations.used), tuple(run.notes()))


class Pending(NamedTuple):
    """A call that has not returned."""

    event: Event
    window: Window
    progress: dict[str, Any]


class Run:
    def __init__(self, script: Script, adaptations: Adaptations, version: int = 4) -> None:
        self.script, self.adaptations = script, adaptations
        options = script.options
        if options.get("ip_version") in ("ipv4", "ipv6"):
            version = int(options["ip_version"][-1])
        self.tolerance = int(options.get("tolerance_usecs", TOLERANCE * 1e6)) / 1e6
        mtu = int(options.get("mtu", 1500 if version == 4 else 1520))
        self.world = World(version=version, mtu=mtu)
        self.kernel = Kernel(self.world)
        self.peer = Peer(self.world, self.kernel, options)
        self.blocks = Blocks(self._tcp_info)
        self.before = START
        """When the event before should have happened."""
        self.pending: Pending | None = None
        self.failure: ScriptError | None = None

    def notes(self) -> list[str]:
        return list(dict.fromkeys(self.world.host.notes))

    def all(self) -> str | None:
        """Why it failed; None if it did not."""
        line = 0
        try:
            for event in self.script.events:
                line = event.line
                self._run(event)
            if self.pending is not None:
                line = self.pending.event.line
                self._await_call()
        except ScriptError as error:
            return f"line {line}: {error}"
        except Gap as gap:
            return f"line {line}: netstack has no {gap}"
        return None

    def _run(self, event: Event) -> None:
        action, when = event.action, event.when
        if isinstance(action, Call) and self.pending is not None:
            self._await_call()
        base = START if when.kind == "at" else self.world.now
        at = base + when.start
        end = at if when.end is None else base + when.end
        window = Window(at, end, self.tolerance, self.before)
        if when.kind == "any":
            window.start, window.end = -math.inf, self.world.now + PATIENCE
        self.before = at
        if isinstance(action, Segment | Udp | Icmp) and not action.inbound:
            self._expect(action, window, at)
        else:
            self.world.advance(at)
            self._raise_failure()
            if wrong := window.complain(self.world.now):
                raise ScriptError(f"too late: {wrong}")
            self._act(event, action, base)
        self._raise_failure()

    def _act(self, event: Event, action: Any, base: float) -> None:
        if isinstance(action, Call):
            returns = self.world.now if event.when.returns is None else base + event.when.returns
            window = Window(returns, returns, self.tolerance, self.world.now)
            self._start(Pending(event, window, {}), event.when.returns is not None)
        elif isinstance(action, Code):
            self.blocks.run(action.text)
        elif isinstance(action, Shell):
            self.world.host.run(action.text)
            self.world.configure()
            self.world.turn()
        else:
            self.peer.inject(action)

    def _tcp_info(self, name: str) -> int:
        if self.world.connection is None:
            raise ScriptError("no connection yet whose tcp_info could be read")
        if name in ("tcpi_probes", "tcpi_backoff") and self.world.host.full and self.adaptations.use("local"):
            return Whatever()
        return value_of(name, self.world.connection, self.world.now)

    # packets

    def _expect(self, expected: Packet, window: Window, at: float) -> None:
        seen = self.peer.next_packet(expected, window, self.adaptations)
        wrong = self.peer.difference(expected, seen, self.adaptations, self.tolerance)
        if wrong:
            raise ScriptError(wrong)
        for moment in (seen.at, seen.last_at):
            complaint = window.complain(moment)
            if complaint and not (moment < at and self._may_be_early(expected, seen, window, at)):
                raise ScriptError(f"{self.peer.describe(seen)} was sent {_relative(complaint)}")

    def _may_be_early(self, expected: Packet, seen: Seen, window: Window, at: float) -> bool:
        """Goes on at the time that the script says, if so."""
        paced = self.world.host.pacing and self.adaptations.use("pacing")
        ticked = seen.by_timer and seen.at >= window.start - TICKS and self.adaptations.use("ticks")
        is_bare = isinstance(expected, Segment) and expected.flags == ACK and not expected.size and not seen.by_timer
        prompt = is_bare and seen.at >= window.start - PROMPT and self.adaptations.use("prompt")
        if paced or ticked or prompt:
            self.world.advance(at)
        return paced or ticked or prompt

    # calls

    def _start(self, pending: Pending, in_background: bool) -> None:
        self.pending = pending
        self.world.waiting = self._try
        self.world.turn()
        if self.pending is not None and not in_background:
            self._await_call()

    def _try(self) -> bool:
        """The call that is pending, once more; whether it has returned. A turn must not raise: failures are kept."""
        assert self.pending is not None
        event, window, progress = self.pending
        call = event.action
        assert isinstance(call, Call)
        result, error = -1, None
        try:
            result = self.kernel.attempt(call, progress)
        except Block as block:
            if call.name == "poll" or self._may_block(call):
                self.world.wake_at = block.until
                return False
            error = "EAGAIN"
        except SocketError as problem:
            error = str(problem)
        except (ScriptError, Gap) as failure:
            self.failure = self.failure or ScriptError(
                str(failure) if isinstance(failure, ScriptError) else _gap(failure)
            )
        except (TypeError, IndexError, KeyError, AttributeError) as bad:
            self.failure = self.failure or ScriptError(f"arguments not understood: {call.text}: {bad!r}")
        self.pending = None
        self.failure = self.failure or self._judge_call(call, window, result, error)
        return True

    def _may_block(self, call: Call) -> bool:
        flags = call.arguments[3] if len(call.arguments) > 3 else None
        return self.kernel.open[call.arguments[0]].blocking and "MSG_DONTWAIT" not in (flags or ())

    def _judge_call(self, call: Call, window: Window, result: int, error: str | None) -> ScriptError | None:
        wanted = f"{call.result} {call.error or ''}".strip()
        same_error = not call.error or error == _SAME_ERRORS.get(call.error, call.error)
        if call.result is not None and (result != call.result or not same_error):
            return ScriptError(f"{call.text.split('=')[0].strip()} returned {result} {error or ''}, expected {wanted}")
        complaint = window.complain(self.world.now)
        return ScriptError(f"{call.name} returned {_relative(complaint)}") if complaint else None

    def _await_call(self) -> None:
        limit = self.world.now + PATIENCE
        while self.pending is not None:
            if not self.world.step(limit):
                raise ScriptError(f"{self.pending.event.action.text} never returns")  # type: ignore[union-attr]
        self._raise_failure()

    def _raise_failure(self) -> None:
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure


def _gap(gap: Gap) -> str:
    return f"netstack has no {gap}"


def _relative(text: str) -> str:
    """With times counted from the script's start."""
    words = text.replace(",", " ,").split()
    moved = [f"{float(word) - START:.6f}" if word[0].isdigit() else word for word in words]
    return " ".join(moved).replace(" ,", ",")
