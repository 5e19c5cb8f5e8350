"""What must hold of a transfer on a bad link, whoever the other end was."""

from __future__ import annotations

from tests.lab.cases import MIB, Case, Outcome


def check(case: Case, outcome: Outcome) -> None:
    assert (outcome.bytes, outcome.received, outcome.error) == (case.size, outcome.sent, None)
    faults = outcome.there + outcome.back
    if case.loss:
        assert faults["lost"], "the shim lost nothing"
    else:
        assert not faults["lost"]
    assert bool(faults["duplicated"] or faults["reordered"]) == case.disorder
    if not case.loss and not case.disorder:
        assert outcome.retransmitted < MIB // 8
