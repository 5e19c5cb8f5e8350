"""A userspace TCP/IP stack without IO: bytes in, bytes out, the clock passed in. Usable alone."""
