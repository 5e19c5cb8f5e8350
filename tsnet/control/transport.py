"""ts2021: both sides of the encrypted byte stream between a node and its control server, without IO.

    client                                                     server
    Initiator(...).initiation --- in the upgrade header --->   respond(initiation)
                                                               Responder.response
    receive(bytes behind the 101)  <-- response, records ---   seal(early payload), seal(HTTP/2)
    seal(HTTP/2)               ------- records ------------>   receive(...)

| message    | layout                                                                              | bytes |
|------------|-------------------------------------------------------------------------------------|-------|
| initiation | u16be version, u8 type=1, u16be length=96, e[32], encrypted static[48], tag[16]       | 101   |
| response   | u8 type=2, u16be length=48, e[32], tag[16]                                          | 51    |
| error      | u8 type=3, u16be length, text (in the clear, not authenticated)                     | 3+n   |
| record     | u8 type=4, u16be length, ciphertext                                                 | 3+n   |

The handshake is Noise_IK_25519_ChaChaPoly_BLAKE2s. Its prologue contains the capability version, so both sides must
name the same one. A record's nonce is four zero bytes and a *big-endian* counter (Noise itself and WireGuard count
little-endian); its associated data is empty, and a frame has at most 4096 bytes. Record boundaries mean nothing; an
empty record is legal, but brings nothing: `empty_records` counts them.

`receive` opens as many records as the turn's work allows, and `has_input` tells whether whole ones are left.

Inside the records the server may begin with an early payload: nine bytes `ff ff ff "TS"`, u32be length, then JSON with
a node key challenge. A server without one begins with HTTP/2, whose first nine bytes can never look like that.

Every `receive` here raises MalformedError when the stream is unusable; the machine that owns the link catches it.

Source: Go control/controlbase/{handshake,messages,conn}.go, control/ts2021/conn.go; Noise revision 34 §7.5 (IK).
Not here: the HTTP/1.1 upgrade around it (`upgrade`), the HTTP/2 inside it (`http`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from struct import Struct
from typing import Any

from tsnet.base import jsonobject
from tsnet.base.crypto import TAG_SIZE, Aead, InvalidTag, machine_public, public_of, x25519
from tsnet.base.keys import ChallengeKey, MachineKey, MachinePrivateKey
from tsnet.base.malformed import MalformedError
from tsnet.base.noise import SymmetricState
from tsnet.base.printable import printable
from tsnet.base.work import UNLIMITED, Work

PROTOCOL_NAME = b"Noise_IK_25519_ChaChaPoly_BLAKE2s"
PROLOGUE = b"Tailscale Control Protocol v%d"

INITIATION, RESPONSE, ERROR, RECORD = 1, 2, 3, 4
INITIATION_SIZE, RESPONSE_SIZE = 101, 51
MAX_FRAME = 4096
MAX_PLAINTEXT = MAX_FRAME - 3 - TAG_SIZE
MAX_EARLY_PAYLOAD = 64 * 1024

EARLY_MAGIC = b"\xff\xff\xffTS"
EARLY_HEADER = Struct(">5sI")

_INITIATION = Struct(">HBH32s48s16s")  # version, type, length, e, encrypted static, tag
_RESPONSE = Struct(">BH32s16s")  # type, length, e, tag
_FRAME = Struct(">BH")  # type, length
_NONCE = Struct(">4xQ")

Entropy = Callable[[int], bytes]


class Records:
    """Both directions of the record layer, after the handshake."""

    def __init__(self, send_key: bytes, receive_key: bytes) -> None:
        self._seal, self._open = Aead(send_key).encrypt, Aead(receive_key).decrypt
        self._send_counter = self._receive_counter = 0
        self._buffer = bytearray()
        self.empty_records: int = 0

    @property
    def has_input(self) -> bool:
        """Whether a whole record waits to be opened."""
        if len(self._buffer) < _FRAME.size:
            return False
        return len(self._buffer) >= _FRAME.size + int(_FRAME.unpack_from(self._buffer)[1])

    def seal(self, plaintext: bytes) -> bytes:
        """The plaintext as records; none for no bytes."""
        frames = bytearray()
        for start in range(0, len(plaintext), MAX_PLAINTEXT):
            sealed = self._seal(_NONCE.pack(self._send_counter), plaintext[start : start + MAX_PLAINTEXT], None)
            self._send_counter += 1
            frames += _FRAME.pack(RECORD, len(sealed)) + sealed
        return bytes(frames)

    def receive(self, data: bytes, work: Work | None = None) -> bytes:
        """The plaintext of the records that are whole now. Raises MalformedError if the stream is unusable."""
        work = work or Work(UNLIMITED)
        buffer = self._buffer
        buffer += data
        plaintext = bytearray()
        start = 0
        while len(buffer) - start >= _FRAME.size and work.left > 0:
            kind, length = _FRAME.unpack_from(buffer, start)
            if kind == ERROR:
                raise MalformedError(f"control ended the stream: {_error_text(buffer[start + 3 : start + 3 + length])}")
            if kind != RECORD or not TAG_SIZE <= length <= MAX_FRAME - _FRAME.size:
                raise MalformedError(f"not a record: type {kind}, length {length}")
            end = start + _FRAME.size + length
            if len(buffer) < end:
                break
            work.spend(1)
            plaintext += self._open_record(bytes(buffer[start + _FRAME.size : end]))
            start = end
        del buffer[:start]
        return bytes(plaintext)

    def _open_record(self, sealed: bytes) -> bytes:
        try:
            plaintext = self._open(_NONCE.pack(self._receive_counter), sealed, None)
        except InvalidTag:
            raise MalformedError("a record does not authenticate") from None
        self._receive_counter += 1
        self.empty_records += not plaintext
        return plaintext


class Initiator:
    """The node's side. `initiation` goes into the upgrade request; what follows the 101 goes into `receive`.

    early: what the server said before HTTP/2 ({} if nothing); None until that is known.
    """

    def __init__(self, private: MachinePrivateKey, control: MachineKey, version: int, entropy: Entropy) -> None:
        self.control: MachineKey = control
        self.version: int = version
        self.early: dict[str, Any] | None = None
        self._private = private
        self._ephemeral = MachinePrivateKey(entropy(32))
        self._records: Records | None = None
        self._buffer = bytearray()
        self.initiation: bytes = self._create_initiation()

    @property
    def established(self) -> bool:
        """Whether the server has proved its key, so that `seal` may be called."""
        return self._records is not None

    def seal(self, plaintext: bytes) -> bytes:
        assert self._records is not None, "seal before the handshake is over"
        return self._records.seal(plaintext)

    @property
    def has_input(self) -> bool:
        return self._records is not None and self._records.has_input

    @property
    def empty_records(self) -> int:
        return 0 if self._records is None else self._records.empty_records

    def receive(self, data: bytes, work: Work | None = None) -> bytes:
        """Take the bytes behind the 101; returns HTTP/2 bytes. Raises MalformedError if the stream is unusable."""
        if self._records is None:
            self._buffer += data
            data = self._consume_response()
            if self._records is None:
                return b""
        plaintext = self._records.receive(data, work)
        return plaintext if self.early is not None else self._consume_early(plaintext)

    def _create_initiation(self) -> bytes:
        """-> e, es, s, ss"""
        state = _begin(self.version, self.control)
        e = public_of(self._ephemeral, MachineKey)
        state.mix_hash(e)  # e
        state.mix_key(x25519(self._ephemeral, self.control))  # es
        static = state.encrypt_and_hash(machine_public(self._private))  # s
        state.mix_key(x25519(self._private, self.control))  # ss
        tag = state.encrypt_and_hash(b"")
        self._state = state
        return _INITIATION.pack(self.version, INITIATION, INITIATION_SIZE - 5, e, static, tag)

    def _consume_response(self) -> bytes:
        """<- e, ee, se. Returns the bytes behind the response."""
        buffer = self._buffer
        if len(buffer) < _FRAME.size:
            return b""
        kind, length = _FRAME.unpack_from(buffer)
        if kind == ERROR and len(buffer) >= _FRAME.size + length:
            raise MalformedError(f"control refused the handshake: {_error_text(buffer[3 : 3 + length])}")
        if kind != ERROR and (kind != RESPONSE or length != RESPONSE_SIZE - 3):
            raise MalformedError(f"handshake answer of type {kind} and length {length}")
        if kind == ERROR or len(buffer) < RESPONSE_SIZE:
            return b""
        _kind, _length, e, tag = _RESPONSE.unpack_from(buffer)
        state = self._state.copy()
        state.mix_hash(e)  # e
        state.mix_key(x25519(self._ephemeral, e))  # ee
        state.mix_key(x25519(self._private, e))  # se
        state.decrypt_and_hash(tag)
        send_key, receive_key = state.split()
        self._records = Records(send_key, receive_key)
        rest = bytes(buffer[RESPONSE_SIZE:])
        buffer.clear()
        return rest

    def _consume_early(self, plaintext: bytes) -> bytes:
        """Take the early payload off the front; it may span several records. Returns the bytes behind it."""
        buffer = self._buffer
        buffer += plaintext
        if len(buffer) < EARLY_HEADER.size:
            if EARLY_MAGIC.startswith(buffer[: len(EARLY_MAGIC)]) or buffer.startswith(EARLY_MAGIC):
                return b""
            length = 0
            magic = b""
        else:
            magic, length = EARLY_HEADER.unpack_from(buffer)
        if magic != EARLY_MAGIC:
            self.early = {}
        elif length > MAX_EARLY_PAYLOAD:
            raise MalformedError(f"early payload of {length} bytes")
        elif len(buffer) < EARLY_HEADER.size + length:
            return b""
        else:
            payload = bytes(buffer[EARLY_HEADER.size : EARLY_HEADER.size + length])
            self.early = jsonobject.parse(payload, "the early payload")
            del buffer[: EARLY_HEADER.size + length]
        rest = bytes(buffer)
        buffer.clear()
        return rest


class Responder:
    """The server's side, made from an initiation. `response` must be the first bytes behind the 101.

    peer: the machine key that the client has proved to own. version: the client's capability version.
    """

    def __init__(self, private: MachinePrivateKey, initiation: bytes, entropy: Entropy) -> None:
        """Raises MalformedError if the initiation is not for this key or not well formed."""
        if len(initiation) != INITIATION_SIZE:
            raise MalformedError(f"initiation is {len(initiation)} bytes, not {INITIATION_SIZE}")
        version, kind, length, e, static, tag = _INITIATION.unpack(initiation)
        if kind != INITIATION or length != INITIATION_SIZE - 5:
            raise MalformedError(f"initiation of type {kind} and length {length}")
        state = _begin(version, machine_public(private))
        state.mix_hash(e)  # -> e
        state.mix_key(x25519(private, e))  # es
        peer = MachineKey(state.decrypt_and_hash(static))  # s
        state.mix_key(x25519(private, peer))  # ss
        state.decrypt_and_hash(tag)
        self.version: int = version
        self.peer = peer
        self.response: bytes = self._respond(state, MachinePrivateKey(entropy(32)), e)

    def _respond(self, state: SymmetricState, ephemeral: MachinePrivateKey, client_ephemeral: bytes) -> bytes:
        """<- e, ee, se"""
        e = public_of(ephemeral, MachineKey)
        state.mix_hash(e)  # e
        state.mix_key(x25519(ephemeral, client_ephemeral))  # ee
        state.mix_key(x25519(ephemeral, self.peer))  # se
        tag = state.encrypt_and_hash(b"")
        receive_key, send_key = state.split()
        self._records = Records(send_key, receive_key)
        return _RESPONSE.pack(RESPONSE, RESPONSE_SIZE - 3, e, tag)

    def seal(self, plaintext: bytes) -> bytes:
        return self._records.seal(plaintext)

    @property
    def has_input(self) -> bool:
        return self._records.has_input

    @property
    def empty_records(self) -> int:
        return self._records.empty_records

    def receive(self, data: bytes, work: Work | None = None) -> bytes:
        """Take record bytes; returns HTTP/2 bytes. Raises MalformedError if the stream is unusable."""
        return self._records.receive(data, work)


def early_payload(challenge: ChallengeKey) -> bytes:
    """The plaintext that a server may send before HTTP/2: `responder.seal(early_payload(key))`."""
    document = json.dumps({"nodeKeyChallenge": challenge.text()}).encode()
    return EARLY_HEADER.pack(EARLY_MAGIC, len(document)) + document


def _begin(version: int, control: MachineKey) -> SymmetricState:
    state = SymmetricState(PROTOCOL_NAME)
    state.mix_hash(PROLOGUE % version)
    state.mix_hash(control)  # <- s, the responder's static key, known beforehand
    return state


def _error_text(data: bytes | bytearray) -> str:
    """The text of an error, made printable and short, since it is not authenticated in the handshake."""
    return printable(bytes(data[:200]).decode("utf-8", "replace"))
