"""Bytes to fields and back: no state, no clock, no error but a reason in words."""
