"""JSON as Go writes it, read with patience.

    null or absent list, map, string, number     empty          ids as map keys      {"12": …}
    times                                        RFC 3339 with nanoseconds; year 1 means none
    keys                                         "nodekey:…"; zero key or "" means none
    names of fields                              in any case: "HostInfo" is "Hostinfo" (`spelled`)
    addresses                                    "100.64.0.1", "100.64.0.1/32", "1.2.3.4:5", "[::1]:5"

A value of the wrong kind reads as absent: a server that is newer than we are must not cost us the rest of the
message. What is kept as it came (`raw`) is nested at most MAX_DEPTH deep, so that whoever compares, prints or encodes
it later has stack enough.

Source: Go encoding/json, net/netip, time.Time.MarshalJSON, types/key.
Not here: bytes (`base.jsonobject`), which fields there are (`tailcfg`, `messages`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from ipaddress import ip_address, ip_network
from sys import intern
from typing import Any, TypeVar

from tsnet.base.addresses import IPAddress, IPPrefix, UdpAddress, join_host_port, parse_address
from tsnet.base.keys import PublicKey
from tsnet.base.malformed import MalformedError
from tsnet.base.printable import printable

MAX_DEPTH = 32
MAX_LINE = 1024
MAX_URL = 16 * 1024
ZERO_TIME = "0001-01-01T00:00:00Z"

_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(\.\d+)?(?:[Zz]|([+-])(\d\d):(\d\d))")
_Key = TypeVar("_Key", bound=PublicKey)


def text(value: Any) -> str:
    """Half a surrogate pair, which JSON can write and UTF-8 cannot, becomes a question mark."""
    if not isinstance(value, str):
        return ""
    return value if value.isascii() else value.encode("utf-8", "replace").decode()


def line(value: Any, limit: int = MAX_LINE) -> str:
    """Text that a person will see, in a terminal or a log: nothing in it moves the cursor or begins another line.

    What is longer than `limit` is cut, and ends in an ellipsis.
    """
    found = text(value)
    if len(found) > limit:
        found = found[: limit - 1] + "…"
    return printable(found)


def integer(value: Any) -> int:
    """Also from the decimal string that some gateways write for 64-bit numbers."""
    if isinstance(value, (int, float)):
        return int(value) if abs(value) < 1 << 63 else 0
    return int(value) if isinstance(value, str) and re.fullmatch(r"-?\d{1,18}", value) else 0


def number(value: Any) -> float:
    """A finite one."""
    return float(value) if isinstance(value, (int, float)) and abs(value) < 1e300 else 0.0


def items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def texts(value: Any) -> tuple[str, ...]:
    return tuple(text(item) for item in items(value) if isinstance(item, str))


def objects(value: Any) -> list[dict[str, Any]]:
    return [item for item in items(value) if isinstance(item, dict)]


def mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def raw(value: Any) -> dict[str, Any]:
    """An object that is kept as it came; empty if it is none, or too deep. All such objects share their names."""
    found: dict[str, Any] = _shared(value) if isinstance(value, dict) and is_shallow(value) else {}
    return found


def _shared(value: Any) -> Any:
    if isinstance(value, dict):
        return {intern(name): _shared(item) for name, item in value.items()}
    return [_shared(item) for item in value] if isinstance(value, list) else value


def is_shallow(value: Any, levels: int = MAX_DEPTH) -> bool:
    if isinstance(value, dict):
        return levels > 0 and all(is_shallow(item, levels - 1) for item in value.values())
    return not isinstance(value, list) or (levels > 0 and all(is_shallow(item, levels - 1) for item in value))


def spelled(value: Any, names: Iterable[str]) -> dict[str, Any]:
    """An object with the fields of these names under them, whatever their case; clients not of Go rely on that."""
    wanted = {name.lower(): name for name in names}
    return {wanted.get(name.lower(), name): item for name, item in mapping(value).items()}


def tri(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def numbered(value: Any) -> dict[int, Any]:
    """A map whose keys are ids."""
    return {integer(name): item for name, item in mapping(value).items() if integer(name)}


def key(kind: type[_Key], value: Any) -> _Key | None:
    try:
        found = kind.parse(text(value))
    except MalformedError:
        return None
    return None if found.is_zero else found


def address(value: Any) -> IPAddress | None:
    try:
        return ip_address(text(value))
    except ValueError:
        return None


def prefix(value: Any) -> IPPrefix | None:
    try:
        return ip_network(text(value), strict=False)
    except ValueError:
        return None


def prefixes(value: Any) -> Iterator[IPPrefix]:
    """One after the other: whoever packs them need not hold them all."""
    return (found for item in items(value) if (found := prefix(item)) is not None)


def endpoint(value: Any) -> UdpAddress | None:
    """A v4-mapped address is unmapped. A zone may have any characters but a space, and those that are not ASCII."""
    host, _colon, port = text(value).rpartition(":")
    found = parse_address(host) if host.isascii() and " " not in host else None
    if found is None or not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < 65536:
        return None
    return UdpAddress(str(found), int(port))


def endpoints(value: Any) -> tuple[UdpAddress, ...]:
    return tuple(found for item in items(value) if (found := endpoint(item)) is not None)


def format_endpoint(where: UdpAddress) -> str:
    return join_host_port(*where)


def strings(values: Iterable[object]) -> list[str]:
    return [str(value) for value in values]


def unix_time(value: Any) -> float | None:
    """Unix seconds; None for a missing, malformed or zero (year 1) time."""
    match = _TIME.fullmatch(text(value))
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    if year <= 1 or not 1 <= month <= 12 or not 1 <= day <= 31:
        return None
    sign, zone_hour, zone_minute = match.groups()[7:]
    zone = (int(zone_hour) * 3600 + int(zone_minute) * 60) * (-1 if sign == "-" else 1) if sign else 0
    whole = _days_from_civil(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - zone
    return whole + float(match[7] or 0)


def format_time(unix: float | None) -> str:
    """RFC 3339 in UTC with whole seconds or microseconds; the zero time for None."""
    if unix is None:
        return ZERO_TIME
    whole, micros = divmod(round(unix * 1_000_000), 1_000_000)
    days, seconds = divmod(whole, 86400)
    year, month, day = _civil_from_days(days)
    clock = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    fraction = f".{micros:06d}".rstrip("0") if micros else ""
    return f"{year:04d}-{month:02d}-{day:02d}T{clock}{fraction}Z"


def _days_from_civil(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01 in the Gregorian calendar, counted in 400-year eras that begin in March."""
    year -= month <= 2
    era, year_of_era = divmod(year, 400)
    day_of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return era * 146_097 + year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year - 719_468


def _civil_from_days(days: int) -> tuple[int, int, int]:
    era, day_of_era = divmod(days + 719_468, 146_097)
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted = (5 * day_of_year + 2) // 153
    month = shifted + 3 if shifted < 10 else shifted - 9
    return era * 400 + year_of_era + (month <= 2), month, day_of_year - (153 * shifted + 2) // 5 + 1
