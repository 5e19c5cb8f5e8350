"""A FastAPI app on the tailnet: the caller is a dependency like any other."""

from typing import Annotated

import anyio
from fastapi import Depends, FastAPI, HTTPException
from somewhere import somewhere

import tsnet

app = FastAPI()


def caller() -> tsnet.Peer:
    peer = tsnet.current_peer()
    if peer is None:
        raise HTTPException(403)
    return peer


@app.get("/")
async def hello(peer: Annotated[tsnet.Peer, Depends(caller)]) -> dict[str, str]:
    return {"hello": peer.user_login, "from": peer.name}


async def main() -> None:
    with somewhere() as options:
        async with tsnet.AsyncServer("fastapi-app", **options) as node:
            print(f"serving on {node.url}", flush=True)
            if not options:
                await node.serve_asgi(app)
            await node.serve_asgi(app, block=False)
            async with tsnet.AsyncServer("visitor", **options) as visitor, visitor.httpx_client() as client:
                print((await client.get(node.url)).json())


anyio.run(main)
