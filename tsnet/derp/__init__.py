"""Relays: frames, client and server as byte machines."""
