"""Attacks on control and relays, as plain bytes: what tests and the benchmark of floods send.

http2      endless frames for the inside of ts2021, by name, for either side of a connection
ts2021     what carries them: a caller of our control server, and a control server that our client calls
derp       endless frames for a relay, and for a relay's client
sockets    what puts these on real sockets
wireguard  floods of handshake messages
bombs      map messages that become much more than they are
"""
