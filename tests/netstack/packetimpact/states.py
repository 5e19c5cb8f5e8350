"""A connection in the state that a test begins in."""

from __future__ import annotations

from tests.netstack.peer import Peer

MSS = 1208

NOW = 1000.0


def established(**options: bool) -> Peer:
    peer = Peer(**options)
    peer.connect(rtt=0.05)
    peer.send("A")
    assert peer.take() == []
    return peer


def in_state(state: str) -> Peer:
    """A connection in that state, everything quiet."""
    if state == "SYN_RECEIVED":
        peer = Peer()
        peer.stack.listen(8080)
        peer.port, peer.their_port = 5000, 8080
        peer.send("S", seq=0, options=peer.syn_options())
        peer.seq = 1
        peer.take()
        return peer
    peer = established()
    connection = peer.connection
    if state in ("FIN_WAIT_1", "FIN_WAIT_2", "CLOSING"):
        connection.shutdown_write(peer.now)
        peer.take()
    if state == "FIN_WAIT_2":
        peer.send("A")
    if state in ("CLOSING", "CLOSE_WAIT", "LAST_ACK"):
        peer.send("FA", ack=1)
        peer.take()
    if state == "LAST_ACK":
        connection.shutdown_write(peer.now)
        peer.take()
    assert connection.state == state
    return peer
