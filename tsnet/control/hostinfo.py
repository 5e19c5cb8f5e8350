"""What a node says of itself, as its peers may be told: a field of the type that Go expects, or none at all.

A Go client refuses a whole map message for one field of a wrong type in one peer's Hostinfo. Whoever joins a tailnet
could so cut everybody else off; what control passes on is therefore what control has understood.

Source: Go tailcfg.Hostinfo, tailcfg.Service, tailcfg.Location.
Not here: what is made of it (`tailnet`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import ip_interface
from typing import Any

MAX_ITEMS = 256
MAX_TEXT = 1024

Check = Callable[[Any], bool]


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MAX_TEXT


def _is_tri(value: Any) -> bool:
    return isinstance(value, bool) or value is None


def _is_prefix(value: Any) -> bool:
    """Written as Go writes it; host bits and all."""
    try:
        return _is_text(value) and "%" not in value and str(ip_interface(value)) == value
    except ValueError:
        return False


def _is_port(value: Any) -> bool:
    return type(value) is int and 0 <= value <= 65_535


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300


def _is_int(value: Any) -> bool:
    return type(value) is int and abs(value) < 1 << 63


def _list_of(check: Check) -> Check:
    return lambda value: isinstance(value, list) and len(value) <= MAX_ITEMS and all(check(item) for item in value)


def _object_of(fields: Mapping[str, Check]) -> Check:
    """No further fields: Go does not mind the case of a name."""

    def check(value: Any) -> bool:
        return isinstance(value, dict) and all(name in fields and fields[name](item) for name, item in value.items())

    return check


_SERVICE = _object_of({"Proto": _is_text, "Port": _is_port, "Description": _is_text})
_LOCATION = _object_of(
    {
        **dict.fromkeys(("Country", "CountryCode", "City", "CityCode"), _is_text),
        **dict.fromkeys(("Latitude", "Longitude"), _is_number),
        "Priority": _is_int,
    }
)
_TEXTS = (
    *("IPNVersion", "FrontendLogID", "BackendLogID", "OS", "OSVersion", "Env", "Distro", "DistroVersion"),
    *("DistroCodeName", "App", "Package", "DeviceModel", "PushDeviceToken", "Hostname", "Machine", "GoArch"),
    *("GoArchVar", "GoVersion", "Cloud", "ServicesHash", "ExitNodeID"),
)
_TRIS = ("Container", "Desktop", "Userspace", "UserspaceRouter", "AppConnector", "StateEncrypted")
_FLAGS = ("ShieldsUp", "ShareeNode", "NoLogsNoSupport", "WireIngress", "IngressEnabled", "AllowsUpdate", "PeerRelay")

FIELDS: Mapping[str, Check] = {
    **dict.fromkeys(_TEXTS, _is_text),
    **dict.fromkeys(_TRIS, _is_tri),
    **dict.fromkeys(_FLAGS, lambda value: isinstance(value, bool)),
    "RoutableIPs": _list_of(_is_prefix),
    "RequestTags": _list_of(_is_text),
    "WoLMACs": _list_of(_is_text),
    "sshHostKeys": _list_of(_is_text),
    "Services": _list_of(_SERVICE),
    "Location": _LOCATION,
}


def for_peers(hostinfo: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that are what they ought to be; how the node sees its own network (NetInfo) concerns nobody."""
    return {name: value for name, value in hostinfo.items() if name in FIELDS and FIELDS[name](value)}
