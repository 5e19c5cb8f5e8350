"""Disco messages: what is inside the box, both ways.

    type u8 | version u8 (0) | payload                         all integers big-endian

| type | message                          | payload                                            | travels       |
|------|----------------------------------|----------------------------------------------------|---------------|
| 0x01 | Ping                             | TxID 12, node key 32, zero padding                 | any path      |
| 0x02 | Pong                             | TxID 12, observed source 18                        | the ping's    |
| 0x03 | CallMeMaybe                      | n x endpoint 18                                    | DERP          |
| 0x04 | BindUDPRelayEndpoint             | handshake 72                                       | to a relay    |
| 0x05 | BindUDPRelayEndpointChallenge    | handshake 72                                       | from a relay  |
| 0x06 | BindUDPRelayEndpointAnswer       | handshake 72                                       | to a relay    |
| 0x07 | CallMeMaybeVia                   | relay endpoint                                     | DERP          |
| 0x08 | AllocateUDPRelayEndpointRequest  | client disco keys 2 x 32, generation u32           | DERP          |
| 0x09 | AllocateUDPRelayEndpointResponse | generation u32, relay endpoint                     | DERP          |

    endpoint          address 16 (IPv4 as ::ffff:a.b.c.d), port u16
    handshake         VNI u32, generation u32, remote disco key 32, challenge 32
    relay endpoint    server disco key 32, client disco keys 2 x 32, Lamport id u64, VNI u32,
                      bind lifetime i64 ns, steady-state lifetime i64 ns, at least one endpoint

Trailing bytes are those of a later version and ignored. A version above 0 keeps the layouts of Ping, Pong and the
Bind messages; of the others nothing can be read then: no endpoints, or malformed.

Source: Go disco/disco.go.
Not here: sealing (`box`), what is believed and answered (`paths`).
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from struct import Struct, error
from typing import Any, ClassVar

from tsnet.base.addresses import UdpAddress
from tsnet.base.keys import DiscoKey, NodeKey
from tsnet.base.malformed import MalformedError
from tsnet.base.records import record

TX_ID_SIZE = 12
ENDPOINT_SIZE = 18
MAX_ENDPOINTS = 32

_PING = Struct(">12s32s")
_PONG = Struct(">12s18s")
_HANDSHAKE = Struct(">II32s32s")
_RELAY_ENDPOINT = Struct(">32s32s32sQIqq")
_REQUEST = Struct(">32s32sI")
_GENERATION = Struct(">I")


@record
class Ping:
    """node_key: the sender's, allegedly (None from very old ones). padding: zero bytes that probe the path's MTU."""

    type: ClassVar[int] = 0x01

    tx_id: bytes
    node_key: NodeKey | None = None
    padding: int = 0

    def encode(self) -> bytes:
        return _head(self) + self.tx_id + (self.node_key or b"") + bytes(self.padding)

    @classmethod
    def decode(cls, payload: bytes, version: int) -> Ping:
        if len(payload) < TX_ID_SIZE:
            raise MalformedError("short ping")
        if len(payload) < _PING.size:
            return cls(payload[:TX_ID_SIZE], None, len(payload) - TX_ID_SIZE)
        tx_id, key = _PING.unpack_from(payload)
        return cls(tx_id, NodeKey(key), len(payload) - _PING.size)


@record
class Pong:
    """source: where the ping came from, as its receiver saw it."""

    type: ClassVar[int] = 0x02

    tx_id: bytes
    source: UdpAddress

    def encode(self) -> bytes:
        return _head(self) + self.tx_id + encode_endpoint(self.source)

    @classmethod
    def decode(cls, payload: bytes, version: int) -> Pong:
        tx_id, source = _unpack(_PONG, payload)
        return cls(tx_id, decode_endpoint(source))


@record
class CallMeMaybe:
    """Try to reach me there; I have just sent something your way from each."""

    type: ClassVar[int] = 0x03

    endpoints: tuple[UdpAddress, ...] = ()

    def encode(self) -> bytes:
        return _head(self) + _encode_endpoints(self.endpoints)

    @classmethod
    def decode(cls, payload: bytes, version: int) -> CallMeMaybe:
        """A list of odd length is no list, not an error. Of a long one the first MAX_ENDPOINTS are read."""
        if version != 0 or len(payload) % ENDPOINT_SIZE:
            return cls()
        return cls(_decode_endpoints(payload[: MAX_ENDPOINTS * ENDPOINT_SIZE]))


@record
class BindUDPRelayEndpoint:
    """Handshake with a peer relay. generation: not 0, new for every handshake."""

    type: ClassVar[int] = 0x04

    vni: int
    generation: int
    remote_key: DiscoKey
    challenge: bytes = bytes(32)

    def encode(self) -> bytes:
        return _head(self) + _HANDSHAKE.pack(self.vni, self.generation, self.remote_key, self.challenge)

    @classmethod
    def decode(cls, payload: bytes, version: int) -> BindUDPRelayEndpoint:
        vni, generation, remote_key, challenge = _unpack(_HANDSHAKE, payload)
        return cls(vni, generation, DiscoKey(remote_key), challenge)


@record
class BindUDPRelayEndpointChallenge(BindUDPRelayEndpoint):
    type: ClassVar[int] = 0x05


@record
class BindUDPRelayEndpointAnswer(BindUDPRelayEndpoint):
    type: ClassVar[int] = 0x06


@record
class UDPRelayEndpoint:
    """What a relay allocated for two clients. client_keys: in ascending order."""

    server_key: DiscoKey
    client_keys: tuple[DiscoKey, DiscoKey]
    lamport_id: int
    vni: int
    bind_lifetime_ns: int
    steady_state_lifetime_ns: int
    endpoints: tuple[UdpAddress, ...]

    def encode(self) -> bytes:
        fixed = _RELAY_ENDPOINT.pack(
            self.server_key,
            *self.client_keys,
            self.lamport_id,
            self.vni,
            self.bind_lifetime_ns,
            self.steady_state_lifetime_ns,
        )
        return fixed + _encode_endpoints(self.endpoints)

    @classmethod
    def decode(cls, payload: bytes) -> UDPRelayEndpoint:
        server, client_a, client_b, lamport_id, vni, bind, steady = _unpack(_RELAY_ENDPOINT, payload)
        endpoints = payload[_RELAY_ENDPOINT.size :]
        if not endpoints or len(endpoints) % ENDPOINT_SIZE:
            raise MalformedError("relay endpoint with a broken list of addresses")
        keys = DiscoKey(client_a), DiscoKey(client_b)
        found = _decode_endpoints(endpoints[: MAX_ENDPOINTS * ENDPOINT_SIZE])
        return cls(DiscoKey(server), keys, lamport_id, vni, bind, steady, found)


@record
class CallMeMaybeVia:
    """Try to reach me through that relay."""

    type: ClassVar[int] = 0x07

    relay: UDPRelayEndpoint

    def encode(self) -> bytes:
        return _head(self) + self.relay.encode()

    @classmethod
    def decode(cls, payload: bytes, version: int) -> CallMeMaybeVia:
        _only_version_0(version)
        return cls(UDPRelayEndpoint.decode(payload))


@record
class AllocateUDPRelayEndpointRequest:
    type: ClassVar[int] = 0x08

    client_keys: tuple[DiscoKey, DiscoKey]
    generation: int

    def encode(self) -> bytes:
        return _head(self) + _REQUEST.pack(*self.client_keys, self.generation)

    @classmethod
    def decode(cls, payload: bytes, version: int) -> AllocateUDPRelayEndpointRequest:
        _only_version_0(version)
        client_a, client_b, generation = _unpack(_REQUEST, payload)
        return cls((DiscoKey(client_a), DiscoKey(client_b)), generation)


@record
class AllocateUDPRelayEndpointResponse:
    """generation: the request's."""

    type: ClassVar[int] = 0x09

    generation: int
    relay: UDPRelayEndpoint

    def encode(self) -> bytes:
        return _head(self) + _GENERATION.pack(self.generation) + self.relay.encode()

    @classmethod
    def decode(cls, payload: bytes, version: int) -> AllocateUDPRelayEndpointResponse:
        _only_version_0(version)
        (generation,) = _unpack(_GENERATION, payload)
        return cls(generation, UDPRelayEndpoint.decode(payload[_GENERATION.size :]))


Message = (
    Ping
    | Pong
    | CallMeMaybe
    | BindUDPRelayEndpoint
    | CallMeMaybeVia
    | AllocateUDPRelayEndpointRequest
    | AllocateUDPRelayEndpointResponse
)

_KINDS: dict[int, type[Message]] = {
    kind.type: kind
    for kind in (
        Ping,
        Pong,
        CallMeMaybe,
        BindUDPRelayEndpoint,
        BindUDPRelayEndpointChallenge,
        BindUDPRelayEndpointAnswer,
        CallMeMaybeVia,
        AllocateUDPRelayEndpointRequest,
        AllocateUDPRelayEndpointResponse,
    )
}


def decode(plaintext: bytes) -> Message:
    """The message in an opened box. MalformedError for an unknown type, or one too short for its layout."""
    if len(plaintext) < 2:
        raise MalformedError("disco message without its header")
    kind = _KINDS.get(plaintext[0])
    if kind is None:
        raise MalformedError(f"unknown disco message {plaintext[0]:#04x}")
    return kind.decode(plaintext[2:], plaintext[1])


def encode_endpoint(endpoint: UdpAddress) -> bytes:
    address = ip_address(endpoint.host)
    packed = address.packed if address.version == 6 else b"\0" * 10 + b"\xff\xff" + address.packed
    return packed + endpoint.port.to_bytes(2, "big")


def decode_endpoint(raw: bytes) -> UdpAddress:
    """From 18 bytes; a v4-mapped address is unmapped."""
    v6 = IPv6Address(raw[:16])
    address: IPv4Address | IPv6Address = v6.ipv4_mapped or v6
    return UdpAddress(str(address), int.from_bytes(raw[16:18], "big"))


def _encode_endpoints(endpoints: Iterable[UdpAddress]) -> bytes:
    return b"".join(map(encode_endpoint, endpoints))


def _decode_endpoints(raw: bytes) -> tuple[UdpAddress, ...]:
    return tuple(decode_endpoint(raw[at : at + ENDPOINT_SIZE]) for at in range(0, len(raw), ENDPOINT_SIZE))


def _head(message: Message) -> bytes:
    return bytes([message.type, 0])


def _unpack(layout: Struct, payload: bytes) -> tuple[Any, ...]:
    try:
        return layout.unpack_from(payload)
    except error:
        raise MalformedError("disco message shorter than its layout") from None


def _only_version_0(version: int) -> None:
    if version != 0:
        raise MalformedError("disco message of a later version")
