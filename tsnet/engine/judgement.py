"""From evidence to an explanation: the steps that a dial takes, and the one thing that stands in its way.

The first row that holds gives the code:

| evidence                                                    | code                                                 |
|-------------------------------------------------------------|------------------------------------------------------|
| nobody has the name; it is ours; the peer's key has expired | E-NAME, OK-SELF, E-EXPIRED                           |
| the peer has said no to the port                            | E-POLICY, E-SHIELDS, E-FIREWALL, E-PORT              |
| the port answers; without a port, the tunnel                | OK-DIRECT, OK-RELAYED                                |
| the tunnel answers, and the port does not                   | E-TIMEOUT                                            |
| disco answers, and the tunnel does not                      | E-TUNNEL                                             |
| control says that the peer is offline                       | E-OFFLINE                                            |
| a relay on the way has trouble                              | E-DERP                                               |
| nothing                                                     | E-UNREACHABLE                                        |

A node that cannot begin has no evidence: the error that `up` ends in is judged alone (`judge_error`).

Not here: the codes (`explanation`), how the evidence is gathered (`inquiry`).
"""

from __future__ import annotations

from collections.abc import Iterator

from tsnet.base.wording import Wording
from tsnet.engine import tsmp
from tsnet.engine.evidence import Evidence
from tsnet.engine.explanation import ADVICE, REASONS, Explanation, ExplanationStep
from tsnet.errors import (
    AuthKeyRejected,
    CredentialRejected,
    KeyExpired,
    NeedsApproval,
    NeedsLogin,
    NodeRemoved,
    RemoteError,
)

REFUSED = "refused"

DENIALS = {
    tsmp.DENIED + tsmp.SHIELDS_UP: "E-SHIELDS",
    tsmp.DENIED + tsmp.NOT_FORWARDED: "E-FIREWALL",
    tsmp.DENIED + tsmp.HOST_FIREWALL: "E-FIREWALL",
}
"""Every other denial is the policy's."""

TOLD_BY_CONTROL = frozenset({"E-NAME", "E-EXPIRED", "E-OFFLINE", "E-UNREACHABLE"})
OLD = "; control is not connected, so that its word may be old"
"""What is added to a verdict of those codes while it is not."""


def judge(evidence: Evidence) -> Explanation:
    """What to say of it."""
    code = _code(evidence)
    reason = relayed_because(evidence) if code == "OK-RELAYED" else ""
    caution = "" if evidence.control_listens or code not in TOLD_BY_CONTROL else OLD
    return Explanation(
        evidence.target,
        code,
        f"{code}: {_verdict(code, evidence, reason)}{caution}",
        ADVICE[code],
        reason,
        evidence.path,
        tuple(_steps(evidence)),
    )


def judge_error(target: str, error: RemoteError, seconds: float) -> Explanation:
    """Of a node that does not run, and so cannot dial: the error says why."""
    match error:
        case KeyExpired():
            code = "E-SELF-EXPIRED"
        case NeedsApproval():
            code = "E-SELF-APPROVAL"
        case NeedsLogin() | AuthKeyRejected() | CredentialRejected():
            code = "E-SELF-LOGIN"
        case NodeRemoved():
            code = "E-SELF-REMOVED"
        case _:
            code = "E-CONTROL"
    text = next((each for each in reversed(error.args) if isinstance(each, str)), type(error).__name__)
    step = ExplanationStep("Does this node run?", Wording("no: ", text), False, seconds)
    return Explanation(target, code, Wording(f"{code}: this node does not run: ", text), ADVICE[code], steps=(step,))


def relayed_because(evidence: Evidence) -> str:
    """The word of `REASONS` for what keeps the path from being direct; the surest first."""
    network = _of_peer(evidence)
    theirs = network.get("MappingVariesByDestIP") is True
    reasons = {
        "only-relays": evidence.only_relays,
        "only-tcp-443": evidence.only_tcp_443,
        "no-disco": not evidence.knows_disco,
        "udp-blocked": evidence.udp is False,
        "peer-udp-blocked": network.get("WorkingUDP") is False,
        "no-endpoints": not evidence.candidates,
        "hard-nat-both": evidence.hard_nat is True and theirs,
        "hard-nat": evidence.hard_nat is True,
        "peer-hard-nat": theirs,
    }
    return next((word for word, holds in reasons.items() if holds), "no-pongs")


def _of_peer(evidence: Evidence) -> dict[str, object]:
    """tailcfg.NetInfo of the peer, from those controls that pass it on."""
    found = {} if evidence.peer is None else evidence.peer.hostinfo.get("NetInfo")
    return dict(found) if isinstance(found, dict) else {}


# --- the verdict -----------------------------------------------------------------------------------------------------


def _code(evidence: Evidence) -> str:
    if evidence.is_self:
        return "OK-SELF"
    if evidence.peer is None:
        return "E-NAME"
    if evidence.peer.expired:
        return "E-EXPIRED"
    if evidence.is_denied:
        return "E-PORT" if evidence.port_said == REFUSED else DENIALS.get(str(evidence.port_said), "E-POLICY")
    if evidence.answers:
        return "OK-DIRECT" if evidence.path.is_direct else "OK-RELAYED"
    if evidence.tunnel is not None:
        return "E-TIMEOUT"
    if evidence.disco:
        return "E-TUNNEL"
    if evidence.peer.online is False:
        return "E-OFFLINE"
    return "E-DERP" if evidence.relay_trouble else "E-UNREACHABLE"


def _verdict(code: str, evidence: Evidence, reason: str) -> str:
    """One sentence, without its full stop."""
    target, name = evidence.target, evidence.name
    match code:
        case "OK-DIRECT":
            return f"{target} answers in {_milliseconds(_round_trip(evidence))}, directly at {evidence.path.address}"
        case "OK-RELAYED":
            by = f"{target} answers in {_milliseconds(_round_trip(evidence))}, through {_relay_of(evidence)}"
            return f"{by}: {REASONS[reason]}{_addresses_asked(evidence, reason)}"
        case "OK-SELF":
            return f"{evidence.host} is this node itself"
        case "E-NAME":
            return _unknown(evidence)
        case "E-EXPIRED":
            return f"the key of {name} has expired, so that no node of the tailnet speaks with it"
        case "E-POLICY" | "E-SHIELDS" | "E-FIREWALL":
            return f"{name} is reached and denies {target}: {tsmp.denial(str(evidence.port_said))}"
        case "E-PORT":
            return f"{name} is reached, and nothing listens on port {evidence.port}"
        case "E-TIMEOUT":
            return f"{name} is reached, and says nothing on port {evidence.port} for {evidence.waited:.3g} s"
        case "E-TUNNEL":
            return f"{name} answers outside the tunnel, and nothing inside for {evidence.waited:.3g} s"
        case "E-OFFLINE":
            return f"{name} is offline, says control, and nothing of it answers"
        case "E-DERP":
            return f"{name} does not answer, and a relay on the way has trouble: {evidence.relay_trouble}"
        case _:
            online = "it is online" if evidence.peer is not None and evidence.peer.online else "nothing of its state"
            return f"nothing of {name} answers within {evidence.waited:.3g} s; control says {online}"


def _unknown(evidence: Evidence) -> str:
    host = evidence.host
    if evidence.address is not None or not evidence.suffix:
        return f"no node of this tailnet owns {evidence.address or host}"
    said = f"no node of this tailnet is called {host}"
    if "." in host.rstrip(".") and not host.rstrip(".").lower().endswith(f".{evidence.suffix}"):
        said += f"; its names end in {evidence.suffix}"
    if not evidence.near:
        return said
    others = " or ".join(evidence.near)
    return f"{said}; {others} {'is' if len(evidence.near) == 1 else 'are'} near"


def _round_trip(evidence: Evidence) -> float:
    return evidence.port_seconds if evidence.port is not None else evidence.tunnel or 0.0


def _relay_of(evidence: Evidence) -> str:
    path = evidence.path
    if path.is_peer_relay:
        return f"the peer relay {path.address}"
    return f"relay {path.region}" + (f" ({path.region_code})" if path.region_code else "") if path.region else "a relay"


def _addresses_asked(evidence: Evidence, reason: str) -> str:
    if reason in ("hard-nat-both", "hard-nat", "peer-hard-nat", "no-pongs", "udp-blocked", "peer-udp-blocked"):
        number = evidence.candidates
        return f" ({number} {'address' if number == 1 else 'addresses'} asked)"
    return ""


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


# --- the steps -------------------------------------------------------------------------------------------------------


def _steps(evidence: Evidence) -> Iterator[ExplanationStep]:
    yield _own(evidence)
    yield _who(evidence)
    peer = evidence.peer
    if evidence.is_self or peer is None or peer.expired:
        return
    online = {True: "yes, says control", False: "no, says control", None: "control does not say"}[peer.online]
    yield ExplanationStep(f"Is {evidence.name} online?", online, peer.online)
    yield _relays(evidence)
    yield _addresses(evidence)
    yield _path(evidence)
    yield _tunnel(evidence)
    yield _filter(evidence)
    if evidence.port is not None:
        yield _port(evidence)


def _own(evidence: Evidence) -> ExplanationStep:
    said = f"yes, as {evidence.own_name} ({evidence.own_address})"
    if not evidence.control_listens:
        return ExplanationStep("Does this node run?", f"{said}{OLD}", None)
    return ExplanationStep("Does this node run?", said, True)


def _who(evidence: Evidence) -> ExplanationStep:
    question, peer = f"Who is {evidence.host}?", evidence.peer
    if evidence.is_self:
        return ExplanationStep(question, "this node itself", True)
    if peer is None:
        return ExplanationStep(question, _unknown(evidence), False)
    routed = evidence.address is not None and evidence.address not in peer.ips
    what = f"behind the subnet router {peer.name}" if routed else peer.name
    said = f"{what} ({evidence.address})" + (f", of {evidence.owner}" if evidence.owner else "")
    if evidence.near:
        said += f", and not {' or '.join(evidence.near)}"
    return ExplanationStep(question, f"{said}; its key has expired" if peer.expired else said, not peer.expired)


def _relays(evidence: Evidence) -> ExplanationStep:
    question = "Is its relay reached?"
    if evidence.relay_trouble:
        return ExplanationStep(question, f"no: {evidence.relay_trouble}", False)
    if not evidence.relay:
        return ExplanationStep(question, "it has told of none", None)
    through = [seconds for path, seconds in evidence.disco.items() if path.region]
    if through or evidence.relay_connected:
        return ExplanationStep(question, f"yes, {evidence.relay}", True, min(through, default=0.0))
    return ExplanationStep(question, f"{evidence.relay}; this node is not connected to it", None)


def _addresses(evidence: Evidence) -> ExplanationStep:
    question, number = "At which addresses does it answer?", evidence.candidates
    direct = {path.address: seconds for path, seconds in evidence.disco.items() if path.is_direct}
    if direct:
        best = min(direct, key=direct.__getitem__)
        more = f", and at {len(direct) - 1} more" if len(direct) > 1 else ""
        return ExplanationStep(question, f"{best}{more}", True, direct[best])
    if evidence.path.is_direct:
        return ExplanationStep(question, evidence.path.address, True)
    if number and not (evidence.only_relays or evidence.only_tcp_443):
        return ExplanationStep(question, f"at none of the {number} that it may have", None, evidence.waited)
    return ExplanationStep(question, "none was asked", None)


def _path(evidence: Evidence) -> ExplanationStep:
    question = "By which path is it reached?"
    if not (evidence.answers or evidence.tunnel is not None or evidence.is_denied):
        return ExplanationStep(question, f"none so far; it is sent to by {evidence.path}", None)
    if evidence.path.is_direct:
        return ExplanationStep(question, str(evidence.path), True)
    reason = REASONS[relayed_because(evidence)]
    return ExplanationStep(question, f"{evidence.path}: {reason}", None)


def _tunnel(evidence: Evidence) -> ExplanationStep:
    """What the port says has come through it, too."""
    question = "Does its tunnel answer?"
    if evidence.tunnel is None and not (evidence.answers or evidence.is_denied):
        return ExplanationStep(question, f"no, not within {evidence.waited:.3g} s", False, evidence.waited)
    return ExplanationStep(question, "yes", True, evidence.tunnel or 0.0)


def _filter(evidence: Evidence) -> ExplanationStep:
    question = "May it connect to this node?"
    if evidence.lets_in:
        return ExplanationStep(question, "yes, to some port", True)
    return ExplanationStep(
        question, "no, this node's filter has nothing for it; a dial from here does not need it", None
    )


def _port(evidence: Evidence) -> ExplanationStep:
    question, said = f"Does port {evidence.port} answer?", evidence.port_said
    if evidence.answers:
        return ExplanationStep(question, "yes, it is open", True, evidence.port_seconds)
    if said is None:
        return ExplanationStep(question, "no", False, evidence.waited)
    why = "nothing listens there" if said == REFUSED else tsmp.denial(said)
    return ExplanationStep(question, f"no: {why}", False, evidence.port_seconds)
