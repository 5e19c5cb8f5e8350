"""ts2021, register, map: client and server as machines."""
