"""`tsnet tailnet`: run an embedded tailnet (control, a DERP relay and STUN) until Ctrl-C or SIGTERM.

With --json the first line of stdout is one JSON object, printed once nodes are accepted:

    control_url   for --control-url, TS_CONTROL_URL, tailscale up --login-server
    auth_key      reusable, untagged
    derp_map      as control sends it (tailcfg.DERPMap)
    base_domain   of the MagicDNS names

With --state-dir they are the same at the next start, however this one ends. Only the ports of the relay and of STUN may
change, if another program has taken them. base_domain is that of each start's options.
"""

from __future__ import annotations

import json
import shlex
import sys
import threading
from argparse import Namespace

from tsnet.cli import console
from tsnet.cli.signals import Terminated
from tsnet.testing.tailnet import Tailnet


def run(options: Namespace) -> int:
    tailnet = Tailnet(
        state=options.state_dir,
        base_domain=options.domain,
        user=options.user,
        host=options.host,
        control_port=options.port,
        derp_port=options.derp_port,
        stun_port=options.stun_port,
        tls=not options.plain,
        regions=options.regions,
    )
    with tailnet:
        if options.json:
            print(json.dumps(how_to_join(tailnet)), flush=True)
        else:
            print(invitation(tailnet), flush=True)
        console.say("accepting nodes, until Ctrl-C")
        try:
            threading.Event().wait()
        except Terminated:
            return 0
    return 0


def how_to_join(tailnet: Tailnet) -> dict[str, object]:
    return {
        "control_url": tailnet.control_url,
        "auth_key": tailnet.auth_key,
        "derp_map": tailnet.derp_map,
        "base_domain": tailnet.base_domain,
    }


def invitation(tailnet: Tailnet, key_file: str = "") -> str:
    """Lines to paste into another terminal. Go's tsnet reads the two variables, too."""
    style = console.Style(sys.stdout)
    key = f"$(cat {shlex.quote(key_file)})" if key_file else tailnet.auth_key
    lines = [
        ("export TS_CONTROL_URL=" + tailnet.control_url, ""),
        ("export TS_AUTHKEY=" + key, ""),
        ("tsnet status", "who is there"),
        ("tsnet serve .", "or any program with tsnet, this one's or Go's"),
        ("tailscale up --login-server $TS_CONTROL_URL --auth-key $TS_AUTHKEY", "or the daemon"),
    ]
    shown = [
        f"    {style(console.CYAN, line)}{style(console.DIM, f'   # {note}') if note else ''}" for line, note in lines
    ]
    title = style(console.BOLD, f"The tailnet {tailnet.base_domain} takes nodes. To join it, in another terminal:")
    return "\n".join([title, "", *shown, ""])
