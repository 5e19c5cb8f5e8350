"""A TCP/IP stack on a TUN device: the kernel can ping 10.7.0.2, and `nc 10.7.0.2 7` echoes. Wants root and Linux."""

import fcntl
import os
import select
import struct
import subprocess
import time
from ipaddress import ip_address

from netstack import Stack, TcpConnection

tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
fcntl.ioctl(tun, 0x400454CA, struct.pack("16sH22x", b"netstack0", 0x1001))  # TUNSETIFF, IFF_TUN | IFF_NO_PI
for command in ("addr add 10.7.0.1/24 dev netstack0", "link set netstack0 up mtu 1280"):
    subprocess.run(["ip", *command.split()], check=True)
stack = Stack(entropy=os.urandom, now=time.monotonic())
stack.set_addresses([ip_address("10.7.0.2")], time.monotonic())
listener = stack.listen(7)
pending: dict[TcpConnection, bytes] = {}  # what a connection said and could not yet be told
print("10.7.0.2 answers", flush=True)

while True:
    now = time.monotonic()
    while (accepted := listener.accept()) is not None:
        pending[accepted] = b""
    for connection, rest in list(pending.items()):
        data = rest or connection.read(65_536)
        pending[connection] = data[connection.write(data, now) :]
        if connection.error or (connection.eof and not pending[connection]):
            connection.close(now)
            del pending[connection]
    for _, packets in stack.transmit(now):
        for packet in packets:
            os.write(tun, packet)
    if select.select([tun], [], [], min(max(stack.deadline() - now, 0), 60))[0]:
        stack.receive([("tun", [os.read(tun, 65_535)])], time.monotonic())
