"""Every primitive under a vector that somebody else published, and what each says to bytes that do not fit."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from tests.issuer import ec_key, rsa_key
from tsnet.base import crypto
from tsnet.base.keys import (
    ChallengePrivateKey,
    DiscoPrivateKey,
    LockKey,
    MachinePrivateKey,
    NodeKey,
    NodePrivateKey,
    TokenPrivateKey,
)
from tsnet.base.malformed import MalformedError

ALICE = NodePrivateKey(bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"))
ALICE_PUBLIC = bytes.fromhex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
BOB = NodePrivateKey(bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"))
BOB_PUBLIC = bytes.fromhex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")
P = 2**255 - 19
ORDER_8 = [
    int.from_bytes(bytes.fromhex(text), "little")
    for text in (
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    )
]
"""With these, 0, 1 and -1 and what is the same modulo P, these are all points of low order (RFC 7748 §7)."""

LOW_ORDER = [
    (number + top).to_bytes(32, "little") for number in (0, 1, P - 1, P, P + 1, *ORDER_8) for top in (0, 1 << 255)
]

SUNSCREEN = (
    b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, "
    b"sunscreen would be it."
)
KEY = bytes(range(0x80, 0xA0))
AAD = bytes.fromhex("50515253c0c1c2c3c4c5c6c7")


def test_x25519_of_rfc_7748() -> None:
    assert crypto.public_of(ALICE, NodeKey) == ALICE_PUBLIC
    assert crypto.node_public(BOB) == BOB_PUBLIC
    shared = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"
    assert crypto.x25519(ALICE, BOB_PUBLIC).hex() == crypto.x25519(BOB, ALICE_PUBLIC).hex() == shared


@pytest.mark.parametrize("point", LOW_ORDER, ids=bytes.hex)
def test_a_point_of_low_order_is_malformed(point: bytes) -> None:
    with pytest.raises(MalformedError):
        crypto.x25519(ALICE, point)
    with pytest.raises(MalformedError):
        crypto.box_shared(ALICE, point)


@pytest.mark.parametrize("number", [2, 9, P + 2, P + 18, (1 << 255) + 9, (1 << 256) - 1])
def test_points_in_another_form_are_taken_as_another_library_takes_them(number: int) -> None:
    """Those beyond P, and with the top bit set, which RFC 7748 masks."""
    point = number.to_bytes(32, "little")
    theirs = X25519PrivateKey.from_private_bytes(ALICE.reveal()).exchange(X25519PublicKey.from_public_bytes(point))
    assert crypto.x25519(ALICE, point) == theirs


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_point_of_another_length_is_malformed(size: int) -> None:
    with pytest.raises(MalformedError):
        crypto.x25519(ALICE, bytes([9] * size))


def test_each_kind_of_private_key_has_its_kind_of_public_key() -> None:
    raw = bytes.fromhex("11" * 32)
    public = "7b4e909bbe7ffe44c465a220037d608ee35897d31ef972f07f74892cb0f73f13"
    assert crypto.node_public(NodePrivateKey(raw)).text() == f"nodekey:{public}"
    assert crypto.machine_public(MachinePrivateKey(raw)).text() == f"mkey:{public}"
    assert crypto.disco_public(DiscoPrivateKey(raw)).text() == f"discokey:{public}"
    assert crypto.challenge_public(ChallengePrivateKey(raw)).text() == f"chalpub:{public}"


def test_ed25519_of_rfc_8032() -> None:
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    private = crypto.lock_private_from_seed(seed)
    public = LockKey(bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"))
    assert private.reveal() == seed + public
    assert crypto.lock_public(private) == public


def test_blake2s_of_rfc_7693() -> None:
    expected = "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982"
    assert crypto.blake2s(b"abc").hex() == crypto.blake2s(b"a", b"", b"bc").hex() == expected


def test_keyed_blake2s_is_not_hmac() -> None:
    # BLAKE2 known answers (blake2s, key 00..1f, input 00 01 02): https://github.com/BLAKE2/BLAKE2 testvectors
    key = bytes(range(32))
    expected = "1d220dbe2ee134661fdf6d9e74b41704710556f2f6e5a091b227697445dbea6b"
    assert crypto.keyed_blake2s(key, b"\0\1\2", 32).hex() == expected
    assert len(crypto.keyed_blake2s(key, b"")) == 16
    assert crypto.keyed_blake2s(key, b"", 32) != crypto.hmac_blake2s(key, b"")


@pytest.mark.parametrize(
    ("key", "material", "blocks"),
    [
        (
            b"test-key",
            b"test-input",
            [
                "6f0e5ad38daba1bea8a0d213688736f19763239305e0f58aba697f9ffc41c633",
                "df1194df20802a4fe594cde27e92991c8cae66c366e8106aaa937a55fa371e8a",
                "fac6e2745a325f5dc5d11a5b165aad08b0ada28e7b4e666b7c077934a4d76c24",
            ],
        ),
        (
            b"wireguard",
            b"wireguard",
            [
                "491d43bbfdaa8750aaf535e334ecbfe5129967cd64635101c566d4caefda96e8",
                "1e71a379baefd8a79aa4662212fcafe19a23e2b609a3db7d6bcba8f560e3d25f",
                "31e1ae48bddfbe5de38f295e5452b1909a1b4e38e183926af3780b0c1e1f0160",
            ],
        ),
        (
            b"",
            b"",
            [
                "8387b46bf43eccfcf349552a095d8315c4055beb90208fb1be23b894bc2ed5d0",
                "58a0e5f6faefccf4807bff1f05fa8a9217945762040bcec2f4b4a62bdfe0e86e",
                "0ce6ea98ec548f8e281e93e32db65621c45eb18dc6f0a7ad94178610a2f7338e",
            ],
        ),
    ],
)
def test_hkdf_of_wireguard_go(key: bytes, material: bytes, blocks: list[str]) -> None:
    """wireguard-go device/kdf_test.go."""
    for outputs in (1, 2, 3):
        assert [block.hex() for block in crypto.hkdf(key, material, outputs)] == blocks[:outputs]


def test_chacha20_poly1305_of_rfc_8439() -> None:
    nonce = bytes.fromhex("070000004041424344454647")
    sealed = bytes.fromhex(
        "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b1a71de0a9e06"
        "0b2905d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc3ff4def08e4b7a9de576d265"
        "86cec64b61161ae10b594f09e26a7e902ecbd0600691"
    )
    assert crypto.aead_seal(KEY, nonce, SUNSCREEN, AAD) == sealed
    assert crypto.aead_open(KEY, nonce, sealed, AAD) == SUNSCREEN
    assert crypto.Aead(KEY).encrypt(nonce, SUNSCREEN, AAD) == sealed


def test_xchacha20_poly1305_of_its_draft() -> None:
    """draft-irtf-cfrg-xchacha-03 A.3.1."""
    nonce = bytes(range(0x40, 0x58))
    sealed = bytes.fromhex(
        "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa6440bf3a82f4eda7e39ae64c6708c54"
        "c216cb96b72e1213b4522f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff921f9664c97637da9768812f6"
        "15c68b13b52ec0875924c1c7987947deafd8780acf49"
    )
    assert crypto.xaead_seal(KEY, nonce, SUNSCREEN, AAD) == sealed
    assert crypto.xaead_open(KEY, nonce, sealed, AAD) == SUNSCREEN


def test_box_of_nacl() -> None:
    """NaCl tests/box.c and tests/beforenm."""
    nonce = bytes.fromhex("69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37")
    plaintext = bytes.fromhex(
        "be075fc53c81f2d5cf141316ebeb0c7b5228c52a4c62cbd44b66849b64244ffce5ecbaaf33bd751a1ac728d45e6c61296cdc3c012335"
        "61f41db66cce314adb310e3be8250c46f06dceea3a7fa1348057e2f6556ad6b1318a024a838f21af1fde048977eb48f59ffd4924ca1c"
        "60902e52f0a089bc76897040e082f937763848645e0705"
    )
    sealed = bytes.fromhex(
        "f3ffc7703f9400e52a7dfb4b3d3305d98e993b9f48681273c29650ba32fc76ce48332ea7164d96a4476fb8c531a1186ac0dfc17c98dc"
        "e87b4da7f011ec48c97271d2c20f9b928fe2270d6fb863d51738b48eeee314a7cc8ab932164548e526ae90224368517acfeabd6bb373"
        "2bc0e9da99832b61ca01b6de56244a9e88d5f9b37973f622a43d14a6599b1f654cb45a74e355a5"
    )
    shared = crypto.box_shared(ALICE, BOB_PUBLIC)
    assert shared.hex() == "1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389"
    assert crypto.box_shared(BOB, ALICE_PUBLIC) == shared
    assert crypto.box_seal(ALICE, BOB_PUBLIC, nonce, plaintext) == sealed
    assert crypto.box_open(BOB, ALICE_PUBLIC, nonce, sealed) == plaintext
    assert crypto.shared_box_open(shared, nonce, sealed) == plaintext


SHARED = crypto.box_shared(ALICE, BOB_PUBLIC)
Open = Callable[[bytes], bytes]


@pytest.mark.parametrize(
    ("sealed", "open_"),
    [
        (crypto.aead_seal(KEY, bytes(12), b"text", AAD), lambda s: crypto.aead_open(KEY, bytes(12), s, AAD)),
        (crypto.xaead_seal(KEY, bytes(24), b"text", AAD), lambda s: crypto.xaead_open(KEY, bytes(24), s, AAD)),
        (crypto.shared_box_seal(SHARED, bytes(24), b"text"), lambda s: crypto.shared_box_open(SHARED, bytes(24), s)),
    ],
    ids=["aead", "xaead", "box"],
)
def test_sealed_bytes_that_were_touched_are_malformed(sealed: bytes, open_: Open) -> None:
    assert open_(sealed) == b"text"
    for place in range(len(sealed)):
        flipped = bytes([sealed[place] ^ 1])
        with pytest.raises(MalformedError):
            open_(sealed[:place] + flipped + sealed[place + 1 :])
        with pytest.raises(MalformedError):
            open_(sealed[:place])


def test_aad_and_nonce_are_authenticated() -> None:
    sealed = crypto.aead_seal(KEY, bytes(12), b"text", b"aad")
    for nonce, aad in ((b"\1" + bytes(11), b"aad"), (bytes(12), b"axd"), (bytes(12), b"")):
        with pytest.raises(MalformedError):
            crypto.aead_open(KEY, nonce, sealed, aad)


def test_libsodium_is_imported_with_the_first_key() -> None:
    script = "import sys; import tsnet.base.crypto; assert 'nacl' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_a_token_signature_is_that_of_rfc_8032() -> None:
    private = TokenPrivateKey(bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"))
    assert crypto.token_public(private).hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert crypto.token_signature(private, b"").hex() == (
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe"
        "24655141438e7a100b"
    )


def test_the_token_key_of_a_control_server_grows_from_its_machine_key() -> None:
    one, other = (MachinePrivateKey(bytes([number]) * 32) for number in (1, 2))
    assert crypto.token_private_of(one) == crypto.token_private_of(one) != crypto.token_private_of(other)
    assert crypto.token_private_of(one).reveal() != one.reveal()


# --- signatures of others (their vectors are in test_jsonwebtoken) ----------------------------------------------


@pytest.mark.parametrize("signature", [b"", bytes(63), bytes(64), bytes(65), bytes(256)])
def test_signatures_that_are_none(signature: bytes) -> None:
    rsa, curve = rsa_key().public_key().public_numbers(), ec_key().public_key().public_numbers()
    assert not crypto.rs256_verifies(rsa.n, rsa.e, signature, b"message")
    assert not crypto.es256_verifies(curve.x, curve.y, signature, b"message")


@pytest.mark.parametrize(("one", "two"), [(0, 0), (1, 1), (5, 2), (1 << 300, 1)])
def test_numbers_that_are_no_key(one: int, two: int) -> None:
    with pytest.raises(MalformedError):
        crypto.rs256_verifies(one, two, b"", b"")
    with pytest.raises(MalformedError):
        crypto.es256_verifies(one, two, b"", b"")
