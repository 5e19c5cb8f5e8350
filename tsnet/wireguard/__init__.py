"""WireGuard, both roles, sans-IO: the whole of the paper's §5-6. `device.Device` is the door."""
