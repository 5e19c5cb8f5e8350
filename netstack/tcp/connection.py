"""The face of a connection: what an application calls. Nothing waits, nothing calls back.

    write -> send buffer -> the next turns               readable / writable / eof / error   tell what can be done
    read <- receive buffer <- the turns before           Stack.take_ready()                  tells when that changed

A write takes what fits; the rest is the caller's until the connection is ready again. Bytes that arrived before an
error can still be read. After `close` the stack finishes the connection alone.

Source: RFC 9293 §3.9.1 (the user's calls).
"""

from __future__ import annotations

import math
from collections.abc import Hashable

from netstack import errors
from netstack.ip import IPAddress, address_of
from netstack.tcp import emit, states, timers
from netstack.tcp.info import TcpInfo, snapshot
from netstack.tcp.owner import Owner
from netstack.tcp.tcb import CONGESTION, MIN_MSS, Tcb


class TcpConnection:
    """One connection. Made by `Stack.connect` or `TcpListener.accept`."""

    __slots__ = ("_layer", "_tcb")

    def __init__(self, layer: Owner, tcb: Tcb) -> None:
        self._layer, self._tcb = layer, tcb
        tcb.face = self

    def __repr__(self) -> str:
        local, remote = self.local, self.remote
        return f"<TcpConnection {local[0]} {local[1]} -> {remote[0]} {remote[1]} {self.state}>"

    @property
    def local(self) -> tuple[IPAddress, int]:
        return address_of(self._tcb.local), self._tcb.local_port

    @property
    def remote(self) -> tuple[IPAddress, int]:
        return address_of(self._tcb.remote), self._tcb.remote_port

    @property
    def link(self) -> Hashable:
        """What `connect` was given, or where the SYN came from."""
        return self._tcb.link

    @property
    def state(self) -> str:
        return states.NAMES[self._tcb.state]

    @property
    def error(self) -> str | None:
        """How the connection broke: a code of `netstack.errors`; None while it has not, and after an orderly end."""
        return self._tcb.error

    @property
    def connected(self) -> bool:
        """Whether the handshake is over and the connection has not ended."""
        return self._tcb.state >= states.ESTABLISHED

    @property
    def readable(self) -> bool:
        """Whether `read` has something to say: bytes, the end, or an error."""
        tcb = self._tcb
        return bool(tcb.receive_buffer.size) or tcb.fin_received or tcb.state == states.CLOSED

    @property
    def writable(self) -> bool:
        """Whether `write` would take at least one byte."""
        tcb = self._tcb
        return tcb.state in states.SENDING and not tcb.fin_queued and tcb.send_buffer.size < tcb.send_limit

    @property
    def eof(self) -> bool:
        """Whether the peer has ended its stream and everything before that is read."""
        return self._tcb.fin_received and not self._tcb.receive_buffer.size

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen: closed both ways and acknowledged, or broken."""
        return self._tcb.state in (states.CLOSED, states.TIME_WAIT)

    def write(self, data: bytes | bytearray | memoryview, now: float, *, more: bool = False) -> int:
        """Take as much of data as there is room for; how many bytes that was. 0 once the connection has broken.

        more: another write follows at once, so a last segment that is not full waits for it, as with a cork.
        `bytes` that fit are kept, not copied. Raises EndpointClosed after `shutdown_write` or `close`.
        """
        tcb = self._tcb
        if tcb.fin_queued or tcb.orphaned:
            raise errors.EndpointClosed("the writing side of this connection was shut down")
        if tcb.state == states.CLOSED:
            return 0
        tcb.more_follows = more
        room = tcb.send_limit - tcb.send_buffer.size
        if len(data) > room:
            tcb.wants_room = True
            if room <= 0:
                return 0
            data = data[:room]
        data = bytes(data)
        if data:
            tcb.send_buffer.append(data, tcb.snd_nxt)
            tcb.charge()
            if tcb.user_timeout is not None and tcb.stalled_time == math.inf:
                tcb.stalled_time = now
                tcb.persist_at = min(tcb.persist_at, now + tcb.user_timeout)
            self._layer.touch(tcb)
        return len(data)

    def read(self, limit: int = 1 << 30) -> bytes:
        """At most `limit` bytes that have arrived, joined; b"" if there are none (see `eof` and `error`)."""
        data = self._tcb.receive_buffer.read(limit)
        if data:
            self._consumed(len(data))
        return data

    def read_chunks(self) -> list[bytes]:
        """All bytes that have arrived, as they came."""
        size = self._tcb.receive_buffer.size
        chunks = self._tcb.receive_buffer.take()
        self._consumed(size)
        return chunks

    def shutdown_write(self, now: float) -> None:
        """End our stream, once everything written has been sent. Reading goes on."""
        tcb = self._tcb
        if not tcb.fin_queued and tcb.state != states.CLOSED:
            self._layer.queue_fin(tcb)

    def close(self, now: float) -> None:
        """The application is done. What was written is still sent; bytes that arrive unread break the connection.

        With `set_linger(0)` the connection is reset at once; with more, when what was written is not acknowledged then.
        """
        tcb = self._tcb
        if tcb.orphaned or tcb.state in (states.CLOSED, states.TIME_WAIT):
            tcb.orphaned = True
            tcb.receive_buffer.take()
            return
        unread = bool(tcb.receive_buffer.size)
        tcb.receive_buffer.take()
        tcb.orphaned = True
        if tcb.state == states.SYN_SENT:
            self._layer.end(tcb, None)
        elif unread or tcb.linger == 0:
            self._layer.abort(tcb, errors.ABORTED, now)
        else:
            self.shutdown_write(now)
            if tcb.linger is not None and not tcb.fin_acked:
                tcb.linger_at = now + tcb.linger
            if tcb.state == states.FIN_WAIT_2:
                self._layer.linger(tcb, now)

    def abort(self, now: float) -> None:
        """Break the connection: the peer gets a RST, what was not sent is lost."""
        if not self.finished:
            self._layer.abort(self._tcb, errors.ABORTED, now)

    def set_nodelay(self, nodelay: bool) -> None:
        """False: Nagle's algorithm, small segments wait while others are out. True also lets out what a cork holds."""
        self._tcb.nodelay = nodelay
        self._tcb.force = nodelay and self._tcb.snd_nxt < self._tcb.send_buffer.end
        self._layer.touch(self._tcb)

    def set_keepalive(self, keepalive: tuple[float, float, int] | None, now: float) -> None:
        """(idle, interval, count): after `idle` silent seconds, `count` probes `interval` apart. None: off."""
        self._tcb.keepalive = keepalive
        if self._tcb.state in states.SYNCHRONIZED:
            timers.start_keepalive(self._tcb, now)
            self._layer.touch(self._tcb)

    def set_cork(self, cork: bool, now: float) -> None:
        """True: only full segments leave, until False, the end of the stream, or a timeout's length."""
        self._tcb.cork = cork
        self._layer.touch(self._tcb)

    def set_linger(self, seconds: float | None) -> None:
        """How long `close` goes on trying to deliver what was written. None: as long as TCP does."""
        self._tcb.linger = seconds

    def set_fin_timeout(self, seconds: float | None) -> None:
        """How long the closed connection waits for the peer's FIN. None: as `Stack.options.fin_timeout`."""
        self._tcb.fin_timeout = seconds

    def set_user_timeout(self, seconds: float | None, now: float) -> None:
        """End with the error `timeout` when nothing that waits was acknowledged for so long (RFC 5482, local half)."""
        self._tcb.user_timeout = seconds

    def set_congestion(self, name: str) -> None:
        """Switch to "cubic" or "reno"; the window stays. Raises ValueError for any other."""
        if name not in CONGESTION:
            raise ValueError(f"no congestion control {name!r}: {', '.join(CONGESTION)}")
        tcb = self._tcb
        before, tcb.congestion = tcb.congestion, CONGESTION[name](tcb.mss)
        tcb.congestion.follow(before)

    def set_max_segment(self, size: int) -> None:
        """Neither send nor, if the handshake is still to come, ask for longer segments."""
        self._tcb.max_segment = max(size, MIN_MSS)
        self._tcb.set_mss()

    def set_receive_buffer(self, size: int) -> None:
        """Buffer so many bytes, and never more by itself. What was already offered to the peer stays offered."""
        self._tcb.fix_receive_limit(size)

    def set_send_buffer(self, size: int) -> None:
        """Take so many bytes from `write`, and never more by itself."""
        self._tcb.fixed_send_limit = max(size, 2048)

    def info(self, now: float | None = None) -> TcpInfo:
        """now: up to when durations count; None: up to the last segment that came."""
        return snapshot(self._tcb, self._tcb.acked_time if now is None else now)

    def _consumed(self, size: int) -> None:
        tcb = self._tcb
        tcb.copied += size
        tcb.charge()
        if size and tcb.state in states.RECEIVING and emit.wants_window_update(tcb):
            tcb.ack_now = True
            self._layer.touch(tcb)
