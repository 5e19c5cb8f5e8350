"""All TCP connections of a stack: which one a segment belongs to, which one's turn it is, whose timer is next.

    receive    key -> connection (`arrive`) | TIME_WAIT record | listener | RST
    transmit   due timers (`timers`), then every connection that something happened to (`_dirty`) in turn (`emit`)
    deadline   the top of a heap with one valid entry a connection; an entry may be early, never late

A turn costs nothing for a connection to which nothing happens. Connections of a held link wait in `_ways`.

Source: RFC 9293 §3.10.7, RFC 6528 (initial sequence numbers).
Not here: what segments mean (`arrive`), IP (`netstack.stack`).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from hashlib import blake2s
from heapq import heapify, heappop, heappush

from netstack import errors
from netstack.ip import IPAddress, IpLayer
from netstack.limits import Memory, TokenBucket
from netstack.ports import ANY, Ports
from netstack.seq import MASK, unwrap
from netstack.tcp import acknowledge, arrive, emit, states, timers
from netstack.tcp.connection import TcpConnection
from netstack.tcp.forward import TcpForwarder
from netstack.tcp.listener import KEEPALIVE, TcpListener
from netstack.tcp.parking import Syn
from netstack.tcp.passive import PassiveOpens
from netstack.tcp.settings import Settings
from netstack.tcp.tcb import MIN_MSS, Tcb
from netstack.tcp.timewait import TimeWait, TimeWaitTable
from netstack.tcp.ways import Ways
from netstack.wire import tcp
from netstack.wire.tcp import ACK, FIN, RST, SYN, V4, V6, Header

RESETS_PER_SECOND = 1000.0
RESET_BURST = 200.0
_ISN_STEP = 250_000
"""Steps a second of the clock of initial sequence numbers: one in four microseconds (RFC 6528)."""


class TcpLayer:
    """The TCP connections, listeners and forwarder of one stack."""

    __slots__ = (
        "_dirty",
        "_heap",
        "_ip",
        "_links",
        "_passive",
        "_ports",
        "_resets",
        "_secret",
        "_serial",
        "_shared_until",
        "_ways",
        "connections",
        "forwarder",
        "memory",
        "settings",
        "time_wait",
    )

    def __init__(self, ip: IpLayer, settings: Settings, *, memory: int) -> None:
        self._ip = ip
        self.settings = settings
        self.memory = Memory(memory)
        self.forwarder: TcpForwarder | None = None
        self._passive = PassiveOpens(self)
        self._secret = ip.entropy(16)
        self._ports: Ports[TcpListener] = Ports(ip.entropy(16))
        self._resets = TokenBucket(RESETS_PER_SECOND, RESET_BURST)
        self._dirty: dict[Tcb, None] = {}
        self._ways = Ways()
        self._links: dict[Hashable, dict[Tcb, None]] = {}  # the same connections as in `connections`, by their link
        self._heap: list[tuple[float, int, Tcb]] = []
        self._serial = 0
        self._shared_until = -math.inf
        self.connections: dict[bytes, Tcb] = {}
        self.time_wait = TimeWaitTable()

    # the application's calls ------------------------------------------------------------------------------------

    def connect(
        self,
        remote: IPAddress,
        remote_port: int,
        now: float,
        local: IPAddress | None,
        link: Hashable,
        max_segment: int | None,
    ) -> TcpConnection:
        """Begin a handshake. Raises AddressNotAvailable if there is no own address of the family, or no free port."""
        there = remote.packed
        here = self._ip.source_for(there) if local is None else local.packed
        if here is None or here not in self._ip.addresses or len(here) != len(there):
            raise errors.AddressNotAvailable(f"no own IPv{remote.version} address to reach {remote} from")
        ends = there + here + remote_port.to_bytes(2, "big")
        port = self._ports.ephemeral(ends, lambda port: self._is_free(ends + port.to_bytes(2, "big"), port, now))
        if port is None:
            raise errors.AddressNotAvailable(f"no free local port to reach {remote} port {remote_port} from")
        tcb = self._create(here, port, there, remote_port, now, link)
        self.time_wait.remove(tcb.key)
        tcb.state = states.SYN_SENT
        connection = TcpConnection(self, tcb)
        if max_segment is not None:
            connection.set_max_segment(max_segment)
        return connection

    def listen(
        self,
        port: int,
        address: IPAddress | None,
        backlog: int,
        max_segment: int | None,
        max_connections: int | None = None,
    ) -> TcpListener:
        """Raises AddressInUse if another listener has the port, AddressNotAvailable if the address is not ours or no
        port is free."""
        bound = ANY if address is None else address.packed
        if bound != ANY and bound not in self._ip.addresses:
            raise errors.AddressNotAvailable(f"{address} is not an address of this stack")
        if not port:
            chosen = self._ports.ephemeral(b"listen", lambda port: not self._ports.is_bound(port))
            if chosen is None:
                raise errors.AddressNotAvailable("no free port to listen on")
            port = chosen
        listener = TcpListener(
            bound,
            port,
            backlog=backlog,
            max_connections=max_connections,
            nodelay=self.settings.nodelay,
            on_close=self._close_listener,
            on_room=self._passive.has_room_at,
        )
        if max_segment is not None:
            listener.max_segment = max(max_segment, MIN_MSS)
        if not self._ports.bind(bound, port, listener):
            raise errors.AddressInUse(f"port {port} is in use by another listener of this stack")
        return listener

    def forward(self, forwarder: TcpForwarder) -> None:
        """Take SYNs to any destination from now on."""
        if self.forwarder is not None and not self.forwarder.is_closed:
            raise errors.AddressInUse("this stack has a forwarder already")
        self.forwarder = forwarder
        self._ip.takes_any.add(tcp.PROTOCOL)

    def _close_listener(self, listener: TcpListener, now: float) -> None:
        self._ports.release(listener.bound, listener.port)
        self._passive.closed(listener, now)

    def queue_fin(self, tcb: Tcb) -> None:
        """End our stream behind the data that is buffered."""
        tcb.fin_queued = True
        tcb.state = states.CLOSING_HANDSHAKE.get(tcb.state, {}).get(states.CLOSE, tcb.state)
        self.touch(tcb)

    def abort(self, tcb: Tcb, error: str | None, now: float) -> None:
        """End the connection from this side; send RST unless the peer has not answered our SYN yet."""
        if tcb.state in states.SYNCHRONIZED or tcb.state == states.SYN_RECEIVED:
            self._reset(tcb, tcb.snd_nxt & MASK, RST | ACK, now)
        self.end(tcb, error)

    def close(self, now: float) -> None:
        """Abort every connection, and close the listeners and the forwarder."""
        for tcb in list(self.connections.values()):
            self.abort(tcb, errors.ABORTED, now)
        for listener in self._ports.holders():
            listener.close(now)
        if self.forwarder is not None:
            self.forwarder.close(now)
        self.time_wait.clear()

    def addresses_changed(self) -> None:
        """End the connections of addresses that are no longer ours: no answer can reach them."""
        own = self._ip.addresses
        for tcb in [tcb for tcb in self.connections.values() if tcb.local not in own and not tcb.forwarded]:
            self.end(tcb, errors.ABORTED)

    def forget_link(self, link: Hashable) -> None:
        """End the link's connections without RST, since the peer behind it is gone. The link is no longer held."""
        self._dirty.update(dict.fromkeys(self._ways.forget(link)))
        for tcb in list(self._links.get(link, ())):
            self.end(tcb, errors.UNREACHABLE)

    def forget_remote(self, link: Hashable, remote: bytes) -> None:
        """End the link's connections with that address, in the same way."""
        for tcb in [tcb for tcb in self._links.get(link, ()) if tcb.remote == remote]:
            self.end(tcb, errors.UNREACHABLE)

    def has_connections(self, link: Hashable) -> bool:
        return link in self._links

    def path_restored(self, link: Hashable, now: float) -> None:
        """The path is back: undo the connections' backoff, and an MTU that was lowered because of the outage."""
        for tcb in self._links.get(link, ()):
            backed_off = tcb.retries or tcb.persist_backoff
            if timers.path_restored(tcb, now):
                if backed_off:
                    self.set_mtu(tcb, self._ip.path_mtu(tcb.remote, now, link))
                self._arm(tcb)

    def refuse(
        self, local: bytes, local_port: int, remote: bytes, remote_port: int, error: str = errors.REFUSED
    ) -> None:
        """End a connection in SYN_SENT, because the peer's filter said no. Connections in other states go on."""
        key = remote + local + remote_port.to_bytes(2, "big") + local_port.to_bytes(2, "big")
        tcb = self.connections.get(key)
        if tcb is not None and tcb.state == states.SYN_SENT:
            self.end(tcb, error)

    # from below -------------------------------------------------------------------------------------------------

    def take_run(self, packets: Sequence[bytes], index: int, now: float, verified: bool) -> int:
        """How many packets from `index` on were exactly what their connection expected, and were taken; often 0."""
        packet = packets[index]
        if len(packet) < 40:
            return 0
        layout = V4 if packet[0] == 0x45 else V6
        tcb = self.connections.get(packet[layout.key])
        if tcb is None or tcb.out_of_order is not None or tcb.rcv_fin is not None or tcb.orphaned:
            return 0
        if tcb.state not in states.RECEIVING or self.memory.is_full:
            return 0
        taken = arrive.take_run(self, tcb, layout, packets, index, now, verified)
        if taken:
            self._rest_if_idle(tcb)
        return taken

    def receive(
        self, link: Hashable, source: bytes, destination: bytes, segment: bytes, now: float, verified: bool
    ) -> None:
        header = tcp.parse(source, destination, segment, verified=verified)
        if isinstance(header, str):
            self._ip.dropped[header] += 1
            return
        key = source + destination + segment[:4]
        tcb = self.connections.get(key)
        if tcb is not None:
            arrive.segment_arrives(
                self,
                tcb,
                header.seq,
                header.ack,
                header.flags,
                header.window,
                segment[20 : header.size],
                segment[header.size :],
                now,
            )
            self._rest_if_idle(tcb)
            return
        after = None
        record = self.time_wait.get(key)
        if record is not None:
            if not record.is_new_connection(header, tcp.parse_options(segment[20 : header.size])):
                self._arrives_in_time_wait(record, header, len(segment) - header.size, source, now)
                return
            after = record.snd_nxt
            self.time_wait.remove(key)
        own = destination in self._ip.addresses
        taken = own and self._arrives_at_listener(link, source, destination, header, segment, after, now)
        if not taken and self.forwarder is not None and (self.forwarder.unbound or not own):
            taken = self.forwarder.arrives(link, source, destination, header, segment, now)
        if not taken:
            self._refuse(source, destination, header, len(segment) - header.size, now)

    def _rest_if_idle(self, tcb: Tcb) -> None:
        """Most often it waits for the application now, and for the timer of its acknowledgement."""
        if emit.is_idle(tcb):
            self._dirty.pop(tcb, None)
            self._arm(tcb)

    def icmp_error(
        self, local: bytes, remote: bytes, quoted: bytes, error: str | None, mtu: int | None, now: float
    ) -> None:
        """Take an ICMP answer to the segment that begins with `quoted`: an `error`, or a new `mtu` of the path."""
        tcb = self.connections.get(remote + local + quoted[2:4] + quoted[:2]) if len(quoted) >= 8 else None
        if tcb is None:
            self._ip.dropped["icmp: for no connection"] += 1
            return
        seq = unwrap(int.from_bytes(quoted[4:8], "big"), tcb.snd_una)
        if not tcb.snd_una <= seq < tcb.snd_nxt:
            self._ip.dropped["icmp: for no segment that is out"] += 1
        elif mtu is not None:
            self.set_mtu(tcb, min(tcb.mtu, self._ip.lower_path_mtu(remote, mtu, now, tcb.link)))
        elif tcb.state == states.SYN_SENT:
            self.end(tcb, error)
        else:
            tcb.soft_error = errors.UNREACHABLE  # RFC 5927: this does not end an established connection

    def set_mtu(self, tcb: Tcb, mtu: int) -> None:
        """Send packets of at most `mtu` bytes from now on. Longer ones in flight are sent again; cwnd is kept."""
        shrinks = mtu < tcb.mtu
        tcb.mtu = mtu
        tcb.set_mss()
        if not shrinks or tcb.state not in states.SYNCHRONIZED:
            return
        if acknowledge.resend_too_long(tcb):
            self.touch(tcb)

    def set_link_mtu(self, link: Hashable, mtu: int, now: float) -> None:
        """Send packets of at most `mtu` bytes on this link from now on."""
        for tcb in self._links.get(link, ()):
            tcb.interface_mtu = max(mtu, self._ip.receive_mtu)
            self.set_mtu(tcb, min(mtu, self._ip.path_mtu(tcb.remote, now, link)))

    # turns ------------------------------------------------------------------------------------------------------

    def transmit(self, now: float, budget: int, runs: emit.Runs) -> None:
        """Append what must go out to `runs`: at most `budget` bytes, but at least one packet if `runs` is empty."""
        self._expire(now)
        if self._passive.roomy:
            self._passive.answer_parked(now)
        shared = budget // emit.SHARED_PART
        if len(self._dirty) > 1 and (ordered := emit.small_ones_first(self._dirty, shared // 2)):
            self._dirty, self._shared_until = ordered, now + emit.SHARED_FOR
        left = budget if now >= self._shared_until else shared
        dirty, ways, packet = self._dirty, self._ways, self._ip.mtu
        full = ways.full
        while dirty and (left >= packet or not runs):
            tcb = next(iter(dirty))
            del dirty[tcb]
            if full and ways.waits(tcb):
                self._arm(tcb)
                continue
            left -= emit.output(tcb, now, left, runs)
            if tcb.more:
                dirty[tcb] = None
            else:
                self._arm(tcb)

    def is_due(self) -> bool:
        return bool(self._dirty or self._passive.roomy)

    def deadline(self) -> float:
        timer, waiting = self._heap[0][0] if self._heap else math.inf, self.time_wait.deadline()
        return timer if timer < waiting else waiting

    def hold(self, way: Hashable) -> None:
        self._ways.hold(way)

    def release(self, way: Hashable) -> None:
        self._dirty.update(dict.fromkeys(self._ways.release(way)))

    def set_ways(self, link: Hashable, ways: Iterable[Hashable]) -> None:
        self._dirty.update(dict.fromkeys(self._ways.set_ways(link, ways)))

    def _arm(self, tcb: Tcb) -> None:
        """Put the connection on the heap if its deadline is earlier than its entry. If it is later, the entry stays,
        unless it is the first: that one would wake the stack for nothing."""
        deadline, heap = tcb.deadline(), self._heap
        if deadline > tcb.armed_for and heap[0][2] is tcb:
            heappop(heap)
            tcb.armed_for = math.inf
        if deadline < tcb.armed_for and tcb.state not in (states.CLOSED, states.TIME_WAIT):
            self._serial += 1
            heappush(self._heap, (deadline, self._serial, tcb))
            tcb.armed_for = deadline
            if len(self._heap) > 2 * len(self.connections) + 64:
                self._heap = [entry for entry in self._heap if entry[0] == entry[2].armed_for]
                heapify(self._heap)

    def _expire(self, now: float) -> None:
        self.time_wait.expire(now)
        heap = self._heap
        while heap and heap[0][0] <= now:
            at, _, tcb = heappop(heap)
            if at != tcb.armed_for:
                continue  # a later push made this one stale
            tcb.armed_for = math.inf
            if tcb.deadline() <= now:
                timers.expire(self, tcb, now)
            self._arm(tcb)

    # for arrive and timers --------------------------------------------------------------------------------------

    def touch(self, tcb: Tcb) -> None:
        """Give the connection a turn: something happened to it."""
        self._dirty[tcb] = None

    def ready(self, tcb: Tcb) -> None:
        """Tell the application that something changed which it can see."""
        if tcb.face is not None and not tcb.orphaned:
            self._ip.ready[tcb.face] = None

    def is_passive(self, tcb: Tcb) -> bool:
        return tcb in self._passive

    def count(self, reason: str) -> None:
        self._ip.dropped[reason] += 1

    def establish(self, tcb: Tcb, now: float, *, is_bare: bool = False) -> bool:
        """The handshake's last segment came. False if its listener waits for data: it stays half-open.

        is_bare: the segment carries no data, so that a listener with `defer` may wait for some.
        """
        listener = self._passive.listener_of(tcb)
        if listener is not None and is_bare and now < tcb.opened_time + listener.defer:
            self.count("tcp: accept deferred")
            tcb.rto_at = max(tcb.rto_at, tcb.opened_time + listener.defer)
            return False
        tcb.data_received_time = tcb.acked_time = now
        tcb.state = states.FIN_WAIT_1 if tcb.fin_queued else states.ESTABLISHED
        if tcb.retries:
            tcb.rtt.lost_syn()
            if tcb.retries > 1:
                tcb.congestion.cwnd = float(tcb.mss)
        tcb.stalled_time = math.inf  # the SYN was acknowledged
        if listener is not None:
            tcb.keepalive, tcb.nodelay = listener.keepalive, listener.nodelay
            self._passive.established(tcb, TcpConnection(self, tcb))
            self.tell(listener)
        timers.start_keepalive(tcb, now)
        self.ready(tcb)
        return True

    def end(self, tcb: Tcb, error: str | None) -> None:
        """End the connection, with an error code or None."""
        self.ready(tcb)
        self._forget(tcb)
        tcb.state = states.CLOSED
        tcb.error = error
        self._dirty.pop(tcb, None)
        self._ways.discard(tcb)

    def enter_time_wait(self, tcb: Tcb, now: float) -> None:
        self.ready(tcb)
        self._forget(tcb)
        tcb.state = states.TIME_WAIT
        self.time_wait.add(TimeWait(tcb, now))

    def linger(self, tcb: Tcb, now: float) -> None:
        """Wait for the peer's FIN for a limited time: the application has closed."""
        tcb.linger_at = now + (self.settings.fin_timeout if tcb.fin_timeout is None else tcb.fin_timeout)
        self.touch(tcb)

    def send_reset(self, tcb: Tcb, *, seq: int, now: float) -> None:
        """Send RST at `seq`, which the peer has acknowledged although we never sent it."""
        if self._resets.take(now):
            self._reset(tcb, seq, RST, now)

    def _forget(self, tcb: Tcb) -> None:
        self.connections.pop(tcb.key, None)
        self._leave_link(tcb)
        if tcb.shares:
            self._passive.ended(tcb)
        tcb.let_go()
        tcb.armed_for = math.inf
        tcb.stop_timers()
        heap = self._heap
        while heap and heap[0][0] != heap[0][2].armed_for:  # a keepalive is due in hours: nobody wakes for the dead
            heappop(heap)

    def _leave_link(self, tcb: Tcb) -> None:
        others = self._links.get(tcb.link)
        if others is not None:
            others.pop(tcb, None)
            if not others:
                del self._links[tcb.link]

    def _reset(self, tcb: Tcb, seq: int, flags: int, now: float) -> None:
        stamps = tcp.timestamp_options(tcb.stamp(now), tcb.ts_recent) if tcb.ts_ok else b""
        packet = tcp.build(
            tcb.local,
            tcb.local_port,
            tcb.remote,
            tcb.remote_port,
            seq=seq,
            ack=tcb.rcv_nxt & MASK if flags & ACK else 0,
            flags=flags,
            options=stamps,
        )
        self._ip.send(tcb.remote, packet)

    def _create(
        self, local: bytes, local_port: int, remote: bytes, remote_port: int, now: float, link: Hashable
    ) -> Tcb:
        ends = local + remote + local_port.to_bytes(2, "big") + remote_port.to_bytes(2, "big")
        digest = blake2s(ends, key=self._secret, digest_size=8).digest()
        iss = (int.from_bytes(digest[:4], "big") + int(now * _ISN_STEP)) & MASK
        tcb = Tcb(
            local,
            local_port,
            remote,
            remote_port,
            iss=iss,
            stamp_offset=int.from_bytes(digest[4:], "big"),
            mtu=self._ip.path_mtu(remote, now, link),
            interface_mtu=max(self._ip.link_mtu(link), self._ip.receive_mtu),
            now=now,
            link=link,
            memory=self.memory,
            settings=self.settings,
        )
        self.connections[tcb.key] = tcb
        self._links.setdefault(link, {})[tcb] = None
        self.touch(tcb)
        return tcb

    def _is_free(self, key: bytes, port: int, now: float) -> bool:
        if key in self.connections or self._ports.is_bound(port):
            return False
        record = self.time_wait.get(key)
        return record is None or record.may_be_reused(now)

    def _arrives_at_listener(
        self,
        link: Hashable,
        source: bytes,
        destination: bytes,
        header: Header,
        segment: bytes,
        after: int | None,
        now: float,
    ) -> bool:
        """Give the segment to a listener; False if none takes it."""
        listener = self._ports.lookup(destination, header.destination_port)
        if listener is None or header.flags & (ACK | RST) or not header.source_port:
            return False
        if not header.flags & SYN:
            self.count("tcp: no SYN at a listener")
            return True
        syn = Syn(link, source, destination, header, segment[: header.size], after, now)
        self._passive.arrives(listener, syn, now)
        return True

    def accept_held(
        self, link: Hashable, source: bytes, destination: bytes, header: Header, segment: bytes, now: float
    ) -> TcpConnection:
        """Answer a SYN that the forwarder has held.

        Raises EndpointClosed if something else has answered it, or if its peer has too many connections by now.
        """
        syn = Syn(link, source, destination, header, segment[: header.size], None, now)
        if syn.key in self.connections:  # a listener or `connect`, since it was held
            raise errors.EndpointClosed("the same connection has been opened by other means")
        if self._passive.is_one_too_many(syn, None, now):
            raise errors.EndpointClosed("the peer has as many connections open as it may have")
        tcb = self.open(syn, None, now)
        tcb.forwarded = True
        tcb.keepalive = KEEPALIVE
        self._passive.admit(tcb)
        return TcpConnection(self, tcb)

    def refuse_held(self, source: bytes, destination: bytes, header: Header, segment: bytes, now: float) -> None:
        self._refuse(source, destination, header, len(segment) - header.size, now)

    # for the passive opens --------------------------------------------------------------------------------------

    def open(self, syn: Syn, listener: TcpListener | None, now: float) -> Tcb:
        header = syn.header
        tcb = self._create(syn.destination, header.destination_port, syn.source, header.source_port, now, syn.link)
        if syn.after is not None:
            tcb.restart((syn.after + 65_536) & MASK)
        if listener is not None:
            tcb.max_segment = listener.max_segment
            if listener.receive_buffer is not None:
                tcb.fix_receive_limit(listener.receive_buffer)
        tcb.state = states.SYN_RECEIVED
        arrive.synchronize(tcb, header.seq, tcp.parse_options(syn.head[20:]), header.window, now)
        return tcb

    def turn_down(self, syn: Syn, now: float) -> None:
        self._reject(syn.source, syn.destination, syn.header, 0, now)

    def tell(self, listener: TcpListener) -> None:
        self._ip.ready[listener] = None

    def _arrives_in_time_wait(self, record: TimeWait, header: Header, length: int, source: bytes, now: float) -> None:
        answer = record.answer(header, length, now)
        if answer is not None:
            self._ip.send(source, answer)
            if header.flags & FIN:
                self.time_wait.restarted(record)

    def _refuse(self, source: bytes, destination: bytes, header: Header, length: int, now: float) -> None:
        """Answer a segment of no connection with RST, unless it is one itself (RFC 9293 §3.10.7.1)."""
        self.count("tcp: for no connection")
        self._reject(source, destination, header, length, now)

    def _reject(self, source: bytes, destination: bytes, header: Header, length: int, now: float) -> None:
        if header.flags & RST or not self._resets.take(now):
            return
        seq, ack, flags = header.ack, 0, RST
        if not header.flags & ACK:
            length += bool(header.flags & SYN) + bool(header.flags & FIN)
            seq, ack, flags = 0, (header.seq + length) & MASK, RST | ACK
        packet = tcp.build(
            destination, header.destination_port, source, header.source_port, seq=seq, ack=ack, flags=flags
        )
        self._ip.send(source, packet)
