"""What an application gets of `explain`: what a dial of a target would meet, step by step, and one verdict.

| code            | what it means                                                                                    |
|-----------------|--------------------------------------------------------------------------------------------------|
| OK-DIRECT       | the target answers, and no relay is in the way                                                   |
| OK-RELAYED      | it answers through a relay, or a peer that relays; `reason` says why                             |
| OK-SELF         | the target is this node itself                                                                   |
| E-NAME          | no node has that name or address                                                                 |
| E-SELF-EXPIRED  | this node's own key has expired                                                                  |
| E-SELF-APPROVAL | an administrator has to approve of this node                                                     |
| E-SELF-LOGIN    | control wants a login, or does not take the auth key                                             |
| E-SELF-REMOVED  | control has deleted this node                                                                    |
| E-CONTROL       | control does not answer, so that this node cannot begin                                          |
| E-EXPIRED       | the peer's key has expired                                                                       |
| E-OFFLINE       | control says that the peer is offline, and nothing answers                                       |
| E-DERP          | a relay on the way cannot be reached, and nothing answers                                        |
| E-UNREACHABLE   | nothing answers, and nobody says why                                                             |
| E-TUNNEL        | the peer answers outside the tunnel and not inside                                               |
| E-POLICY        | the tailnet's policy, which the peer enforces, says no                                           |
| E-SHIELDS       | the peer's shields are up                                                                        |
| E-FIREWALL      | the peer's machine does not let the connection in, or on                                         |
| E-PORT          | the peer is reached, and nothing listens on that port                                            |
| E-TIMEOUT       | the peer is reached, and that port says nothing                                                  |

The codes are a contract, and so are the reasons of a relayed path (`REASONS`). What is said beside them may change.

Not here: how it is found out (`inquiry`), how it is judged (`judgement`).
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from tsnet.engine.peerpath import NO_PATH, PeerPath

REASONS: Mapping[str, str] = {
    "only-relays": "this node uses relays alone, as TS_DEBUG_ALWAYS_USE_DERP or TS_DEBUG_NEVER_DIRECT_UDP asks",
    "only-tcp-443": "control allows this node no UDP (node attribute only-tcp-443)",
    "no-disco": "the peer does not take part in finding direct paths",
    "udp-blocked": "UDP does not pass between this node and the internet",
    "peer-udp-blocked": "UDP does not pass between the peer and the internet",
    "no-endpoints": "the peer has told no address where it may be reached",
    "hard-nat-both": "both nodes are behind hard NATs, which give each destination another port",
    "hard-nat": "this node is behind a hard NAT, which gives each destination another port",
    "peer-hard-nat": "the peer is behind a hard NAT, which gives each destination another port",
    "no-pongs": "none of the peer's addresses has answered",
}
"""Why a relay carries what is sent, by its stable word."""

ADVICE: Mapping[str, str] = {
    "OK-DIRECT": "nothing is to be done",
    "OK-RELAYED": "it works; for a direct path see what stands in the way",
    "OK-SELF": "nothing is to be done: a dial of this node stays in this process",
    "E-NAME": "look at the names of the tailnet (tsnet status); control hides nodes that the policy keeps from us",
    "E-SELF-EXPIRED": "extend this node's key at control, or start it with a new auth key",
    "E-SELF-APPROVAL": "have an administrator of the tailnet approve of this node",
    "E-SELF-LOGIN": "log this node in, or give it an auth key that is valid",
    "E-SELF-REMOVED": "join anew, with another identity",
    "E-CONTROL": "check the control URL, and the network between this machine and control",
    "E-EXPIRED": "log the peer in again, or extend its key at control",
    "E-OFFLINE": "start the peer, or connect it to the network",
    "E-DERP": "let both machines reach the relay by TCP, mostly on port 443",
    "E-UNREACHABLE": "look whether the peer runs, and what its own log says",
    "E-TUNNEL": "restart the peer; one of the two has an old key of the other",
    "E-POLICY": "let the policy allow this node, or its tag, to reach that port of the peer",
    "E-SHIELDS": "lower the peer's shields (tailscale set --shields-up=false)",
    "E-FIREWALL": "mend the firewall or the forwarding of the peer's machine",
    "E-PORT": "start what is to listen there, on the tailnet's address and not on 127.0.0.1 alone",
    "E-TIMEOUT": "look at a firewall on the peer's machine, or at what listens there: it does not accept",
}
"""What to do next, by code."""


@attrs.frozen
class ExplanationStep:
    """One question. ok: True if that is as it should be, False if it stands in the way, None if it is only told.

    seconds: how long the answer took; 0.0 for what was known."""

    question: str
    found: str
    ok: bool | None
    seconds: float = 0.0


@attrs.frozen
class Explanation:
    """What a dial of `target` would meet. code: stable, as in docs/explain.md. verdict: one line for a person.

    advice: what to do next. reason: of OK-RELAYED, the stable word of what keeps the path from being direct, else "".
    path: how the peer is reached now. steps: what was asked, in the order in which a dial needs it."""

    target: str
    code: str
    verdict: str
    advice: str
    reason: str = ""
    path: PeerPath = NO_PATH
    steps: tuple[ExplanationStep, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the target answers."""
        return self.code.startswith("OK-")
