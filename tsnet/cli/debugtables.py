"""What `debug` shows, as tables for a person; what other machines say in them is made harmless (`base.printable`).

Not here: the values (`tsnet.engine.debug`), which command prints them (`debug`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tsnet.base.printable import printable

Shown = Mapping[str, Any]
Row = tuple[object, ...]
NOTHING = "-"


def netmap_table(shown: Shown) -> str:
    """Ourselves and the peers; below, DNS and the relays."""
    if not shown:
        return "control has sent no netmap yet"
    nodes = [shown["self"], *shown["peers"]]
    head: Row = ("Node", "Address", "Who", "System", "Online", "Relay", "Endpoints", "Routes")
    rows: list[Row] = [
        (
            node["name"].partition(".")[0] or node["name"],
            _first(node["addresses"]),
            _joined(node["tags"]) if node["tags"] else node["user"],
            node["os"],
            "this node" if node is shown["self"] else "expired" if node["is_expired"] else _word(node["online"]),
            node["home_region"],
            _joined(node["endpoints"]),
            _joined(node["routes"]),
        )
        for node in nodes
    ]
    dns, regions = shown["dns"], shown["derp_map"]
    facts: list[Row] = [
        ("Domain", shown["domain"]),
        ("Attributes", _joined(shown["attributes"])),
        ("MagicDNS", _word(dns["is_magic"])),
        ("Search", _joined(dns["domains"])),
        ("Resolvers", _joined(dns["resolvers"])),
        *((f"Resolvers of {suffix}", _joined(resolvers)) for suffix, resolvers in dns["routes"].items()),
        *(
            (f"Relay {region['region']} {region['code']}", _joined(node["host"] for node in region["nodes"]))
            for region in regions
        ),
        *(("Health", message) for message in shown["health"]),
    ]
    return "\n\n".join((_table([head, *rows]), _table(facts)))


def filter_table(shown: Shown) -> str:
    """A rule a line; below, what was dropped, and the answer to --check."""
    head: Row = ("From", "To", "Protocols", "Capabilities")
    rows: list[Row] = [
        (
            _joined(rule["from"]),
            _joined(rule["to"]),
            _joined(rule["protocols"]) if rule["to"] else "",
            _joined(name for grant in rule["grants"] for name in grant["capabilities"]),
        )
        for rule in shown["rules"]
    ]
    facts: list[Row] = [("Shields up", _word(shown["shields_up"]))]
    if shown["denies_all"]:
        facts.append(("Lets in", "nothing"))
    if shown["skipped"]:
        facts.append(("Not understood", shown["skipped"]))
    facts += _dropped(shown)
    if check := shown.get("check"):
        who = f"{check['source']} to {check['destination']} port {check['port']}"
        facts += [(f"{who} by {protocol.upper()}", _verdict(check[protocol])) for protocol in ("tcp", "udp")]
    return "\n\n".join((_table([head, *rows]), _table(facts)))


def derp_table(shown: Shown) -> str:
    """A region a line, the home marked; below, what keeps us from them."""
    head: Row = ("Region", "Code", "Latency", "Measured", "Connection", "Host", "Dropped", "Name")
    rows: list[Row] = []
    for region in shown["regions"]:
        connection = region["connection"] or {"stage": "", "host": "", "dropped": {}, "is_suspect": False}
        rows.append(
            (
                f"{region['region']}{' (home)' if region['is_home'] else ''}",
                region["code"],
                _milliseconds(region["latency"]),
                _ago(region["measured_ago"]),
                connection["stage"] + (", suspect" if connection["is_suspect"] else ""),
                connection["host"],
                _counted(connection["dropped"]),
                region["name"],
            )
        )
    facts: list[Row] = [("Reachable", _word(shown["is_reachable"])), ("UDP answers", _word(shown["udp_answers"]))]
    facts += [("Trouble", region["trouble"]) for region in shown["regions"] if region["trouble"]]
    return "\n\n".join((_table([head, *rows]), _table(facts + _dropped(shown))))


def paths_table(shown: Shown) -> str:
    """A peer a block: how it is reached and why; then its candidates, one a line."""
    modes = shown["modes"]
    facts: list[Row] = [
        ("Own endpoints", _joined(shown["endpoints"])),
        ("Direct paths", _word(modes["udp"] and modes["direct"]) + (", silent" if modes["silent"] else "")),
        ("Peers without a path yet", shown["without_state"]),
        *_dropped(shown),
    ]
    return "\n\n".join((_table(facts), *map(_peer, shown["peers"])))


def _peer(peer: Shown) -> str:
    session, direct = peer["session"], peer["direct"]
    lines = [_line(f"{peer['name'].partition('.')[0] or peer['key']} ({_first(peer['addresses'])}): {peer['path']}")]
    if session is not None:
        handshake = _ago(session["handshake_ago"])
        sent, received = session["sent_bytes"], session["received_bytes"]
        lines.append(_line(f"  session: handshake {handshake}, {sent} bytes sent, {received} received"))
    if (relayed := peer.get("peer_relay")) is not None and relayed["best"]:
        trusted = "trusted" if relayed["is_trusted"] else "not trusted"
        lines.append(_line(f"  {relayed['best']}, {trusted}" + (f" ({relayed['why']})" if relayed["why"] else "")))
    if direct is None:
        lines.append("  no direct path is looked for" + ("" if peer["speaks_disco"] else ": the peer has no disco key"))
        return "\n".join(lines)
    trusted = f"trusted for {direct['trusted_for']:.1f} s" if direct["is_trusted"] else "not trusted"
    why = f" ({direct['why']})" if direct["why"] else ""
    lines.append(_line(f"  direct: {direct['best'] or 'none'}, {trusted}{why}"))
    head: Row = ("", "Candidate", "Told by", "Pinged", "Answered", "Latency", "Heard")
    rows: list[Row] = [
        (
            "*" if candidate["is_best"] else "",
            candidate["address"],
            _joined(candidate["told_by"]),
            _ago(candidate["pinged_ago"]),
            _ago(candidate["answered_ago"]),
            _milliseconds(candidate["latency"]),
            _ago(candidate["heard_ago"]),
        )
        for candidate in direct["candidates"]
    ]
    return "\n".join((*lines, *("  " + line for line in _table([head, *rows]).split("\n"))))


def timers_table(shown: Shown) -> str:
    """A timer a line, the next one first."""
    head: Row = ("In", "Room", "What", "Peer")
    rows: list[Row] = [
        (f"{timer['in']:.1f} s", timer["room"], timer["what"], timer["peer"]) for timer in shown["timers"]
    ]
    more = shown["armed"] - len(rows)
    return _table([head, *rows]) + (f"\nand {more} more" if more else "")


TABLES: dict[str, Callable[[Shown], str]] = {
    "netmap": netmap_table,
    "filter": filter_table,
    "derp": derp_table,
    "paths": paths_table,
    "timers": timers_table,
}


# --- cells ------------------------------------------------------------------------------------------------------


def _table(rows: list[Row]) -> str:
    """Columns of equal width; an empty cell is shown as a dash, but for the first column."""
    shown = [[printable(str(cell)) or (NOTHING if number else "") for number, cell in enumerate(row)] for row in rows]
    widths = [max(len(row[column]) for row in shown) for column in range(len(rows[0]))] if rows else []
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in shown
    )


def _line(text: str) -> str:
    return printable(text)


def _joined(texts: Iterable[str]) -> str:
    return " ".join(texts)


def _first(addresses: list[str]) -> str:
    return addresses[0] if addresses else NOTHING


def _word(value: bool | None) -> str:
    return {True: "yes", False: "no", None: NOTHING}[value]


def _verdict(is_let_in: bool) -> str:
    return "let in" if is_let_in else "refused"


def _milliseconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1000:.1f} ms"


def _ago(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.1f} s ago"


def _counted(counter: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in counter.items())


def _dropped(shown: Shown) -> list[Row]:
    return [("Dropped", _counted(shown["dropped"]))] if shown["dropped"] else []
