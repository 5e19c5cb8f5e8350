"""Sockets, TLS, files, clocks: the part that speaks to the kernel, and the `World` that a node runs in."""
