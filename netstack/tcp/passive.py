"""Connections that peers open: who may, who waits, and who is reset.

    SYN ─> over a limit of connections     RST, counted; the listener is told
        ─> a place in the backlog          half-open, SYN-ACK; the place is kept until the connection is accepted
        ─> no place                        parked, not answered: it is as soon as there is a place for its peer
        ─> nothing left to park it in      dropped, counted; the peer sends it again

    limits of connections    the listener's `max_connections`, and MAX_ACCEPTED of a stack
    backlog, parked SYNs     of each listener

Of each of these no peer has more than two thirds. The peer is the link, which cannot be forged, or the source address
where there is no link. A connection counts from its SYN until it has ended, whatever its application does; then it
gives all back at once.

A peer that never answers a SYN-ACK keeps nobody out: where all places are taken, its oldest half-open connection whose
SYN-ACK had to be sent again makes way for a peer that has at least two places fewer.

Source: RFC 9293 §3.10.7.2, RFC 4987 §3.4 (recycling the oldest half-open one).
Not here: the places themselves (`listener`), SYNs to others' addresses (`forward`).
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Protocol

from netstack.limits import FULL, Shares, peer_of
from netstack.tcp.connection import TcpConnection
from netstack.tcp.listener import TcpListener
from netstack.tcp.parking import Syn
from netstack.tcp.tcb import Tcb

MAX_ACCEPTED = 16_384
"""Connections that peers may have open with one stack, at all its ports. Its own are bounded by its ports alone."""


class Layer(Protocol):
    """What is asked of `layer.TcpLayer`."""

    def open(self, syn: Syn, listener: TcpListener | None, now: float) -> Tcb:
        """A connection that answers this SYN with the next turn, as its listener wants it."""

    def turn_down(self, syn: Syn, now: float) -> None:
        """Answer it with RST."""

    def end(self, tcb: Tcb, error: str | None) -> None: ...

    def count(self, reason: str) -> None: ...

    def tell(self, listener: TcpListener) -> None:
        """Tell the listener's application that there is something to see."""


class PassiveOpens:
    """Of all listeners of one stack.

    connections: what peers have open. roomy: listeners with parked SYNs that have got room since the last turn.
    """

    __slots__ = ("_layer", "_opening", "connections", "roomy")

    def __init__(self, layer: Layer) -> None:
        self._layer = layer
        self._opening: dict[Tcb, TcpListener] = {}
        self.connections = Shares(MAX_ACCEPTED)
        self.roomy: dict[TcpListener, None] = {}

    def __contains__(self, tcb: Tcb) -> bool:
        """Whether it is half-open at a listener."""
        return tcb in self._opening

    def listener_of(self, tcb: Tcb) -> TcpListener | None:
        return self._opening.get(tcb)

    def arrives(self, listener: TcpListener, syn: Syn, now: float) -> None:
        """Take a SYN of no connection."""
        waits = listener.parked.renew(syn)
        if self.is_one_too_many(syn, listener, now):
            if waits:
                listener.parked.discard(syn)
            return
        reason = listener.places.refusal(syn.peer)
        if reason == FULL and self._recycle(listener, syn.peer):
            reason = listener.places.refusal(syn.peer)  # still FULL if the backlog has been made smaller
        if reason is None:
            if waits:
                listener.parked.discard(syn)
            self._open(listener, syn, now)
        elif waits or listener.parked.add(syn, now):
            self._layer.tell(listener)
        else:
            self._layer.count("tcp: backlog full")

    def has_room_at(self, listener: TcpListener) -> None:
        self.roomy[listener] = None

    def answer_parked(self, now: float) -> None:
        """Answer the parked SYNs for which there is a place by now."""
        roomy, self.roomy = self.roomy, {}
        for listener in roomy:
            while (syn := listener.parked.next(listener.has_place, now)) is not None:
                if not self.is_one_too_many(syn, listener, now):
                    self._open(listener, syn, now)

    def is_one_too_many(self, syn: Syn, listener: TcpListener | None, now: float) -> bool:
        """Whether a limit of connections is met. If so, the SYN was answered with RST."""
        for shares in (self.connections, None if listener is None else listener.connections):
            reason = None if shares is None else shares.refusal(syn.peer)
            if shares is None or reason is None:
                continue
            shares.refused[reason] += 1
            self._layer.count("tcp: too many connections")
            self._layer.turn_down(syn, now)
            if listener is not None:
                listener.turned_away(reason, syn.source, shares.total)
                self._layer.tell(listener)
            return True
        return False

    def admit(self, tcb: Tcb, *stocks: Shares) -> None:
        """Count a connection from now on, in the stack and in each of the stocks."""
        tcb.shares = (self.connections, *stocks)
        for shares in tcb.shares:
            shares.take(peer_of(tcb.link, tcb.remote))

    def established(self, tcb: Tcb, connection: TcpConnection) -> None:
        """The handshake is over: the connection waits to be accepted, at the place that it has."""
        listener = self._opening.pop(tcb)
        listener.settled(tcb)
        listener.enqueue(connection)

    def ended(self, tcb: Tcb) -> None:
        """Give back all that a connection had."""
        peer = peer_of(tcb.link, tcb.remote)
        shares, tcb.shares = tcb.shares, ()
        for stock in shares:
            stock.give_back(peer)
        listener = self._opening.pop(tcb, None)
        if listener is not None:
            listener.settled(tcb)
            listener.free(peer)

    def closed(self, listener: TcpListener, now: float) -> None:
        """Reset who waits for a place. What the peer of a half-open one sends next is answered with RST."""
        self.roomy.pop(listener, None)
        for tcb in [tcb for tcb, at in self._opening.items() if at is listener]:
            self._layer.end(tcb, None)
        for syn in listener.parked.clear():
            self._layer.turn_down(syn, now)

    def _open(self, listener: TcpListener, syn: Syn, now: float) -> None:
        tcb = self._layer.open(syn, listener, now)
        self.admit(tcb, *(() if listener.connections is None else (listener.connections,)))
        self._opening[tcb] = listener
        listener.opened(tcb)

    def _recycle(self, listener: TcpListener, peer: Hashable) -> bool:
        """End the half-open connection that makes way for this peer, if one must."""
        other = listener.overdue(peer)
        if other is None:
            return False
        self._layer.count("tcp: half-open connection made way")
        self._layer.end(other, None)
        return True
