"""A session: the transport keys of one handshake, its counters, and runs of packets sealed and opened with them.

    message  u32 type 4 | u32 receiver index | u64 counter | ciphertext + tag      (little-endian)
    nonce    4 zero bytes | u64 counter
    plain    packet, zeros up to a multiple of 16 but never past the MTU; empty is a keepalive

The two loops here are the hot path of the whole library: no object, function or exception of ours per packet.

Source: WireGuard §5.4.6, §6.2; wireguard-go device/send.go RoutineEncryption, device/receive.go RoutineDecryption.
Not here: which session is used when (`keypairs`), timers (`timers`), trimming the padding (whoever knows IP).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from struct import Struct, unpack

from tsnet.base.crypto import Aead, InvalidTag
from tsnet.wireguard.constants import (
    LAST_MINUTE_REKEY_TIME,
    PADDING,
    REJECT_AFTER_MESSAGES,
    REJECT_AFTER_TIME,
    REKEY_AFTER_MESSAGES,
    REKEY_AFTER_TIME,
)
from tsnet.wireguard.handshake import Keys
from tsnet.wireguard.messages import transport_prefix
from tsnet.wireguard.replay import ReplayWindow

_COUNTER = Struct("<Q")
_ZEROS = bytes(4)


class Session:
    __slots__ = (
        "_decrypt",
        "_encrypt",
        "_prefix",
        "created_at",
        "expires_at",
        "is_initiator",
        "local_index",
        "remote_index",
        "renewed",
        "replay",
        "send_counter",
        "send_until",
    )

    def __init__(self, keys: Keys, *, local_index: int, remote_index: int, is_initiator: bool, now: float) -> None:
        self._encrypt = Aead(keys.send).encrypt
        self._decrypt = Aead(keys.receive).decrypt
        self._prefix = transport_prefix(remote_index)
        self.local_index: int = local_index
        self.remote_index: int = remote_index
        self.is_initiator: bool = is_initiator
        self.created_at: float = now
        self.expires_at: float = now + REJECT_AFTER_TIME
        self.send_until: float = self.expires_at
        self.send_counter: int = 0
        self.replay: ReplayWindow = ReplayWindow()
        self.renewed: bool = False
        """Whether the one last-minute rekey of a session that only receives was asked for."""

    def can_send(self, packets: int, now: float) -> bool:
        return now < self.send_until and self.send_counter + packets <= REJECT_AFTER_MESSAGES

    def is_stale(self, now: float) -> bool:
        """After sending: time for a new handshake. By age only the initiator asks, so that not both do."""
        return self.send_counter > REKEY_AFTER_MESSAGES or (
            self.is_initiator and now >= self.created_at + REKEY_AFTER_TIME
        )

    def is_in_last_minute(self, now: float) -> bool:
        """After receiving: without a new handshake now, the initiator's keys would expire under the sender."""
        return self.is_initiator and not self.renewed and now >= self.created_at + LAST_MINUTE_REKEY_TIME

    def stop_sending(self) -> None:
        """After a suspend or a change of our key. What the peer still sends can be opened."""
        self.send_until = self.created_at

    def seal_run(self, packets: Sequence[bytes], mtu: int) -> list[bytes]:
        """One transport message for each packet, in order. The caller has asked `can_send`."""
        encrypt, prefix, pack, zeros = self._encrypt, self._prefix, _COUNTER.pack, _ZEROS
        counter = self.send_counter
        self.send_counter += len(packets)  # first, so that no failure can use a nonce twice
        sealed: list[bytes] = []
        append = sealed.append
        for packet in packets:
            size = len(packet)
            if size % PADDING and size < mtu:
                packet += bytes(min(-size % PADDING, mtu - size))
            number = pack(counter)
            append(prefix + number + encrypt(zeros + number, packet, None))
            counter += 1
        return sealed

    def open_run(self, datagrams: Sequence[bytes], dropped: Counter[str]) -> list[bytes]:
        """The plaintexts, padding kept, a keepalive as b"", in order of arrival.

        datagrams: transport messages to this session's index, whole. Forged, truncated and replayed ones are
        missing from the result and counted in `dropped`.
        """
        decrypt, zeros = self._decrypt, _ZEROS
        opened: list[bytes] = []
        numbers: list[bytes] = []
        for datagram in datagrams:
            number = datagram[8:16]
            try:
                opened.append(decrypt(zeros + number, datagram[16:], None))
                numbers.append(number)
            except (InvalidTag, ValueError):  # the tag does not fit; too short to hold a nonce
                dropped["forged"] += 1
        if not opened:
            return opened
        counters: tuple[int, ...] = unpack(f"<{len(numbers)}Q", b"".join(numbers))
        if self.replay.accept_run(counters):
            return opened
        accept = self.replay.accept
        fresh = [packet for packet, counter in zip(opened, counters, strict=True) if accept(counter)]
        if len(fresh) < len(opened):
            dropped["replayed"] += len(opened) - len(fresh)
        return fresh
