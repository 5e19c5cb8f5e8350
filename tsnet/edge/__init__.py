"""Sockets, TLS, threads, clock and files: all IO, no protocol decision."""
