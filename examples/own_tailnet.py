"""A tailnet of one's own, in the process: for tests, demos, and to try things without an account or a network."""

import tsnet
from tsnet.testing import Tailnet

RULES = [{"src": ["*"], "dst": ["*:80"]}]  # port 80 of every node, and nothing else

with Tailnet(user="ann@example.com", policy=RULES) as tailnet:
    options = {"control_url": tailnet.control_url, "auth_key": tailnet.auth_key, "ephemeral": True}
    with tsnet.Server("one", **options) as one, tsnet.Server("two", **options) as two:
        for node in (one, two):
            print(node.fqdn, *node.addresses)
        with one.listen(80) as listener, two.dial("one", 80) as sock:
            connection, address = listener.accept()
            with connection:
                sock.sendall(b"hello")
                peer = one.whois(address[0])
                print(f"{peer.name} of {peer.user_login} says {connection.recv(100).decode()}")
        with one.listen(81):
            try:
                two.dial("one", 81, timeout=0.5)
            except (TimeoutError, ConnectionRefusedError) as error:
                print("the packet filter holds:", type(error).__name__)
