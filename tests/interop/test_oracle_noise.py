"""ts2021's handshake and records against Go's control/controlbase: each side with Go at the other."""

from __future__ import annotations

from random import Random

import pytest

from tests.interop.harness.oracle import Oracle, case, cases, flipped, pack, unpack
from tsnet.base.crypto import machine_public
from tsnet.base.keys import MachinePrivateKey
from tsnet.base.malformed import MalformedError
from tsnet.control.transport import Initiator, Responder

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]


def pieces(random: Random, data: bytes) -> list[bytes]:
    """The same bytes, cut anywhere."""
    cuts = sorted(random.randrange(len(data) + 1) for _ in range(random.randrange(4)))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def exchange(oracle: Oracle, random: Random, session: int, side: Initiator | Responder) -> None:
    """Data both ways, over record boundaries, then a forged record that both refuse."""
    for _ in range(random.randint(1, 3)):
        plaintext = random.randbytes(random.choice([0, 1, 17, 4077, 4078, 9000, random.randrange(20000)]))
        sealed = side.seal(plaintext)
        read = b"".join(
            oracle.bytes("noise_read", session=session, data=pack(piece)) for piece in pieces(random, sealed)
        )
        assert read == plaintext
        plaintext = random.randbytes(random.randint(1, 9000))
        sealed = oracle.bytes("noise_write", session=session, data=pack(plaintext))
        assert b"".join(side.receive(piece) for piece in pieces(random, sealed)) == plaintext
    forged = bytearray(side.seal(b"forged"))
    forged[random.randrange(3, len(forged))] ^= 1
    assert oracle.refuses("noise_read", session=session, data=pack(bytes(forged)))
    forged = bytearray(oracle.bytes("noise_write", session=session, data=pack(b"forged")))
    forged[random.randrange(3, len(forged))] ^= 1
    with pytest.raises(MalformedError):
        side.receive(bytes(forged))
    oracle.call("noise_close", session=session)


def test_our_client_with_gos_server(oracle: Oracle) -> None:
    for seed in cases():
        with case("noise client", seed) as random:
            machine, control = MachinePrivateKey(random.randbytes(32)), MachinePrivateKey(random.randbytes(32))
            version = random.randrange(1, 65536)
            ours = Initiator(machine, machine_public(control), version, random.randbytes)
            theirs = oracle.call("noise_server", private=control.reveal_text(), initiation=pack(ours.initiation))
            assert theirs["peer"] == machine_public(machine).text()
            assert theirs["version"] == version
            # What is no early payload is HTTP/2 from its first byte on: the client may hold back nine.
            first = b"begins like HTTP/2"
            data = unpack(theirs["data"]) + oracle.bytes("noise_write", session=theirs["session"], data=pack(first))
            assert b"".join(ours.receive(piece) for piece in pieces(random, data)) == first
            assert ours.established
            exchange(oracle, random, theirs["session"], ours)


def test_our_server_with_gos_client(oracle: Oracle) -> None:
    for seed in cases():
        with case("noise server", seed) as random:
            machine, control = MachinePrivateKey(random.randbytes(32)), MachinePrivateKey(random.randbytes(32))
            version = random.randrange(1, 65536)
            theirs = oracle.call(
                "noise_client",
                private=machine.reveal_text(),
                control=machine_public(control).text(),
                version=version,
            )
            ours = Responder(control, unpack(theirs["data"]), random.randbytes)
            assert (ours.peer, ours.version) == (machine_public(machine), version)
            done = oracle.call("noise_finish", session=theirs["session"], data=pack(ours.response))
            assert done["peer"] == machine_public(control).text()
            exchange(oracle, random, theirs["session"], ours)


def test_a_changed_initiation_is_refused_by_both(oracle: Oracle) -> None:
    for seed in cases():
        with case("noise initiation", seed) as random:
            machine, control = MachinePrivateKey(random.randbytes(32)), MachinePrivateKey(random.randbytes(32))
            ours = Initiator(machine, machine_public(control), random.randrange(1, 65536), random.randbytes)
            broken = flipped(random, ours.initiation)
            answer = oracle.call("noise_server", private=control.reveal_text(), initiation=pack(broken))
            oracle.call("noise_close", session=answer["session"])
            try:
                Responder(control, broken, random.randbytes)
            except MalformedError:
                assert answer.get("error"), broken.hex()
            else:
                assert not answer.get("error"), broken.hex()


def test_a_changed_response_is_refused_by_both(oracle: Oracle) -> None:
    for seed in cases():
        with case("noise response", seed) as random:
            machine, control = MachinePrivateKey(random.randbytes(32)), MachinePrivateKey(random.randbytes(32))
            at = random.randrange(51)
            flip = 1 << random.randrange(8)
            public, version = machine_public(control), random.randrange(1, 65536)
            theirs = oracle.call("noise_client", private=machine.reveal_text(), control=public.text(), version=version)
            broken = bytearray(Responder(control, unpack(theirs["data"]), random.randbytes).response)
            broken[at] ^= flip
            refused = oracle.call("noise_finish", session=theirs["session"], data=pack(bytes(broken))).get("error")
            oracle.call("noise_close", session=theirs["session"])
            ours = Initiator(machine, public, version, random.randbytes)
            server = oracle.call("noise_server", private=control.reveal_text(), initiation=pack(ours.initiation))
            oracle.call("noise_close", session=server["session"])
            broken = bytearray(unpack(server["data"]))
            broken[at] ^= flip
            with_ours = False
            try:
                ours.receive(bytes(broken))
            except MalformedError:
                with_ours = True
            assert with_ours or not ours.established  # a longer frame that it waits for
            assert bool(refused)
