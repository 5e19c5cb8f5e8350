"""Debian's miniupnpd on a home's router: NAT-PMP, PCP and UPnP by somebody who has nothing to do with us.

    with Miniupnpd(internet.scene, internet.left) as daemon:
        daemon.mappings()        # {6000: "192.168.10.2:41641"}, as nftables has them

Its rules are in a table of its own. It refuses to serve a router whose own outside address is private, reserved or for
documentation; those of the lab are none.

Source: miniupnpd(8), its miniupnpd.conf and netfilter_nft/.
"""

from __future__ import annotations

import re
import subprocess
from typing import Self

from tests.interop.harness.process import Command, Process
from tests.interop.harness.scene import Scene, inside
from tests.lab.internet import Side, nft

TABLE = """
table inet miniupnpd {
    chain forward { type filter hook forward priority 0; policy accept; jump miniupnpd; }
    chain miniupnpd { }
    chain in { type nat hook prerouting priority -100; jump prerouting_miniupnpd; }
    chain out { type nat hook postrouting priority 90; jump postrouting_miniupnpd; }
    chain prerouting_miniupnpd { }
    chain postrouting_miniupnpd { }
}
"""

CONFIGURATION = """
ext_ifname=wan
listening_ip=lan
enable_natpmp={pmp}
enable_upnp={upnp}
secure_mode=yes
system_uptime=no
min_lifetime=120
max_lifetime=86400
clean_ruleset_interval=0
notify_interval=60
uuid=00000000-0000-0000-0000-000000000001
upnp_table_name=miniupnpd
upnp_nat_table_name=miniupnpd
lease_file={folder}/leases
allow 1024-65535 {net} 1024-65535
"""

RULE = re.compile(r"th dport (\d+) dnat ip to ([\d.:]+)")


class Miniupnpd:
    """pmp: NAT-PMP and PCP, which it has in one piece. upnp: on or off."""

    def __init__(self, scene: Scene, side: Side, *, pmp: bool = True, upnp: bool = True) -> None:
        self._scene, self._side = scene, side
        self._folder = scene.folder / f"miniupnpd-{side.number}"
        self._options = {"pmp": "yes" if pmp else "no", "upnp": "yes" if upnp else "no"}
        self.process: Process

    def __enter__(self) -> Self:
        self._folder.mkdir(exist_ok=True)
        with inside(self._side.home):
            nft(TABLE)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stop()

    def start(self) -> None:
        """Without the mappings of before."""
        (self._folder / "leases").unlink(missing_ok=True)
        with inside(self._side.home):
            nft("flush chain inet miniupnpd prerouting_miniupnpd\nflush chain inet miniupnpd miniupnpd\n")
        path = self._folder / "conf"
        net = self._side.address.rpartition(".")[0] + ".0/24"
        path.write_text(CONFIGURATION.format(folder=self._folder, net=net, **self._options))
        command: Command = ["miniupnpd", "-d", "-f", path, "-P", self._folder / "pid"]
        self.process = self._scene.run(f"miniupnpd-{self._side.number}", command, namespace=self._side.home)
        self.process.wait_until(lambda: "istening" in self.process.log(), "listening")

    def restart(self) -> None:
        """As if the router had been switched off and on."""
        self.process.kill()
        self.start()

    def mappings(self) -> dict[int, str]:
        """External port to internal address, as nftables has them."""
        with inside(self._side.home):
            command = ["nft", "list", "chain", "inet", "miniupnpd", "prerouting_miniupnpd"]
            shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return {int(port): address for port, address in RULE.findall(shown)}
