"""Plain TCP both ways, under asyncio or trio: a listener that echoes, and a stream to it."""

import sys

import anyio
import anyio.abc
from somewhere import somewhere

import tsnet


async def echo(stream: anyio.abc.ByteStream) -> None:
    async with stream:
        async for data in stream:
            await stream.send(data)


async def main() -> None:
    with somewhere() as options:
        async with (
            tsnet.AsyncServer("echo-server", **options) as server,
            tsnet.AsyncServer("echo-client", **options) as client,
            await server.listen(7) as listener,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(listener.serve, echo)
            async with await client.dial(server.name, 7) as stream:
                await stream.send(b"hello over TCP")
                await stream.send_eof()  # the echo comes back though we say no more
                print(b"".join([data async for data in stream]).decode())
            tasks.cancel_scope.cancel()


anyio.run(main, backend=sys.argv[1] if len(sys.argv) > 1 else "asyncio")
