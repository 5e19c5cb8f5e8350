"""DERP against Go's derp and derpserver: frames, our client at Go's server, Go's clients at our relay."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from tests.interop.harness.oracle import Oracle, case, cases, pack, unpack
from tsnet.base.addresses import DerpAddress
from tsnet.base.crypto import node_public
from tsnet.base.keys import NodeKey, NodePrivateKey
from tsnet.base.links import Accepted, Closed, Data, Link, Open, Opened, Received
from tsnet.derp import frames
from tsnet.derp.client import Client
from tsnet.derp.facts import Connected, PeerGone
from tsnet.derp.server import Relay
from tsnet.netmap.model import DerpNode, DerpRegion

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]
BUDGET = 1 << 24
REGION = DerpRegion(1, nodes=(DerpNode("1a", 1, "derp.example"),))
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\n\r\n"
FAST_START = b"GET /derp HTTP/1.1\r\nHost: h\r\nUpgrade: DERP\r\nConnection: Upgrade\r\nDerp-Fast-Start: 1\r\n\r\n"
DISCO = b"TS\xf0\x9f\x92\xac" + bytes(80)


def packets(random: Random) -> list[bytes]:
    """Up to the largest that DERP carries; an empty one too."""
    sizes = [0, 1, 32, 1280, random.randrange(1500), random.randrange(1500), random.choice([1280, 65536])]
    return [random.randbytes(random.choice(sizes)) for _ in range(random.randint(1, 5))]


def pieces(random: Random, data: bytes) -> Iterator[bytes]:
    while data:
        size = random.randint(1, len(data))
        yield data[:size]
        data = data[size:]


def test_frames_both_ways(oracle: Oracle) -> None:
    for seed in cases():
        with case("derp frames", seed) as random:
            sent = [
                (random.randrange(256), random.randbytes(random.choice([0, 1, 40, random.randrange(3000)])))
                for _ in range(random.randint(1, 6))
            ]
            stream = b"".join(frames.encode(kind, payload) for kind, payload in sent)
            as_json = [{"type": kind, "payload": pack(payload)} for kind, payload in sent]
            assert oracle.bytes("derp_write", frames=as_json) == stream
            stream = stream[: len(stream) - random.choice([0, 0, random.randrange(len(stream))])]
            read = oracle.call("derp_read", data=pack(stream))
            whole = [(frame["type"], unpack(frame["payload"])) for frame in read["frames"]]
            decoder = frames.Decoder()
            assert [frame for piece in pieces(random, stream) for frame in decoder.feed(piece)] == whole


class AtGo:
    """Our client, with a connection of Go's server as its link."""

    def __init__(self, oracle: Oracle, random: Random, server: int) -> None:
        self.oracle = oracle
        self.tap: int = oracle.call("derp_accept", server=server)["tap"]
        key = NodePrivateKey(random.randbytes(32))
        self.public = node_public(key)
        self.client = Client(REGION, key, entropy=random.randbytes, preferred=random.random() < 0.5, now=0.0)
        (opening,) = self.client.transmit(0.0, BUDGET)
        assert isinstance(opening, Open)
        self.link = opening.link
        self.client.receive(Opened(self.link), 0.0)
        (request,) = self.client.transmit(0.0, BUDGET)  # the upgrade, which Go's Accept is behind of
        assert isinstance(request, Data)
        self.client.receive(Received(self.link, SWITCHING), 0.0)
        self.take(1)  # ServerKey
        self.flush()  # ClientInfo
        self.take(1)  # ServerInfo
        assert any(isinstance(fact, Connected) for fact in self.client.take_facts())

    def flush(self) -> None:
        for effect in self.client.transmit(0.0, BUDGET):
            assert isinstance(effect, Data)
            self.oracle.call("derp_feed", tap=self.tap, data=pack(effect.data))

    def take(self, count: int) -> list[tuple[DerpAddress, bytes]]:
        """What comes with the next so many frames (or more)."""
        data = unpack(self.oracle.call("derp_take", tap=self.tap, frames=count)["data"])
        runs = self.client.receive(Received(self.link, data), 0.0)
        return [(source, packet) for source, run in runs for packet in run]

    def close(self) -> None:
        self.oracle.call("derp_close", tap=self.tap)


def test_our_clients_at_gos_server(oracle: Oracle) -> None:
    """Log in, packets both ways whole and in order, a peer that is not here, a peer that goes."""
    for seed in cases():
        with case("derp client", seed) as random:
            server = oracle.call("derp_server", private=NodePrivateKey(random.randbytes(32)).reveal_text())["server"]
            a, b = AtGo(oracle, random, server), AtGo(oracle, random, server)
            for sender, receiver in ((a, b), (b, a)):
                sent = packets(random)
                sender.client.send(receiver.public, sent, 0.0)
                sender.flush()
                got: list[tuple[DerpAddress, bytes]] = []
                while len(got) < len(sent):
                    got += receiver.take(1)
                assert got == [(DerpAddress(1, sender.public), packet) for packet in sent]
            nobody = NodeKey(random.randbytes(32))
            a.client.send(nobody, [DISCO], 0.0)
            a.flush()
            a.take(1)
            assert a.client.take_facts() == [PeerGone(1, nobody, frames.PEER_GONE_NOT_HERE)]
            b.close()
            a.take(1)
            assert a.client.take_facts() == [PeerGone(1, b.public, frames.PEER_GONE_DISCONNECTED)]
            a.close()
            oracle.call("derp_server_close", server=server)


class GoClient:
    """Go's client, as a link of our relay."""

    def __init__(self, oracle: Oracle, random: Random, relay: Relay, link: Link) -> None:
        self.oracle, self.relay, self.link = oracle, relay, link
        key = NodePrivateKey(random.randbytes(32))
        self.public = node_public(key)
        self.tap: int = oracle.call("derp_client", private=key.reveal_text())["tap"]
        relay.receive(Accepted(link, ("127.0.0.1", 1)), 0.0)
        relay.receive(Received(link, FAST_START), 0.0)

    def take(self, count: int) -> None:
        """What it says, to the relay."""
        data = unpack(self.oracle.call("derp_take", tap=self.tap, frames=count)["data"])
        self.relay.receive(Received(self.link, data), 0.0)

    def send(self, to: NodeKey, data: bytes) -> None:
        self.oracle.call("derp_send", tap=self.tap, to=to.text(), data=pack(data))
        self.take(1)

    def next(self) -> dict[str, Any]:
        return dict(self.oracle.call("derp_receive", tap=self.tap))

    def close(self) -> None:
        self.oracle.call("derp_close", tap=self.tap)


def flush(relay: Relay, clients: list[GoClient]) -> None:
    taps = {client.link: client.tap for client in clients}
    for effect in relay.transmit(0.0, BUDGET):
        assert isinstance(effect, Data)
        clients[0].oracle.call("derp_feed", tap=taps[effect.link], data=pack(effect.data))


def test_gos_clients_at_our_relay(oracle: Oracle) -> None:
    for seed in cases():
        with case("derp relay", seed) as random:
            relay = Relay(NodePrivateKey(random.randbytes(32)), entropy=random.randbytes, now=0.0)
            clients = [GoClient(oracle, random, relay, Link("tap", "", number)) for number in range(2)]
            flush(relay, clients)  # ServerKey
            for client in clients:
                client.take(1)  # ClientInfo
            flush(relay, clients)  # ServerInfo
            for client in clients:
                assert client.next()["kind"] == "ServerInfoMessage"
            assert relay.clients == {client.public for client in clients}
            a, b = clients
            for sender, receiver in ((a, b), (b, a)):
                for packet in packets(random):
                    sender.send(receiver.public, packet)
                    flush(relay, clients)
                    got = receiver.next()
                    assert (got["kind"], got["from"]) == ("ReceivedPacket", sender.public.text())
                    assert unpack(got["data"]) == packet
            nobody = NodeKey(random.randbytes(32))
            a.send(nobody, DISCO)
            flush(relay, clients)
            gone = a.next()
            assert gone["kind"] == "PeerGoneMessage"
            assert gone["message"] == {"Peer": nobody.text(), "Reason": frames.PEER_GONE_NOT_HERE}
            relay.receive(Closed(b.link, "eof"), 0.0)
            flush(relay, [a])
            gone = a.next()
            assert gone["message"] == {"Peer": b.public.text(), "Reason": frames.PEER_GONE_DISCONNECTED}
            for client in clients:
                client.close()
