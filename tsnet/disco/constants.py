"""The times and limits of path selection. Seconds, unless said otherwise.

The first table has magicsock's, which its peers expect; the second has our own.

Source: Go wgengine/magicsock/endpoint.go, magicsock.go.
"""

from __future__ import annotations

HEARTBEAT_INTERVAL = 3.0
"""Between two pings of the best address, while its peer is sent to."""

TRUST_UDP_ADDRESS = 6.5
"""How long a pong lets an address carry everything alone."""

SESSION_ACTIVE_TIMEOUT = 45.0
"""How long after the last datagram sent a peer counts as one that is sent to."""

PING_TIMEOUT = 5.0
DISCO_PING_INTERVAL = 5.0
"""Between two discovery rounds, and between two discovery pings of one address. A CallMeMaybe ends it."""

UPGRADE_INTERVAL = 60.0
"""Between two rounds while a direct path is trusted, but is not yet good enough."""

GOOD_ENOUGH_LATENCY = 0.005
ENDPOINTS_FRESH = 27.0
"""How old our own endpoints may be in a CallMeMaybe: a NAT forgets a mapping after 30."""

HEARD_CANDIDATE = 45.0
"""How long an address that is known by its pings alone stays a candidate after the last one."""

RELAY_DISCOVERY_INTERVAL = 30.0
"""Between two requests to the peer relays for sessions with one peer."""

RELAY_UPGRADE_INTERVAL = 60.0
"""The same, while one of them carries what is sent and is trusted."""

ALLOCATION_TIMEOUT = 10.0
ASK_RELAY_AGAIN = 3.0
"""A peer relay has so long to answer a request; after the second time it is asked once more."""

MAX_BIND_LIFETIME = 30.0
MAX_BIND_PINGS = 10
"""Of a handshake with a peer relay, whatever the relay says."""

# --- ours -------------------------------------------------------------------------------------------------------

ASK_AGAIN = 0.5
"""After the first round, by when the peer has heard of our endpoints and has opened its router, all are asked again."""

BURST_ROUNDS = 6
BURST_PAUSE = 35.0
"""So many rounds without a pong are a burst. A router that took a peer's ping for a connection of its own then maps
ours to another port, and each retry keeps it so: it forgets within 30 s of silence."""

DATA_UNANSWERED = 3.0
"""Data goes out on a trusted path, and nothing authenticated comes back for so long: the path is asked."""

DATA_PING_TIMEOUT = 2.0
"""The path has so long to answer one of its data-sized pings."""

DATA_PING_INTERVAL = 0.7
DATAGRAM_SIZE = 1312
"""Bytes of the largest datagram of WireGuard, where the path is not known to carry larger ones."""

LARGE = 1000
"""Bytes from which on a datagram of WireGuard is a large one, which a path may lose that carries small ones."""

PING_SIZE = 124
DATA_PADDING = DATAGRAM_SIZE - PING_SIZE
"""Bytes that make a ping as large as that."""

UNANSWERED_HANDSHAKES = 2
"""Messages of WireGuard's handshake in a row that went unanswered on a trusted path. A handshake begins 15 s after data
that was not answered, by which time even a peer that has nothing to say would have sent a keepalive."""

DOUBT, MAX_DOUBT = 60.0, 3600.0
"""How long an address is not used alone that pings pass and WireGuard does not. Each time it doubles."""

MAX_LISTED = 24
MAX_HEARD = 8
MAX_CANDIDATES = MAX_LISTED + MAX_HEARD
"""Of one peer: those that lists name, those that only its own pings told of, and both."""

MAX_PORTS = 8
"""Of one host in a list."""

MAX_DIRECT = 1024
"""Peers that direct paths are kept or looked for. One more takes the place of one that is not sent to, if there is one;
or else it stays on the relay until there is."""

ROOM_AGAIN = 1.0
"""Between two looks for one that is not sent to."""

MAX_PINGS = 64
MAX_ALL_PINGS = 16_384
OWN_PINGS = 16
TRUSTED_PINGS = 8
"""In flight to one peer, and to all; those that one has beyond what all take, and for the address that carries it."""

PINGS_PER_SECOND = 5
"""To one address, whoever named it."""

MAX_ANSWERS = 16
MAX_ALL_ANSWERS = 1024
"""Pongs that wait to be transmitted, for one peer and for all."""

MAX_SEEN = 32
MAX_SOURCES = 4
"""Pings of a peer that are remembered, and from how many places one of them is answered."""

BIND_RETRIES = (0.5, 1.0, 2.0, 4.0)
"""A message of a handshake with a peer relay that stays without an answer is sent again after each of these."""

DOUBTED_INTERVAL = 1.0
"""Between two pings by a session of a peer relay that is not trusted any more."""

MAX_STEADY_LIFETIME = 300.0
"""A session at a peer relay that is not used is worth a ping for so long at most."""

MAX_RELAYS = 8
"""Peer relays that are asked for sessions, of those that control grants us."""

MAX_RELAY_ADDRESSES = 8
"""Addresses of one peer relay that are tried."""

MAX_KNOWN_ADDRESSES = 256
"""Addresses that peer relays of ours have named, and that are not taken for somebody else's."""

MAX_ALLOCATIONS = 512
MAX_BINDINGS = 8
MAX_ALL_BINDINGS = 512
"""Requests in flight, of all peers; handshakes in flight, of one peer and of all."""

CALLED_VIA_INTERVAL = 4.0
"""Between two sessions that one peer may name in the long run; MAX_BINDINGS at once."""
