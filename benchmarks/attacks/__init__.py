"""Attackers: each is a process that floods one victim until it is ended."""
