"""Datagrams keep their borders and their sender: an echo over UDP, under asyncio or trio."""

import sys

import anyio
from somewhere import somewhere

import tsnet


async def echo(packets: tsnet.PacketConn) -> None:
    async for data, sender in packets:
        await packets.send_to(data, sender)


async def main() -> None:
    with somewhere() as options:
        async with (
            tsnet.AsyncServer("echo-server", **options) as server,
            tsnet.AsyncServer("echo-client", **options) as client,
            await server.listen_packet(7) as packets,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(echo, packets)
            async with await client.dial_packet(server.name, 7) as conn:
                for text in (b"hello", b"over", b"UDP"):
                    await conn.send(text)
                    with anyio.fail_after(10):  # a datagram may be lost; a program that needs it sends again
                        print((await conn.receive()).decode())
            tasks.cancel_scope.cancel()


anyio.run(main, backend=sys.argv[1] if len(sys.argv) > 1 else "asyncio")
