"""What the callers of a web server may take of it: connections, threads, time.

    max_connections      open at once; further ones are reset, and no caller has more than two thirds
    threads              requests of a WSGI app that are handled at once; here, too, a caller has two thirds at most
    header_timeout       seconds from the first byte of a request (at first, from the connection's beginning) to the end
                         of its header, however slowly it comes
    keep_alive_timeout   seconds that a connection may be idle between two requests

Not here: who counts (`edge.pipes.listening`, `request_threads`, `header_timeouts`).
"""

from __future__ import annotations

from tsnet.config import check_limits, seconds

MAX_CONNECTIONS = 1000
THREADS = 256
HEADER_TIMEOUT = 20.0
KEEP_ALIVE_TIMEOUT = 30.0


class WebLimits:
    """For the timeouts, None is no limit. Raises ConfigError for what cannot be one.

    No attrs class: this module is imported with `tsnet`, and making one takes a millisecond.
    """

    def __init__(
        self,
        *,
        max_connections: int = MAX_CONNECTIONS,
        threads: int = THREADS,
        header_timeout: float | None = HEADER_TIMEOUT,
        keep_alive_timeout: float | None = KEEP_ALIVE_TIMEOUT,
    ) -> None:
        check_limits(max_connections=max_connections, threads=threads)
        self.max_connections: int = max_connections
        self.threads: int = threads
        self.for_header: float = seconds(header_timeout, "header_timeout")
        self.for_keep_alive: float = seconds(keep_alive_timeout, "keep_alive_timeout")


def web_limits(
    max_connections: int, header_timeout: float | None, keep_alive_timeout: float | None, threads: int = THREADS
) -> WebLimits:
    """Raises ConfigError."""
    return WebLimits(
        max_connections=max_connections,
        threads=threads,
        header_timeout=header_timeout,
        keep_alive_timeout=keep_alive_timeout,
    )
