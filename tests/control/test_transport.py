from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import struct

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from tsnet.base.crypto import challenge_public, machine_public
from tsnet.base.keys import ChallengePrivateKey, MachineKey, MachinePrivateKey
from tsnet.base.malformed import MalformedError
from tsnet.control.transport import (
    EARLY_MAGIC,
    INITIATION_SIZE,
    MAX_FRAME,
    MAX_PLAINTEXT,
    RESPONSE_SIZE,
    Initiator,
    Records,
    Responder,
    early_payload,
)

VERSION = 131
MACHINE = MachinePrivateKey(b"\x11" * 32)
CONTROL = MachinePrivateKey(b"\x22" * 32)
CHALLENGE = challenge_public(ChallengePrivateKey(b"\x55" * 32))
PREFACE = b"PRI * HTTP/2.0\r\n"


def error_frame(text: str) -> bytes:
    """What a server may say in place of a response."""
    return bytes([3]) + len(text).to_bytes(2, "big") + text.encode()


def fixed(byte: int) -> bytes:
    return bytes([byte]) * 32


def pair(version: int = VERSION) -> tuple[Initiator, Responder]:
    initiator = Initiator(MACHINE, machine_public(CONTROL), version, lambda _size: fixed(0x33))
    return initiator, Responder(CONTROL, initiator.initiation, lambda _size: fixed(0x44))


def established() -> tuple[Initiator, Responder]:
    initiator, responder = pair()
    assert initiator.receive(responder.response) == b""
    return initiator, responder


class Twin:
    """The description of ts2021 once more, slowly, from hashlib, hmac and an AEAD alone."""

    def __init__(self, version: int) -> None:
        self.h = self.ck = hashlib.blake2s(b"Noise_IK_25519_ChaChaPoly_BLAKE2s").digest()
        self.mix_hash(b"Tailscale Control Protocol v%d" % version)
        self.mix_hash(machine_public(CONTROL))

    def mix_hash(self, data: bytes) -> None:
        self.h = hashlib.blake2s(self.h + data).digest()

    def mix_dh(self, private: bytes, public: bytes) -> None:
        shared = X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(public))
        self.ck, self.k = self.hkdf(shared)

    def hkdf(self, material: bytes) -> tuple[bytes, bytes]:
        key = hmac.digest(self.ck, material, "blake2s")
        first = hmac.digest(key, b"\x01", "blake2s")
        return first, hmac.digest(key, first + b"\x02", "blake2s")

    def encrypt(self, plaintext: bytes) -> bytes:
        sealed = ChaCha20Poly1305(self.k).encrypt(bytes(12), plaintext, self.h)
        self.mix_hash(sealed)
        return sealed


def public(private: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def twin_messages() -> tuple[bytes, bytes, bytes, bytes]:
    """Initiation, response, and the two transport keys."""
    twin, control, e, e2 = Twin(VERSION), machine_public(CONTROL), fixed(0x33), fixed(0x44)
    machine = MACHINE.reveal()
    twin.mix_hash(public(e))
    twin.mix_dh(e, control)
    static = twin.encrypt(public(machine))
    twin.mix_dh(machine, control)
    initiation = struct.pack(">HBH", VERSION, 1, 96) + public(e) + static + twin.encrypt(b"")
    twin.mix_hash(public(e2))
    twin.mix_dh(e2, public(e))
    twin.mix_dh(e2, public(machine))
    response = struct.pack(">BH", 2, 48) + public(e2) + twin.encrypt(b"")
    return initiation, response, *twin.hkdf(b"")


def test_both_messages_are_those_of_the_description() -> None:
    initiator, responder = pair()
    initiation, response, _, _ = twin_messages()
    assert initiator.initiation == initiation
    assert responder.response == response
    assert (len(initiation), len(response)) == (INITIATION_SIZE, RESPONSE_SIZE)


def test_the_known_answer_has_not_changed() -> None:
    initiator, responder = pair()
    told = hashlib.sha256(initiator.initiation + responder.response).hexdigest()
    assert told == "a210490bc806f22e9b4627bf374b3df7d200ec9da4a224aef214855dd9302c86"


def test_records_count_in_big_endian_and_have_no_associated_data() -> None:
    initiator, responder = established()
    _, _, to_server, to_client = twin_messages()
    for counter, text in enumerate((b"first", b"second", b"third")):
        nonce = bytes(4) + counter.to_bytes(8, "big")
        for key, sealed in ((to_server, initiator.seal(text)), (to_client, responder.seal(text))):
            assert sealed[:3] == struct.pack(">BH", 4, len(text) + 16)
            assert ChaCha20Poly1305(key).decrypt(nonce, sealed[3:], None) == text


def test_the_server_learns_machine_and_version() -> None:
    _, responder = pair(113)
    assert responder.peer == machine_public(MACHINE)
    assert responder.version == 113


def test_another_version_in_the_header_breaks_the_handshake() -> None:
    initiation = bytearray(pair()[0].initiation)
    initiation[:2] = (130).to_bytes(2, "big")
    with pytest.raises(MalformedError):
        Responder(CONTROL, bytes(initiation), lambda size: bytes(size))


@pytest.mark.parametrize("index", range(INITIATION_SIZE))
def test_an_initiation_with_a_flipped_bit_is_refused(index: int) -> None:
    initiation = bytearray(pair()[0].initiation)
    initiation[index] ^= 1
    with pytest.raises(MalformedError):
        Responder(CONTROL, bytes(initiation), lambda size: bytes(size))


@pytest.mark.parametrize("length", range(INITIATION_SIZE))
def test_a_short_initiation_is_refused(length: int) -> None:
    with pytest.raises(MalformedError):
        Responder(CONTROL, pair()[0].initiation[:length], lambda size: bytes(size))


@pytest.mark.parametrize("index", range(RESPONSE_SIZE))
def test_a_response_with_a_flipped_bit_never_establishes(index: int) -> None:
    initiator, responder = pair()
    response = bytearray(responder.response)
    response[index] ^= 1
    with contextlib.suppress(MalformedError):
        initiator.receive(bytes(response))
    assert not initiator.established


def test_the_wrong_server_cannot_answer() -> None:
    initiator = Initiator(MACHINE, MachineKey(fixed(9)), VERSION, lambda _size: fixed(0x33))
    with pytest.raises(MalformedError):
        Responder(CONTROL, initiator.initiation, lambda size: bytes(size))


def test_an_ephemeral_key_of_low_order_is_refused() -> None:
    initiation = bytearray(pair()[0].initiation)
    initiation[5:37] = bytes(32)
    with pytest.raises(MalformedError):
        Responder(CONTROL, bytes(initiation), lambda size: bytes(size))


def test_an_error_frame_tells_its_text() -> None:
    initiator, _ = pair()
    frame = error_frame("go away\nnow")
    assert b"".join(initiator.receive(bytes([byte])) for byte in frame[:-1]) == b""
    with pytest.raises(MalformedError, match=r"go away now"):
        initiator.receive(frame[-1:])


def test_an_error_frame_after_the_handshake_ends_the_stream() -> None:
    initiator, _ = established()
    with pytest.raises(MalformedError, match="restarting"):
        initiator.receive(error_frame("restarting"))


@pytest.mark.parametrize("with_early", [True, False])
def test_a_stream_that_trickles_byte_by_byte_is_the_same_stream(with_early: bool) -> None:
    initiator, responder = pair()
    plaintext = PREFACE * 1000
    wire = responder.response + (responder.seal(early_payload(CHALLENGE)) if with_early else b"")
    wire += responder.seal(plaintext)
    received = b"".join(initiator.receive(wire[index : index + 1]) for index in range(len(wire)))
    assert received == plaintext
    assert initiator.early == ({"nodeKeyChallenge": CHALLENGE.text()} if with_early else {})


@pytest.mark.parametrize("size", [1, 2, 5, 8, 9, 10, 40])
def test_an_early_payload_may_span_records(size: int) -> None:
    initiator, responder = established()
    payload = early_payload(CHALLENGE) + PREFACE
    received = b"".join(
        initiator.receive(responder.seal(payload[start : start + size])) for start in range(0, len(payload), size)
    )
    assert received == PREFACE
    assert initiator.early == {"nodeKeyChallenge": CHALLENGE.text()}


def test_without_an_early_payload_the_nine_bytes_are_given_back() -> None:
    initiator, responder = established()
    assert initiator.receive(responder.seal(b"\0\0\x12\x04")) == b"\0\0\x12\x04"
    assert initiator.early == {}
    assert initiator.receive(responder.seal(EARLY_MAGIC)) == EARLY_MAGIC


@pytest.mark.parametrize(
    "payload",
    [EARLY_MAGIC + b"\xff\xff\xff\xff", EARLY_MAGIC + b"\0\0\0\x02no", EARLY_MAGIC + b"\0\0\0\x02[]"],
    ids=["huge", "no JSON", "no object"],
)
def test_a_broken_early_payload_ends_the_stream(payload: bytes) -> None:
    initiator, responder = established()
    with pytest.raises(MalformedError):
        initiator.receive(responder.seal(payload))


def test_an_early_payload_is_what_go_reads() -> None:
    payload = early_payload(CHALLENGE)
    assert payload[:5] == b"\xff\xff\xffTS"
    assert int.from_bytes(payload[5:9], "big") == len(payload) - 9
    assert json.loads(payload[9:]) == {"nodeKeyChallenge": CHALLENGE.text()}


def records() -> tuple[Records, Records]:
    return Records(fixed(1), fixed(2)), Records(fixed(2), fixed(1))


@pytest.mark.parametrize("size", [0, 1, MAX_PLAINTEXT - 1, MAX_PLAINTEXT, MAX_PLAINTEXT + 1, 3 * MAX_PLAINTEXT])
def test_no_frame_is_larger_than_4096(size: int) -> None:
    a, b = records()
    wire = a.seal(bytes(size))
    start = 0
    while start < len(wire):
        length = 3 + int.from_bytes(wire[start + 1 : start + 3], "big")
        assert length <= MAX_FRAME
        start += length
    assert b.receive(wire) == bytes(size)


def test_an_empty_record_is_skipped() -> None:
    a, b = records()
    empty = ChaCha20Poly1305(fixed(1)).encrypt(bytes(12), b"", None)
    a._send_counter = 1
    assert b.receive(struct.pack(">BH", 4, 16) + empty + a.seal(b"next")) == b"next"


@pytest.mark.parametrize("index", [0, 1, 2, 3, 10, 22])
def test_a_record_with_a_flipped_bit_ends_the_stream(index: int) -> None:
    a, b = records()
    wire = bytearray(a.seal(b"text") + a.seal(bytes(300)))
    wire[index] ^= 1
    with pytest.raises(MalformedError):
        b.receive(bytes(wire))


@pytest.mark.parametrize("frame", [b"\x04\x00\x0f", b"\x04\x0f\xfe", b"\x02\x00\x30", b"\x00\x00\x10"])
def test_frames_that_cannot_be_records_end_the_stream(frame: bytes) -> None:
    with pytest.raises(MalformedError):
        records()[1].receive(frame + bytes(16))


def test_a_replayed_record_ends_the_stream() -> None:
    a, b = records()
    wire = a.seal(b"once")
    assert b.receive(wire) == b"once"
    with pytest.raises(MalformedError):
        b.receive(wire)


def test_secrets_do_not_show() -> None:
    assert "33" * 4 not in repr(vars(pair()[0]))
