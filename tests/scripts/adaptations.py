"""What the interpreter lets pass although it is not what the script says, because the script describes Linux.

General rules, each for every script; none knows a script by name. The runner notes which of them a script has needed.
`--strict` turns them all off. The same table stands in docs/scripts.md.
"""

from __future__ import annotations

from collections.abc import Iterable

RULES = {
    "segments": "an expected packet longer than one segment is met by several of ours that join to it: Linux hands"
    " super-segments to its device and has them cut there, netstack cuts them itself",
    "push": "PSH is not compared on segments with data: Linux sets it at ends of its own queue entries",
    "pacing": "with a pacing queue (fq) installed, packets may leave earlier than expected: netstack does not pace",
    "prompt": "an acknowledgement without data may leave up to 200 ms earlier than expected, and data be acknowledged"
    " before the acknowledgement of more that is expected: delaying is the receiver's choice (RFC 9293 3.8.6.3)",
    "scale": "the shift of the window scale option is not compared, and where it is another neither are windows: it"
    " follows from the buffer that a stack may grow to",
    "dsack": "a block of duplicates (RFC 2883) may stand before the expected ones: Linux reports none where its quick"
    " acknowledgements are over",
    "parts": "data that a network card would have joined, and that arrives here in segments at once, may be"
    " acknowledged in parts before the expected acknowledgement of all of it",
    "challenge": "the acknowledgement that answers one of what was never sent (RFC 9293 3.10.7.4) may be missing from"
    " the script: older Linux was silent",
    "local": "while the queue below has no room (limit 0), tcpi_probes and tcpi_backoff are not compared: Linux tries"
    " again every 500 ms, netstack waits until it is told of room",
    "ticks": "a packet that a timer sends may leave up to 12 ms early: Linux's timers count ticks of 1 to 4 ms, and"
    " RACK's adds two of them to be sure",
}


PROMPT = 0.2
TICKS = 0.012


class Adaptations:
    """Which rules are on, and which of them were needed."""

    def __init__(self, allowed: Iterable[str] = RULES) -> None:
        self.allowed = frozenset(allowed)
        self.used: dict[str, None] = {}

    def use(self, rule: str) -> bool:
        """Whether the rule may be applied; notes that it was."""
        assert rule in RULES, rule
        if rule not in self.allowed:
            return False
        self.used[rule] = None
        return True
