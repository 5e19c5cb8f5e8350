"""A host in the caller's loop: no thread of its own, or a clock that is not real.

    a real world        sleep until `world.fileno()` is readable or something is due, then one step
    a simulated world   sleep until every task of the loop is blocked, then one step: time jumps to the next event

The driver is one background task for a host; it ends with the host's last node.
"""

from __future__ import annotations

import math
import sys
from typing import Any

import anyio
import anyio.lowlevel

from tsnet.edge.host import Host
from tsnet.edge.operations import async_event

SETTLE = 8
_tasks: set[Any] = set()


def start_driver(host: Host) -> None:
    """In a background task of the running loop, asyncio or trio."""
    if host.driven:
        return
    host.driven = True
    drive = _drive_virtual if host.world.is_virtual else _drive
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():
        trio.lowlevel.spawn_system_task(drive, host)
        return
    import asyncio

    task = asyncio.get_running_loop().create_task(drive(host))
    _tasks.add(task)  # the loop itself holds tasks weakly
    task.add_done_callback(_tasks.discard)


async def _drive(host: Host) -> None:
    world = host.world
    try:
        while host.users:
            pause = min(host.due(), world.next_event()) - world.clock()
            if pause > 0:
                with anyio.move_on_after(pause):
                    await anyio.wait_readable(world.fileno())
            else:
                await anyio.lowlevel.checkpoint()
            host.step(world.clock())
    finally:
        host.driven = False


async def _drive_virtual(host: Host) -> None:
    world = host.world
    try:
        while host.users:
            for _ in range(SETTLE):  # wakes of the last step reach their tasks: asyncio polls slowly for that
                await anyio.lowlevel.checkpoint()
            await anyio.wait_all_tasks_blocked()
            event, host.on_wake = async_event()
            if min(host.due(), world.next_event()) == math.inf and host.users:
                await event.wait()
            host.on_wake = None
            host.step()
    finally:
        host.driven = False
