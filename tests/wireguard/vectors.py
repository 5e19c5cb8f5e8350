"""One deterministic handshake, computed by an independent script (its KDF checked against wireguard-go's).

Private keys are one byte 32 times; no PSK, no cookie; unix time 1700000000 s + 123456789 ns.
"""

from __future__ import annotations

from tsnet.base.keys import NodePrivateKey, PrivateKey

CHAINING_KEY = bytes.fromhex("60e26daef327efc02ec335e2a025d2d016eb4206f87277f52d38d1988b78cd36")
HASH = bytes.fromhex("2211b361081ac566691243db458ad5322d9c6c662293e8b70ee19c65ba079ef3")

INITIATOR = NodePrivateKey(b"\x11" * 32)
RESPONDER = NodePrivateKey(b"\x22" * 32)
INITIATOR_EPHEMERAL = PrivateKey(b"\x33" * 32)
RESPONDER_EPHEMERAL = PrivateKey(b"\x44" * 32)
INITIATOR_PUBLIC = bytes.fromhex("7b4e909bbe7ffe44c465a220037d608ee35897d31ef972f07f74892cb0f73f13")
RESPONDER_PUBLIC = bytes.fromhex("0faa684ed28867b97f4a6a2dee5df8ce974e76b7018e3f22a1c4cf2678570f20")
INITIATOR_INDEX = 0x01020304
RESPONDER_INDEX = 0x05060708

UNIX_NANOSECONDS = 1_700_000_000_123_456_789
TIMESTAMP = bytes.fromhex("400000006553f10a07000000")
INITIATION = bytes.fromhex(
    "01000000040302017b0d47d93427f8311160781c7c733fd89f88970aef490d8aa0ee19a4cb8a1b14"
    "81e498317da959fba46669572516a5e6c021bfa620bb6c56ca0082e1feae14988c2c64d024c61773"
    "4a263f76a008df04d0f94bad8ee75ec8e6c2695569183cc7dc1e27ce0c1b8436de667e2793bcc82f"
    "5db3b8466ea6d8fb567bf96b00000000000000000000000000000000"
)
RESPONSE = bytes.fromhex(
    "020000000807060504030201ff2ee45601ec1b67310c7790404585ae697331eee1c1f8cf2419731c"
    "1fff3e6bcac3911a43d93d79c9d0728ffc42d5aadfa1f97418a19e3f7a15f5d3df53490300000000"
    "000000000000000000000000"
)
INITIATOR_TO_RESPONDER = bytes.fromhex("e07b709efbfd0361a08a9de658ceb3847d648c207ed71d4dbdfe248bef23a651")
RESPONDER_TO_INITIATOR = bytes.fromhex("f76ba55a113d83abf16240859ca361a9017ae9fbac0b4aa43179112c40e0163f")
KEEPALIVE = bytes.fromhex("0400000008070605000000000000000069958abbebcb06f97a256144abed28f6")
"""From the initiator, counter 0."""
