"""Two homes and an internet between them, of network namespaces, in about 0.2 s.

    h0, h0b ── r0 (── c0) ── inet ── (c1 ──) r1 ── h1, h1b
                              │
                             far

| namespace  | what it is                                            | address                                  |
|------------|-------------------------------------------------------|------------------------------------------|
| inet       | routes, and is a public server; the scene's own       | `NEAR`, `NEAR_V6`, and those `BESIDE`    |
| far        | a second public server, at another address            | `FAR`, `FAR_V6`                          |
| r0, r1     | routers of a kind (`tests.lab.routers`)               | 11.1.0.2, 11.2.0.2 towards the internet  |
| c0, c1     | a provider's router, where the kind has one           | these instead; the leg is 100.66.x.0/24  |
| h0 … h1b   | hosts behind them, two in one LAN                     | 192.168.10.x, 192.168.20.x               |

The public addresses are some that no test takes for private or reserved ones; nothing of a scene leads outside.
The thread that enters is inside `inet`. `Side` names one home's namespaces and works its faults.

Source: ip-netns(8), nft(8); linux Documentation/networking/ip-sysctl.rst.
"""

from __future__ import annotations

import contextlib
import fcntl
import socket
import struct
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import attrs

from tests.interop.harness.process import Process
from tests.interop.harness.scene import Scene, inside, ip
from tests.lab.routers import BOTH, KINDS, V6, Kind

NEAR, FAR = "11.9.8.1", "11.9.9.1"
NEAR_V6, FAR_V6 = "2600:9:8::1", "2600:9:9::1"
BESIDE, BESIDE_V6 = "11.9.8.2", "2600:9:8::2"
"""More addresses of the near server, for who must have two."""
SYSCTLS = {
    "net.ipv4.ip_forward": "1",
    "net.ipv6.conf.all.forwarding": "1",
    "net.ipv4.conf.all.rp_filter": "0",
    "net.ipv4.conf.default.rp_filter": "0",
    "net.ipv6.conf.all.accept_dad": "0",
    "net.ipv6.conf.default.accept_dad": "0",
}
CONGESTION_CONTROLS = "cubic", "reno"
"""The first that this kernel lets a namespace choose; the machine's own may be BBR, which has other figures."""
HOST_FIREWALL = """
table inet host {
    chain input {
        type filter hook input priority 0; policy drop;
        ct state established,related accept
        iifname "lo" accept
        meta l4proto ipv6-icmp accept
    }
}
"""
SIOCGIFFLAGS, IFF_RUNNING = 0x8913, 0x40
NFNETLINK, CTNETLINK_DELETE = 12, 0x0102
REQUEST_WITH_ACK = 0x5
_NLMSGERR = struct.Struct("=IHHIIi")


@attrs.define
class Side:
    """One home. `router` is the one that faces the internet: the provider's, where there is one."""

    number: int
    kind: Kind
    home: str
    router: str
    hosts: Sequence[str]
    addresses: Sequence[str]
    """Of the hosts, as the LAN knows them."""

    @property
    def host(self) -> str:
        return self.hosts[0]

    @property
    def address(self) -> str:
        return self.addresses[0]

    def wan(self, last: int = 2) -> str:
        return f"11.{self.number + 1}.0.{last}"

    @property
    def public(self) -> str:
        """The address that the internet knows the host by."""
        return self.wan() if self.kind.has_private_v4 else self.address

    @property
    def public_v6(self) -> str:
        """Where the kind has IPv6."""
        return f"2600:{self.number + 1}::2"

    def _routers(self) -> list[str]:
        return list(dict.fromkeys((self.home, self.router)))

    # --- faults -----------------------------------------------------------------------------------------------

    def forget_connections(self) -> None:
        """The routers have lost power: every mapping is gone (`conntrack -F`), and what full cones had learnt."""
        for router in self._routers():
            with inside(router):
                flush_connections()
                self._load(router)

    def set_udp_timeout(self, seconds: int) -> None:
        """How long a mapping lives without traffic, from the next packet of each on."""
        for router in self._routers():
            set_sysctls(
                router, {f"net.netfilter.nf_conntrack_udp_timeout{more}": str(seconds) for more in ("", "_stream")}
            )

    def change_wan_address(self, last: int = 3) -> None:
        """What a provider does at night: another public address, and the mappings of before are of no use."""
        ip("-n", self.router, "addr", "flush", "dev", "wan")
        ip("-n", self.router, "addr", "add", f"{self.wan(last)}/24", "dev", "wan")
        ip("-n", self.router, "route", "replace", "default", "via", NEAR, "dev", "wan", "onlink")
        with inside(self.router):
            flush_connections()

    def firewall_hosts(self) -> None:
        """From now on the hosts take in nothing but answers, as a laptop's firewall does."""
        for host in self.hosts:
            with inside(host):
                nft(HOST_FIREWALL)

    @contextlib.contextmanager
    def link_down(self) -> Iterator[None]:
        """The host's own cable. When it is back, so is its default route, as with a DHCP client."""
        shown = ip("-n", self.host, "route", "show", "default").split()
        ip("-n", self.host, "link", "set", "eth0", "down")
        try:
            yield
        finally:
            ip("-n", self.host, "link", "set", "eth0", "up")
            await_devices(self.host)
            ip("-n", self.host, "route", "replace", *shown)

    @contextlib.contextmanager
    def dropping(self, what: str) -> Iterator[None]:
        """The home router drops, without a word, what an nft expression says. `wan` and `lan` are its devices."""
        table = f"table inet fault {{ chain drops {{ type filter hook forward priority -10;\n{what} drop\n}}\n}}\n"
        with inside(self.home):
            nft(table)
        try:
            yield
        finally:
            with inside(self.home):
                nft("delete table inet fault\n")

    def udp_blocked(self) -> contextlib.AbstractContextManager[None]:
        return self.dropping("meta l4proto udp")

    def udp_one_way(self, direction: str) -> contextlib.AbstractContextManager[None]:
        """Only what goes `out`, or only what comes `in`, is lost."""
        return self.dropping(f'{"oifname" if direction == "out" else "iifname"} "wan" meta l4proto udp')

    def blackhole(self, address: str) -> contextlib.AbstractContextManager[None]:
        """What goes to that address vanishes, TCP and UDP; nobody says so."""
        return self.dropping(f"{'ip6' if ':' in address else 'ip'} daddr {address}")

    def _load(self, router: str) -> None:
        rules = self.kind.provider if self.kind.provider and router == self.router else self.kind.rules
        if rules:
            family = self.kind.family
            nft(f"table {family} router\ndelete table {family} router\ntable {family} router {{{rules}\n}}\n")


class Internet:
    """Entered: everything stands, and the thread is inside `inet`. Sides are named by their routers' kinds."""

    def __init__(self, folder: Path, left: str, right: str = "none", *, second_hosts: bool = False) -> None:
        self.scene = Scene(folder)
        self._kinds = KINDS[left], KINDS[right]
        self._second = second_hosts
        self.left: Side
        self.right: Side
        self.far = ""

    @property
    def sides(self) -> tuple[Side, Side]:
        return self.left, self.right

    def __enter__(self) -> Self:
        self.scene.__enter__()
        try:
            self.left, self.right = (self._side(number, kind) for number, kind in enumerate(self._kinds))
            self.far = self.scene.full_name("far")
            self._wire()
            self._address()
            for name in self.namespaces():
                await_devices(name)
            for side in self.sides:
                for router in side._routers():
                    with inside(router):
                        side._load(router)
        except BaseException:
            self.scene.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.scene.__exit__()

    def namespaces(self) -> list[str]:
        sides = [name for side in self.sides for name in (*side._routers(), *side.hosts)]
        return [self.scene.name, self.far, *sides]

    def capture(self, side: Side) -> Process:
        """tcpdump on a home's router, into the scene's folder; stop it before the file is read."""
        path = self.scene.folder / f"r{side.number}.pcap"
        tcpdump = "exec tcpdump --immediate-mode -i any -U -w - udp or icmp or icmp6 or arp"
        shell = f"{tcpdump} > {path}"  # as a user of its own, it may write nowhere itself
        return self.scene.run(f"tcpdump-{side.number}", ["sh", "-c", shell], namespace=side.home)

    # --- how it is built --------------------------------------------------------------------------------------

    def _side(self, number: int, kind: Kind) -> Side:
        full = self.scene.full_name
        home = full(f"r{number}")
        router = full(f"c{number}") if kind.provider else home
        hosts = [full(f"h{number}"), *([full(f"h{number}b")] if self._second else [])]
        net = _lan(number, kind)
        return Side(number, kind, home, router, hosts, [f"{net}{2 + n}" for n in range(len(hosts))])

    def _wire(self) -> None:
        """Every namespace, and every device in it."""
        inet = self.scene.name
        self.scene.namespaces(self.namespaces()[1:])
        lines = [_veth(inet, "far", self.far, "eth0")]
        for side in self.sides:
            lines.append(_veth(inet, f"side{side.number}", side.router, "wan"))
            if side.router != side.home:
                lines.append(_veth(side.router, "lan", side.home, "wan"))
            lines += [_veth(side.home, f"port{n}", host, "eth0") for n, host in enumerate(side.hosts)]
        batch(lines)
        for name in (inet, self.far, *(router for side in self.sides for router in side._routers())):
            set_sysctls(name, SYSCTLS)
        for name in (inet, self.far, *(host for side in self.sides for host in side.hosts)):
            set_congestion_control(name)
        for side in self.sides:
            hosts = SYSCTLS | {"net.ipv4.ip_forward": "0", "net.ipv6.conf.all.forwarding": "0"}
            only_v4 = {"net.ipv6.conf.all.disable_ipv6": "1"} if not side.kind.has_v6 else {}
            for name in side.hosts:
                set_sysctls(name, hosts | only_v4)

    def _address(self) -> None:
        inet = [
            f"addr add {NEAR}/32 dev lo",
            f"addr add {BESIDE}/32 dev lo",
            f"addr add {NEAR_V6}/128 dev lo nodad",
            f"addr add {BESIDE_V6}/128 dev lo nodad",
            *_up("far"),
            f"route add {FAR}/32 dev far src {NEAR}",
            "addr add fe80::1/64 dev far nodad",
            f"route add {FAR_V6}/128 via fe80::2 dev far src {NEAR_V6}",
        ]
        batch(
            [
                f"addr add {FAR}/32 dev eth0",
                f"addr add {FAR_V6}/128 dev eth0 nodad",
                *_up("eth0"),
                f"route add default via {NEAR} dev eth0 onlink",
                "addr add fe80::2/64 dev eth0 nodad",
                "route add default via fe80::1 dev eth0",
            ],
            self.far,
        )
        for side in self.sides:
            device, number = f"side{side.number}", side.number
            inet += [*_up(device), f"route add {side.wan(0)}/24 dev {device} src {NEAR}"]
            if side.kind.has_v6:
                inet += [
                    f"addr add fe80::1/64 dev {device} nodad",
                    f"route add 2600:{number + 1}::/64 via fe80::2 dev {device} src {NEAR_V6}",
                ]
            elif not side.kind.has_private_v4:
                inet.append(f"route add {_lan(number, side.kind)}0/24 via {side.wan()} dev {device} src {NEAR}")
            _address_side(side)
        batch(inet, self.scene.name)


def _address_side(side: Side) -> None:
    number, net = side.number, _lan(side.number, side.kind)
    v6 = side.kind.addressing == V6
    wide = 64 if v6 else 24
    home = ["link add lan type bridge"]
    home += [line for n in range(len(side.hosts)) for line in (f"link set port{n} master lan", f"link set port{n} up")]
    home += [f"addr add {net}1/{wide} dev lan{' nodad' if v6 else ''}", *_up("lan"), *_up("wan")]
    if v6:
        home += ["addr add fe80::2/64 dev wan nodad", "route add default via fe80::1 dev wan"]
    elif side.router == side.home:
        home += [f"addr add {side.wan()}/24 dev wan", f"route add default via {NEAR} dev wan onlink"]
    else:
        home += [f"addr add 100.66.{number}.2/24 dev wan", f"route add default via 100.66.{number}.1 dev wan"]
        provider = [f"addr add 100.66.{number}.1/24 dev lan", *_up("lan"), f"addr add {side.wan()}/24 dev wan"]
        batch([*provider, *_up("wan"), f"route add default via {NEAR} dev wan onlink"], side.router)
    if side.kind.addressing == BOTH:
        home += [f"addr add 2600:{number + 1}::1/64 dev lan nodad", "addr add fe80::2/64 dev wan nodad"]
        home += ["route add default via fe80::1 dev wan"]
    batch(home, side.home)
    for n, host in enumerate(side.hosts if side.kind.addressing == BOTH else ()):
        lines = [f"addr add 2600:{number + 1}::{2 + n}/64 dev eth0 nodad", *_up("eth0")]
        batch([*lines, f"route add default via 2600:{number + 1}::1 dev eth0"], host)
    for host, address in zip(side.hosts, side.addresses, strict=True):
        nodad = " nodad" if v6 else ""
        lines = [f"addr add {address}/{wide} dev eth0{nodad}", *_up("eth0"), f"route add default via {net}1 dev eth0"]
        batch(lines, host)


def _lan(number: int, kind: Kind) -> str:
    """A home's prefix, to which a host's number is added."""
    if kind.addressing == V6:
        return f"2600:{number + 1}::"
    return f"192.168.{number + 1}0." if kind.has_private_v4 else f"11.{number + 1}.1."


def _veth(a: str, device_a: str, b: str, device_b: str) -> str:
    return f"link add {device_a} netns {a} type veth peer name {device_b} netns {b}"


def _up(device: str) -> list[str]:
    return [f"link set {device} up"]


def batch(lines: Sequence[str], namespace: str = "") -> None:
    """Many commands of `ip` at once."""
    where = ["-n", namespace] if namespace else []
    text = "".join(f"{line}\n" for line in lines)
    done = subprocess.run(["ip", *where, "-batch", "-"], input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"ip in {namespace or 'all'}: {done.stderr.strip()}\n{text}")


def nft(rules: str) -> None:
    """In the calling thread's namespace."""
    done = subprocess.run(["nft", "-f", "-"], input=rules, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"nft: {done.stderr.strip()}\n{rules}")


def set_sysctls(namespace: str, values: dict[str, str]) -> None:
    with inside(namespace):
        for name, value in values.items():
            Path("/proc/sys", *name.split(".")).write_text(value)


def set_congestion_control(namespace: str) -> None:
    for name in CONGESTION_CONTROLS:
        with contextlib.suppress(PermissionError, FileNotFoundError):
            set_sysctls(namespace, {"net.ipv4.tcp_congestion_control": name})
            return


def await_devices(namespace: str, timeout: float = 10.0) -> None:
    """Linux says that a wire has two ends somewhat later than it has; until then it drops what is sent there."""
    end = time.monotonic() + timeout
    with inside(namespace), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _, name in socket.if_nameindex():
            request = struct.pack("16s16x", name.encode())
            while not struct.unpack_from("h", fcntl.ioctl(sock, SIOCGIFFLAGS, request), 16)[0] & IFF_RUNNING:
                if time.monotonic() > end:
                    raise OSError(f"{name} in {namespace} does not come up")
                time.sleep(0.001)


def flush_connections() -> None:
    """What `conntrack -F` does, in the calling thread's namespace: one request of ctnetlink without attributes."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NFNETLINK) as netlink:
        netlink.settimeout(5)
        netlink.send(struct.pack("=IHHIIBBH", 20, CTNETLINK_DELETE, REQUEST_WITH_ACK, 1, 0, 0, 0, 0))
        error = _NLMSGERR.unpack_from(netlink.recv(4096))[-1]
    if error:
        raise OSError(-error, "flush of the table of connections")
