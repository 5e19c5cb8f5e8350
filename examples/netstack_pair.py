"""Two TCP/IP stacks and a wire in memory that loses every twentieth packet. Time is a number: waiting costs nothing."""

import random
from heapq import heappop, heappush
from ipaddress import ip_address

from netstack import Stack

HERE, THERE = ip_address("10.0.0.1"), ip_address("10.0.0.2")
chance = random.Random(4)
stacks = {address.packed: Stack(entropy=chance.randbytes) for address in (HERE, THERE)}
wire: list[tuple[float, int, bytes, bytes]] = []  # arrival, serial number, destination, packet
now, sent, serial, lost = 0.0, 0, 0, 0
for address in (HERE, THERE):
    stacks[address.packed].set_addresses([address], now)
listener = stacks[THERE.packed].listen(80)
client = stacks[HERE.packed].connect(THERE, 80, now)
server, payload, received = None, chance.randbytes(1_000_000), bytearray()
while server is None or not server.eof:
    if client.connected and sent < len(payload):
        sent += client.write(payload[sent : sent + 65_536], now)
        if sent == len(payload):
            client.shutdown_write(now)
    server = server or listener.accept()
    received += server.read() if server else b""
    for stack in stacks.values():
        for destination, packets in stack.transmit(now):
            for packet in packets:
                serial += 1
                if chance.random() < 0.05:
                    lost += 1
                else:
                    heappush(wire, (now + 0.02, serial, destination, packet))
    now = max(now, min([stack.deadline() for stack in stacks.values()] + [arrival for arrival, *_ in wire[:1]]))
    while wire and wire[0][0] <= now:
        *_, destination, packet = heappop(wire)
        stacks[destination].receive([("wire", [packet])], now)
print(f"{len(received):,} bytes, whole: {bytes(received) == payload}, in {now:.0f} s that nobody waited for")
print(f"{lost} packets were lost, {client.info().retransmitted:,} bytes sent again")
