"""One mapping asked for by NAT-PMP or by PCP: what to send, and what the replies come to.

    ask.requests()      the datagrams that are not answered yet, to be sent now and again
    ask.take(reply)     whether the reply belongs to this ask
    ask.outcome         None, or how it ended; `is_made`: whether the router keeps a mapping by now, of use or not
    ask.release()       what deletes the mapping
    ask.again(…)        the ask that renews it

| protocol | asked                     | a reply belongs to it by         | renewing and deleting                     |
|----------|---------------------------|----------------------------------|-------------------------------------------|
| NAT-PMP  | the address, then the map | the internal port                | the same again; the lifetime 0            |
| PCP      | the map                   | nonce, protocol, internal port   | the same nonce again; the lifetime 0      |

Source: RFC 6886 §3.2-3.4, RFC 6887 §11.
Not here: when to send (`mapper`), the bytes (`natpmp`, `pcp`).
"""

from __future__ import annotations

from ipaddress import IPv4Address

from tsnet.base.addresses import IPAddress, UdpAddress
from tsnet.portmap import natpmp, pcp
from tsnet.portmap.lease import LEASE, Denial, Outcome, Place, Protocol, judged


class PmpAsk:
    """suggested: the external port that is wished for; 0 for any. address: the external one, if it is known already."""

    protocol = Protocol.NAT_PMP

    __slots__ = ("_address", "_mapped", "_place", "_suggested", "outcome")

    def __init__(self, place: Place, suggested: int = 0, address: IPv4Address | None = None) -> None:
        self.outcome: Outcome | None = None
        self._place, self._suggested, self._address = place, suggested, address
        self._mapped: natpmp.PmpMapped | None = None

    @property
    def is_made(self) -> bool:
        return self._mapped is not None

    def again(self, external: UdpAddress) -> PmpAsk:
        return PmpAsk(self._place, external.port)

    def release(self) -> list[bytes]:
        return [natpmp.encode_map_request(self._place.port, 0, 0)]

    def requests(self) -> list[bytes]:
        wanted = [] if self._address is not None else [natpmp.encode_address_request()]
        if self._mapped is None:
            wanted.append(natpmp.encode_map_request(self._place.port, self._suggested, LEASE))
        return wanted

    def take(self, reply: natpmp.PmpReply) -> bool:
        match reply:
            case natpmp.PmpAddress(address=address) if self._address is None:
                self._address = address
            case natpmp.PmpMapped(internal=internal, lifetime=lifetime) if internal == self._place.port and lifetime:
                self._mapped = reply
            case natpmp.PmpRefused(result=result) if result != natpmp.UNSUPPORTED_VERSION:  # which is about PCP
                self.outcome = Denial(reply.reason)
            case _:
                return False
        if self._address is not None and self._mapped is not None:
            external = UdpAddress(str(self._address), self._mapped.external)
            self.outcome = judged(external, self._mapped.lifetime)
        return True


class PcpAsk:
    """nonce: the same for as long as the mapping lives. suggested: None for any."""

    protocol = Protocol.PCP

    __slots__ = ("_nonce", "_place", "_suggested", "is_made", "outcome")

    def __init__(self, place: Place, nonce: bytes, suggested: UdpAddress | None = None) -> None:
        self.outcome: Outcome | None = None
        self.is_made: bool = False
        self._place, self._nonce, self._suggested = place, nonce, suggested

    def again(self, external: UdpAddress) -> PcpAsk:
        return PcpAsk(self._place, self._nonce, external)

    def requests(self) -> list[bytes]:
        return [self._request(LEASE)]

    def release(self) -> list[bytes]:
        return [self._request(0)]

    def take(self, reply: pcp.PcpReply) -> bool:
        match reply:
            case pcp.PcpMapped(nonce=nonce, protocol=pcp.UDP, internal=internal):
                if nonce != self._nonce or internal != self._place.port or not reply.lifetime:
                    return False
                self.is_made = True
                self.outcome = self._judged(reply.address, reply)
            case pcp.PcpRefused(operation=pcp.MAP, result=result, nonce=nonce):
                if nonce != self._nonce and (nonce or result != pcp.UNSUPPORTED_VERSION):
                    return False
                self.outcome = Denial(reply.reason, float(reply.lifetime))
            case _:
                return False
        return True

    def _judged(self, address: IPAddress, reply: pcp.PcpMapped) -> Outcome:
        if address.version != 4:
            return Denial("external address not v4")
        return judged(UdpAddress(str(address), reply.external), reply.lifetime)

    def _request(self, lifetime: int) -> bytes:
        wish = self._suggested
        port, address = (0, pcp.NO_ADDRESS) if wish is None else (wish.port, IPv4Address(wish.host))
        request = pcp.PcpMapRequest(self._place.own, self._nonce, self._place.port, port, address, lifetime)
        return pcp.encode_map_request(request)
