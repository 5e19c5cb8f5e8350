"""A host in the caller's loop: no thread of its own, or a clock that is not real.

    a real world        sleep until `world.fileno()` is readable, something is due, or an application has given
                        something; then one step
    a simulated world   sleep until every task of the loop is blocked, then one step: time jumps to the next event

The driver is one background task for a host; it ends with the host's last node.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel

from tsnet.edge.pipes.operations import in_trio
from tsnet.edge.run.host import Host

QUIET = 2
"""Passes of an asyncio loop in which no task can go on, before all of them count as blocked."""

STEPS = 64
"""In an asyncio loop that has nothing to run, so many steps are made before it looks at its clock and its sockets."""

_tasks: set[Any] = set()


def start_driver(host: Host) -> None:
    """In a background task of the running loop, asyncio or trio."""
    if host.driven:
        return
    host.driven = True
    drive = _drive_virtual if host.world.is_virtual else _drive
    if in_trio():
        import trio

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
                with anyio.move_on_after(pause) as sleep:
                    host.fall_asleep(sleep.cancel)
                    await anyio.wait_readable(world.fileno())
                host.awake()
            else:
                await anyio.lowlevel.checkpoint()
            host.step(world.clock())
    except Exception as error:
        host.died(error)
    finally:
        host.awake()
        host.driven = False
        host.ended()


async def _drive_virtual(host: Host) -> None:
    world = host.world
    all_blocked = anyio.wait_all_tasks_blocked if in_trio() else _all_tasks_blocked
    has_nothing_to_run = _looker()
    steps = 0
    try:
        while host.users:
            steps += 1
            if steps % STEPS == 0 or not has_nothing_to_run():
                await all_blocked()
            if min(host.due(), world.next_event()) == math.inf and host.users:
                woken = anyio.Event()
                host.fall_asleep(woken.set)
                await woken.wait()
                host.awake()
            host.step()
    except Exception as error:
        host.died(error)
    finally:
        host.awake()
        host.driven = False
        host.ended()


def _looker() -> Callable[[], bool]:
    """Says whether all tasks are blocked, at the cost of a look, where the loop is one that shows it: asyncio's own."""
    if in_trio():
        return lambda: False
    import asyncio

    ready = getattr(asyncio.get_running_loop(), "_ready", None)
    return (lambda: not ready) if isinstance(ready, deque) else (lambda: False)


async def _all_tasks_blocked() -> None:
    """As anyio's, which on asyncio looks again only after a tenth of a second of real time."""
    import asyncio

    me, quiet = asyncio.current_task(), 0
    while quiet < QUIET:
        await asyncio.sleep(0)
        waiters: list[Any] = [getattr(task, "_fut_waiter", None) for task in asyncio.all_tasks() if task is not me]
        quiet = quiet + 1 if all(waiter is not None and not waiter.done() for waiter in waiters) else 0
