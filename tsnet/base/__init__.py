"""Shared vocabulary of all rooms: keys, crypto, Noise, addresses, links. No protocol of its own."""
