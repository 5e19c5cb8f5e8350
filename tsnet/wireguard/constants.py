"""Every number of the protocol, under the paper's names. Durations are float seconds, limits are counts.

Source: WireGuard §6.1 (the table), §5.3, §5.4.7; wireguard-go device/constants.go, device/queueconstants.go,
ratelimiter/ratelimiter.go. `EARLY_RETRIES`, `LONG_ROUND_TRIP`, `LOST_SESSION_WAIT` and the budgets at the end are ours.
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

EARLY_RETRIES = (0.3, 0.9, 1.8, 3.0, 4.5)
"""To a peer that never answered, the initiation goes out again so long after the first; then every REKEY_TIMEOUT.

At first contact the peer often learns of us a moment after our first initiation, which it must then drop. The
responder's only limit is INITIATION_GAP.

Each gap is 0.3 s longer than the one before, because a response that takes longer than the gap comes too late. It
could not be used: the next initiation is ahead of our first packet, and makes the responder replace the session.
"""

LONG_ROUND_TRIP = 0.6
"""What went out over a restored path is not given up for another path so long."""

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
"""Of a source that has proven its address, while it must."""

# --- what a flood of handshakes may cost ------------------------------------------------------------------------

HANDSHAKES_PER_SECOND = 500
HANDSHAKES_AT_ONCE = 256
"""Of all sources together. One costs up to 0.35 ms (four Diffie-Hellmans), so this is a sixth of a core."""

UNPROVEN_PER_SECOND = 25
UNPROVEN_AT_ONCE = 25
"""Of one source, before it must prove its address, and of one behind a relay. In no second are they more than the 50 of
INITIATION_GAP. While a relay was away, its client may have kept as many of one peer, which then come at once."""

COOKIE_REPLIES_PER_SECOND = 5000
COOKIE_REPLIES_AT_ONCE = 1024
"""To all sources together. One costs 8 us, and is less than half as long as the message that it answers."""

MAX_REMEMBERED_HANDSHAKES = 2048
"""Handshake messages that are known again, before any Diffie-Hellman, when they are replayed."""
