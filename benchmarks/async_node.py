"""As `benchmarks.node`, for asyncio: streams of an AsyncServer, with the node in its own thread or in the same loop.

    up · listen(address, mode) · accepted(address) · send(address, size) · rtt(address, size, count)
    path_to(name) · quit

`--same-loop` is own_thread=False.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import sys
import time
from typing import Any

import anyio
import anyio.abc

import tsnet
from benchmarks.node import CHUNK, Clock, percentiles
from tsnet.edge.io.store import MemoryStore

READ = 1 << 20


class Node:
    def __init__(self, options: argparse.Namespace) -> None:
        self._server = tsnet.AsyncServer(
            options.hostname,
            control_url=options.control,
            auth_key=options.authkey,
            state=MemoryStore(),
            ephemeral=True,
            port=options.port,
            own_thread=not options.same_loop,
        )
        self._arrivals: dict[str, asyncio.Queue[dict[str, Any]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def up(self) -> dict[str, Any]:
        await self._server.up()
        await self._server.reachable()
        addresses = [str(address) for address in self._server.addresses]
        return {"name": self._server.name, "addresses": addresses, "key": "", "seconds": 0.0}

    async def quit(self) -> None:
        for task in self._tasks:
            task.cancel()
        await self._server.close()

    async def listen(self, address: str, mode: str) -> None:
        listener = await self._server.listen(int(address.rpartition(":")[2]))
        arrivals = self._arrivals[address] = asyncio.Queue()

        async def work(stream: anyio.abc.ByteStream) -> None:
            async with stream:
                await arrivals.put(await (drain if mode == "sink" else echo)(stream))

        self._tasks.add(asyncio.create_task(listener.serve(work)))

    async def accepted(self, address: str) -> dict[str, Any]:
        return await self._arrivals[address].get()

    async def path_to(self, name: str) -> str:
        return next((str(peer.path) for peer in self._server.status().peers if peer.name == name), "none")

    async def send(self, address: str, size: int) -> dict[str, Any]:
        data = os.urandom(size)
        async with await self._dial(address) as stream:
            clock = Clock()
            for at in range(0, size, CHUNK):
                await stream.send(data[at : at + CHUNK])
            await stream.send_eof()
            received = await drain(stream)
            spent = clock.read()
        return {"sent": {"bytes": size, "sha256": hashlib.sha256(data).hexdigest(), **spent}, "received": received}

    async def rtt(self, address: str, size: int, count: int) -> dict[str, float]:
        out, times = os.urandom(size), []
        async with await self._dial(address) as stream:
            for _ in range(count):
                begun, left = time.perf_counter(), size
                await stream.send(out)
                while left:
                    left -= len(await stream.receive(left))
                times.append(time.perf_counter() - begun)
        return percentiles(times)

    async def _dial(self, address: str) -> Any:
        host, _, port = address.rpartition(":")
        return await self._server.dial(host, int(port))


async def drain(stream: anyio.abc.ByteStream) -> dict[str, Any]:
    clock, chunks = Clock(), []
    try:
        while True:
            chunks.append(await stream.receive(READ))
    except anyio.EndOfStream:
        spent = clock.read()
    data = b"".join(chunks)
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), **spent}


async def echo(stream: anyio.abc.ByteStream) -> dict[str, Any]:
    try:
        while True:
            await stream.send(await stream.receive(READ))
    except anyio.EndOfStream:
        return {}


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--hostname", "--control", "--authkey"):
        parser.add_argument(name, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--same-loop", action="store_true")
    node = Node(parser.parse_args())
    while line := await asyncio.to_thread(sys.stdin.readline):
        request = json.loads(line)
        number, operation = request.pop("id"), request.pop("op")
        request.pop("timeout", None)
        try:
            answer = {"id": number, "result": await getattr(node, operation)(**request)}
        except Exception as error:  # told, as Go's peer tells it
            answer = {"id": number, "error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)
        if operation == "quit":
            return


if __name__ == "__main__":
    asyncio.run(main())
