"""A bot: reads a private web service and keeps what it saw in a private Redis, neither of which is on the internet.

On a real tailnet a node `backend` has a web server on port 80 and Redis on port 6379.
"""

import subprocess
import tempfile
from contextlib import ExitStack

import redis
from somewhere import somewhere

import tsnet


def bot(node: tsnet.Server) -> None:
    with node.httpx_client() as client, node.forward_local("backend", 6379) as forward:
        database = redis.Redis(port=forward.port, decode_responses=True)  # any client that wants host:port
        database.rpush("seen", client.get("http://backend/").text)
        print("seen so far:", database.lrange("seen", 0, -1))


def backend(stack: ExitStack, options: dict[str, str]) -> None:
    """What is there on a real tailnet: a web server, and a Redis that listens on no port at all."""
    path = stack.enter_context(tempfile.TemporaryDirectory()) + "/redis.sock"
    server = subprocess.Popen(["redis-server", "--port", "0", "--unixsocket", path, "--save", ""], stdout=-3)
    stack.callback(server.wait)
    stack.callback(server.terminate)
    node = stack.enter_context(tsnet.Server("backend", **options))
    node.serve_wsgi(lambda environ, start: [start("200 OK", []), b"all is well"][1:], block=False)
    node.forward_remote(6379, path)


with somewhere() as options, ExitStack() as stack:
    if options:
        backend(stack, options)
    bot(stack.enter_context(tsnet.Server("bot", **options)))
