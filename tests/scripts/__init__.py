"""Timelines of TCP in packetdrill's language, and the interpreter that runs them against `netstack` in virtual time."""
