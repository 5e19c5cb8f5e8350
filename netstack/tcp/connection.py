"""The face of a connection: what an application calls. Nothing waits, nothing calls back.

    write -> send buffer -> the next turns               readable / writable / eof / error   tell what can be done
    read <- receive buffer <- the turns before           Stack.take_ready()                  tells when that changed

A write takes what fits; the rest is the caller's until the connection is ready again. Bytes that arrived before an
error can still be read. After `close` the stack finishes the connection alone.

Source: RFC 9293 §3.9.1 (the user's calls).
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, NamedTuple

from netstack import errors
from netstack.ip import IPAddress, address_of
from netstack.tcp import emit, states, timers
from netstack.tcp.tcb import Tcb

if TYPE_CHECKING:
    from netstack.tcp.layer import TcpLayer


class TcpInfo(NamedTuple):
    """A snapshot. Times in seconds, everything else in bytes unless it says so."""

    state: str
    srtt: float
    rttvar: float
    min_rtt: float
    rto: float
    mss: int
    cwnd: int
    ssthresh: float
    in_flight: int
    lost: int
    sacked: int
    retransmitted: int
    retries: int
    """Timeouts since something was acknowledged."""
    bytes_sent: int
    bytes_acked: int
    bytes_received: int
    send_window: int
    receive_window: int
    unsent: int
    unread: int
    out_of_order: int


class TcpConnection:
    """One connection. Made by `Stack.connect` or `TcpListener.accept`."""

    __slots__ = ("_layer", "_tcb")

    def __init__(self, layer: TcpLayer, tcb: Tcb) -> None:
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

    def write(self, data: bytes | bytearray | memoryview, now: float) -> int:
        """Take as much of data as there is room for; how many bytes that was. 0 once the connection has broken.

        `bytes` that fit are kept, not copied. Raises EndpointClosed after `shutdown_write` or `close`.
        """
        tcb = self._tcb
        if tcb.fin_queued or tcb.orphaned:
            raise errors.EndpointClosed("the writing side of this connection was shut down")
        if tcb.state == states.CLOSED:
            return 0
        room = tcb.send_limit - tcb.send_buffer.size
        if len(data) > room:
            tcb.wants_room = True
            if room <= 0:
                return 0
            data = data[:room]
        data = bytes(data)
        if data:
            tcb.send_buffer.append(data, tcb.snd_nxt)
            self._layer.touch(tcb)
        return len(data)

    def read(self, limit: int = 1 << 30) -> bytes:
        """At most `limit` bytes that have arrived, joined; b"" if there are none (see `eof` and `error`)."""
        data = self._tcb.receive_buffer.read(limit)
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
        """The application is done. What was written is still sent; bytes that arrive unread break the connection."""
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
        elif unread:
            self._layer.abort(tcb, errors.ABORTED, now)
        else:
            self.shutdown_write(now)
            if tcb.state == states.FIN_WAIT_2:
                self._layer.linger(tcb, now)

    def abort(self, now: float) -> None:
        """Break the connection: the peer gets a RST, what was not sent is lost."""
        if not self.finished:
            self._layer.abort(self._tcb, errors.ABORTED, now)

    def set_nodelay(self, nodelay: bool) -> None:
        """False: Nagle's algorithm, small segments wait while others are out."""
        self._tcb.nodelay = nodelay
        self._layer.touch(self._tcb)

    def set_keepalive(self, keepalive: tuple[float, float, int] | None, now: float) -> None:
        """(idle, interval, count): after `idle` silent seconds, `count` probes `interval` apart. None: off."""
        self._tcb.keepalive = keepalive
        if self._tcb.state in states.SYNCHRONIZED:
            timers.start_keepalive(self._tcb, now)
            self._layer.touch(self._tcb)

    def info(self) -> TcpInfo:
        tcb = self._tcb
        board, rtt = tcb.scoreboard, tcb.rtt
        return TcpInfo(
            state=self.state,
            srtt=rtt.srtt,
            rttvar=rtt.rttvar,
            min_rtt=rtt.min_rtt,
            rto=rtt.rto,
            mss=tcb.mss,
            cwnd=int(tcb.congestion.cwnd),
            ssthresh=tcb.congestion.ssthresh,
            in_flight=board.in_flight,
            lost=board.lost_out,
            sacked=board.sacked_out,
            retransmitted=tcb.retransmitted,
            retries=tcb.retries,
            bytes_sent=tcb.bytes_sent,
            bytes_acked=tcb.delivered,
            bytes_received=tcb.bytes_received,
            send_window=tcb.snd_wnd,
            receive_window=tcb.rcv_adv - tcb.rcv_nxt,
            unsent=max(tcb.send_buffer.end - tcb.snd_nxt, 0),
            unread=tcb.receive_buffer.size,
            out_of_order=tcb.out_of_order.size if tcb.out_of_order is not None else 0,
        )

    def _consumed(self, size: int) -> None:
        tcb = self._tcb
        tcb.copied += size
        if size and tcb.state in states.RECEIVING and emit.wants_window_update(tcb):
            tcb.ack_now = True
            self._layer.touch(tcb)
