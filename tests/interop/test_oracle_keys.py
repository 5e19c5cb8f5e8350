"""Keys against Go's types/key: texts, public halves, boxes."""

from __future__ import annotations

import pytest

from tests.interop.harness.oracle import Oracle, case, cases, flipped, pack
from tsnet.base.crypto import (
    box_open,
    box_seal,
    disco_public,
    lock_private_from_seed,
    lock_public,
    machine_public,
    node_public,
)
from tsnet.base.keys import (
    ChallengeKey,
    DiscoKey,
    DiscoPrivateKey,
    LockKey,
    MachineKey,
    MachinePrivateKey,
    NodeKey,
    NodePrivateKey,
    PublicKey,
)
from tsnet.base.malformed import MalformedError

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]

PUBLIC: dict[str, type[PublicKey]] = {
    "node": NodeKey,
    "machine": MachineKey,
    "disco": DiscoKey,
    "challenge": ChallengeKey,
    "lock": LockKey,
}


def test_public_texts(oracle: Oracle) -> None:
    for seed in cases():
        with case("public keys", seed) as random:
            kind, ours = random.choice(list(PUBLIC.items()))
            text = ours(random.randbytes(32)).text()
            assert oracle.call("key_public", kind=kind, text=text) == {"text": text}


def test_texts_that_are_not_keys(oracle: Oracle) -> None:
    """What Go refuses, we refuse; and the other way round."""
    for seed in cases():
        with case("broken keys", seed) as random:
            kind, ours = random.choice(list(PUBLIC.items()))
            text = flipped(random, ours(random.randbytes(32)).text().encode()).decode("latin-1")
            try:
                parsed = ours.parse(text)
            except MalformedError:
                assert oracle.refuses("key_public", kind=kind, text=text), text
            else:
                assert oracle.call("key_public", kind=kind, text=text) == {"text": parsed.text()}


def test_private_halves(oracle: Oracle) -> None:
    for seed in cases():
        with case("private keys", seed) as random:
            raw = random.randbytes(32)
            node, machine, disco = NodePrivateKey(raw), MachinePrivateKey(raw), DiscoPrivateKey(raw)
            lock = lock_private_from_seed(raw)
            assert oracle.call("key_private", kind="node", raw=pack(node.reveal())) == {
                "private": node.reveal_text(),
                "public": node_public(node).text(),
            }
            assert oracle.call("key_private", kind="machine", raw=pack(machine.reveal())) == {
                "private": machine.reveal_text(),
                "public": machine_public(machine).text(),
            }
            # Go keeps an unclamped key's text as it is; what it does with the key is the same.
            unclamped = oracle.call("key_private", kind="machine", raw=pack(raw))
            assert unclamped["public"] == machine_public(machine).text()
            assert oracle.call("key_private", kind="disco", raw=pack(disco.reveal())) == {
                "public": disco_public(disco).text()
            }
            assert oracle.call("key_private", kind="lock", raw=pack(lock.reveal())) == {
                "private": lock.reveal_text(),
                "public": lock_public(lock).text(),
            }


def test_boxes_both_ways(oracle: Oracle) -> None:
    for seed in cases():
        with case("boxes", seed) as random:
            ours, theirs = DiscoPrivateKey(random.randbytes(32)), DiscoPrivateKey(random.randbytes(32))
            plaintext, nonce = random.randbytes(random.randrange(300)), random.randbytes(24)
            sealed = nonce + box_seal(ours, disco_public(theirs), nonce, plaintext)
            at_go = {"private": pack(theirs.reveal()), "public": disco_public(ours).text()}
            assert oracle.bytes("box_open", data=pack(sealed), **at_go) == plaintext
            back = oracle.bytes("box_seal", data=pack(plaintext), **at_go)
            assert box_open(ours, disco_public(theirs), back[:24], back[24:]) == plaintext
            assert oracle.refuses("box_open", data=pack(flipped(random, sealed)), **at_go)
