"""The control server of an embedded tailnet: its state without protocol, and the machine that serves it."""
