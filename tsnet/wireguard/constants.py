"""Every number of the protocol, under the paper's names. Durations are float seconds, limits are counts.

Source: WireGuard §6.1 (the table), §5.3, §5.4.7; wireguard-go device/constants.go, device/queueconstants.go,
ratelimiter/ratelimiter.go. `EARLY_RETRIES` and `LOST_SESSION_WAIT` are ours.
"""

from __future__ import annotations

# --- the paper's table ------------------------------------------------------------------------------------------

REKEY_AFTER_MESSAGES = 2**60
REJECT_AFTER_MESSAGES = 2**64 - 2**13 - 1
REKEY_AFTER_TIME = 120.0
REJECT_AFTER_TIME = 180.0
REKEY_ATTEMPT_TIME = 90.0
REKEY_TIMEOUT = 5.0
KEEPALIVE_TIMEOUT = 10.0

# --- around it --------------------------------------------------------------------------------------------------

REKEY_JITTER = 0.333
"""Added to every REKEY_TIMEOUT, evenly from 0 up to this: two peers that initiate together drift apart."""

LAST_MINUTE_REKEY_TIME = REJECT_AFTER_TIME - KEEPALIVE_TIMEOUT - REKEY_TIMEOUT
"""A session that only receives is renewed by its initiator at this age, once."""

NEW_HANDSHAKE_TIME = KEEPALIVE_TIMEOUT + REKEY_TIMEOUT
"""Data sent and nothing heard for so long: the session is taken for dead on the other side."""

WIPE_TIME = 3 * REJECT_AFTER_TIME
"""Keys and ephemerals are forgotten so long after the last session."""

INITIATION_GAP = 0.020
"""A peer's initiations that come closer than this are refused."""

EARLY_RETRIES = (0.3, 0.6, 0.9, 1.2, 1.8, 2.4)
"""To a peer that never answered, the initiation goes out again so long after the first; then every REKEY_TIMEOUT.

At first contact the peer often learns of us a moment after our first initiation, which it must then drop. The
responder's only limit is INITIATION_GAP.
"""

RETRY_GAP = 0.15
"""An early retry that a late turn has brought closer than this to its predecessor is left out."""

LOST_SESSION_WAIT = 0.1
"""From a peer's first packet by a session that we lost to our initiation; Go 1.104 sends its own right behind it."""

COOKIE_LIFETIME = 120.0
"""Of a cookie with the one who got it, and of the secret with the one who makes them."""

PADDING = 16

MAX_STAGED_PACKETS = 128
MAX_STAGED_HANDSHAKES = 1024
UNDER_LOAD_HANDSHAKES = MAX_STAGED_HANDSHAKES // 8
UNDER_LOAD_TIME = 1.0

RATE_PER_SECOND = 20
RATE_BURST = 5
