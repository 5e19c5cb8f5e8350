"""Sockets, TLS, files, clocks: what speaks to the kernel, and what a node calls the world."""
