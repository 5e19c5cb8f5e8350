"""A process that joins and asks another node for one byte: NAME CONTROL_URL AUTH_KEY HOST:PORT; writes it to stdout."""

import sys

import tsnet
from tsnet.edge.io.store import MemoryStore


def main() -> None:
    name, control_url, auth_key, address = sys.argv[1:5]
    host, _, port = address.rpartition(":")
    store = MemoryStore()
    node = tsnet.Server(name, control_url=control_url, auth_key=auth_key, state=store, ephemeral=True)
    with node, node.dial(host, int(port)) as connection:
        connection.sendall(b"1")
        sys.stdout.buffer.write(connection.recv(1))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
