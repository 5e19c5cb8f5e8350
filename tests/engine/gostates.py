"""States as Go writes them, made of nothing secret."""

from __future__ import annotations

import base64
import json
from typing import Any

MACHINE = "privkey:" + "48" * 32
NODE = "privkey:" + "50" * 32
LOCK = "nlpriv:" + "33" * 64
ZERO = "privkey:" + "00" * 32


def profile(**changes: Any) -> dict[str, Any]:
    """ipn.Prefs, its Persist under Config. A change named persist_x is one of Persist."""
    persist = {
        "PrivateNodeKey": NODE,
        "OldPrivateNodeKey": ZERO,
        "UserProfile": {"ID": 1, "LoginName": "ann@example.com", "DisplayName": "Ann"},
        "NetworkLockKey": LOCK,
        "NodeID": "nABC",
    }
    prefs = {"ControlURL": "https://hs.example.com", "Hostname": "Shop", "ShieldsUp": True, "WantRunning": True}
    for name, value in changes.items():
        (persist if name.startswith("persist_") else prefs)[name.removeprefix("persist_")] = value
    return {**prefs, "Config": persist}


def go_state(**changes: Any) -> bytes:
    """The file. A change is one of its keys, None removes it; what is no text or bytes becomes JSON."""
    names = {"ab12": {"ID": "ab12", "Name": "ann@example.com", "Key": "profile-ab12"}}
    values = {
        "_machinekey": MACHINE,
        "_current-profile": "profile-ab12",
        "_profiles": names,
        "profile-ab12": profile(),
        **{name.replace("__", "-"): value for name, value in changes.items()},
    }
    return json.dumps({key: _encoded(value) for key, value in values.items() if value is not None}, indent=2).encode()


def _encoded(value: Any) -> str:
    if not isinstance(value, bytes):
        value = (value if isinstance(value, str) else json.dumps(value)).encode()
    return base64.b64encode(value).decode()
