"""Threads and turns: what runs a node, in a thread of its own or in the caller's loop."""
