"""What Tailscale's own clients save, read as an identity of ours: tailscaled.state, of tailscaled and of Go's tsnet.

    {"_machinekey": base64("privkey:…"),
     "_current-profile": base64("profile-ab12"),
     "_profiles": base64({"ab12": {"ID": "ab12", "Name": "ann@example.com", "Key": "profile-ab12", …}}),
     "profile-ab12": base64({"ControlURL": "…", "Hostname": "…", "ShieldsUp": false, …,
                             "Config": {"PrivateNodeKey": "privkey:…", "NodeID": "n…", "NetworkLockKey": "nlpriv:…",
                                        "UserProfile": {"LoginName": "…"}, …}})}
    {"key": …, "nonce": …, "data": …}     sealed by the machine's TPM: only that machine can read it

Go keeps `_daemon` in place of a profile in files that no later version has opened. The text of an error completes "the
state file …", and quotes nothing of the file but names of profiles.

Source: Go ipn/store/stores.go, ipn/ipnlocal/profiles.go, ipn/prefs.go, types/persist/persist.go, feature/tpm/tpm.go.
Not here: the file (`edge.io.goimport`), our own format (`saved`).
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import attrs

from tsnet.base import jsonobject
from tsnet.base.keys import LockPrivateKey, MachinePrivateKey, NodePrivateKey, PrivateKey
from tsnet.base.malformed import MalformedError
from tsnet.config import DEFAULT_CONTROL_URL
from tsnet.engine.identity import Identity, new_identity
from tsnet.errors import ConfigError
from tsnet.prefs import TRAITS

K = TypeVar("K", bound=PrivateKey)
MACHINE_KEY, CURRENT, PROFILES, LEGACY = "_machinekey", "_current-profile", "_profiles", "_daemon"
SYNONYM = "https://login.tailscale.com"
_A_NAME = re.compile(r"profile-\w{1,32}")


@attrs.frozen
class GoNode:
    """profile: its name in Go's state. prefs: those that Go's node had and that we have, too, for `encode_prefs`."""

    profile: str
    identity: Identity
    prefs: Mapping[str, Any]


def decode_go_state(text: bytes, profile: str | None, entropy: Callable[[int], bytes]) -> GoNode:
    """The node of that profile (its ID, state key or login name); None is the current one. Raises MalformedError."""
    values = _values(text)
    machine_key = _secret(MachinePrivateKey, values.get(MACHINE_KEY, b"").decode("ascii", "replace"), "machine key")
    if machine_key is None:
        raise MalformedError("has no machine key")
    key, name = _chosen(values, profile)
    if key not in values:
        where = f" under {key!r}" if _A_NAME.fullmatch(key) else ""  # of a damaged file it might be anything
        raise MalformedError(f"has no profile{where}: its node never finished its login, or has logged out")
    prefs = _object(values[key], "its profile")
    persist = prefs.get("Config")
    persist = persist if isinstance(persist, dict) else {}
    if persist.get("AttestationKey"):
        raise MalformedError("belongs to a node whose key is bound to this machine's hardware, which cannot be moved")
    node_key = _secret(NodePrivateKey, persist.get("PrivateNodeKey"), "node key")
    if node_key is None:
        raise MalformedError("has no node key: its node has logged out")
    user = persist.get("UserProfile")
    identity = Identity(
        machine_key=machine_key,
        node_key=node_key,
        lock_key=_secret(LockPrivateKey, persist.get("NetworkLockKey"), "tailnet lock key")
        or new_identity(entropy).lock_key,
        control_url=_control_url(prefs.get("ControlURL")),
        stable_id=_text(persist.get("NodeID")),
        login_name=_text(user.get("LoginName")) if isinstance(user, dict) else "",
        registered=True,
        ephemeral=False,
    )
    return GoNode(name, identity, _preferences(prefs))


def _values(text: bytes) -> dict[str, bytes]:
    if not text.strip():
        raise MalformedError("is empty")
    members = jsonobject.parse(text, "is damaged: it")
    if {"key", "nonce", "data"} <= members.keys():
        raise MalformedError(
            "is encrypted by the TPM of its machine. Restart tailscaled there with --encrypt-state=false, which writes "
            "it in the clear, then stop it and import the file"
        )
    try:
        return {key: binascii.a2b_base64(value, strict_mode=True) for key, value in members.items() if value}
    except (TypeError, ValueError):
        raise MalformedError("is no state of Tailscale's: its values are not base64") from None


def _chosen(values: Mapping[str, bytes], wanted: str | None) -> tuple[str, str]:
    """The profile's key and its name."""
    found = _object(values[PROFILES], "the list of profiles") if PROFILES in values else {}
    known = {
        _text(profile.get("Key")): {_text(profile.get("ID")), _text(profile.get("Name"))}
        for profile in found.values()
        if isinstance(profile, dict)
    }
    names = {key: max(said, key=len) or key for key, said in known.items() if key}
    if wanted is not None:
        fitting = [key for key in names if wanted == key or wanted in known[key]]
        if len(fitting) != 1:
            raise MalformedError(
                f"has {'no' if not fitting else 'more than one'} profile {wanted!r}, but {_list(names)}"
            )
        return fitting[0], names[fitting[0]]
    current = values.get(CURRENT, b"").decode("utf-8", "replace")
    if current:
        return current, names.get(current, current)
    if len(names) == 1:
        return next(iter(names.items()))
    if not names and LEGACY in values:
        return LEGACY, LEGACY
    raise MalformedError(
        f"has no current profile, but {_list(names)}: name one" if names else "has no node that joined"
    )


def _list(names: Mapping[str, str]) -> str:
    return ", ".join(f"{key} ({name})" for key, name in sorted(names.items())) or "none at all"


def _object(text: bytes, what: str) -> dict[str, Any]:
    return jsonobject.parse(text, f"is damaged: {what}")


def _secret(kind: type[K], text: object, what: str) -> K | None:
    """None for what Go calls a zero key, or where there is none."""
    if not text:
        return None
    if not isinstance(text, str):
        raise MalformedError(f"is damaged: its {what} is no key")
    if not text.removeprefix(kind.prefix).strip("0"):
        return None
    try:
        return kind.parse(text)
    except MalformedError:
        raise MalformedError(f"is damaged: its {what} is no key") from None


def _control_url(said: object) -> str:
    url = _text(said).rstrip("/")
    return DEFAULT_CONTROL_URL if url in ("", SYNONYM) else url


def _preferences(prefs: Mapping[str, Any]) -> dict[str, Any]:
    """A hostname that Go took from the system is not among them, and neither is what was left as it was."""
    found = {"hostname": prefs.get("Hostname"), "shields_up": prefs.get("ShieldsUp")}
    try:
        return {name: TRAITS[name].check(name, value) for name, value in found.items() if value}
    except ConfigError:
        raise MalformedError("is damaged: its preferences have no sensible values") from None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
