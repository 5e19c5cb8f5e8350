"""What the host promises an application: its own thread, any task, any loop, any process, and nothing left behind."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

import tsnet
from tests.virtual import VirtualTailnet
from tsnet.edge.io.store import MemoryStore
from tsnet.edge.run.host import default_host
from tsnet.testing.tailnet import Tailnet

ROOT = Path(__file__).parent.parent
BACKENDS = ("asyncio", "trio")


@pytest.fixture(scope="module")
def tailnet() -> Iterator[Tailnet]:
    with Tailnet() as tailnet:
        yield tailnet


def options(tailnet: Tailnet, **more: Any) -> dict[str, Any]:
    return {
        "control_url": tailnet.control_url,
        "auth_key": tailnet.auth_key,
        "state": MemoryStore(),
        "ephemeral": True,
        **more,
    }


def python(tailnet: Tailnet | None, program: str, *arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run a program in another interpreter; the embedded tailnet is in its environment."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    if tailnet is not None:
        environ |= {"TS_CONTROL_URL": tailnet.control_url, "TS_AUTHKEY": tailnet.auth_key}
    return subprocess.run(
        [sys.executable, *arguments, "-c", textwrap.dedent(program)],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        **more,
    )


# --- a handler that blocks its loop -----------------------------------------------------------------------------


async def block(node: tsnet.AsyncServer, peer: tsnet.AsyncServer, wait: Callable[[], Awaitable[object] | None]) -> None:
    """A handler that answers only after it has blocked; the peer's bytes, and both streams, outlive that."""
    async with await node.listen(7) as listener, await peer.dial(node.name, 7) as stream:
        accepted = await listener.accept()
        await stream.send(b"a" * 100_000)
        waited = wait()
        if waited is not None:
            await waited
        heard = 0
        while heard < 100_000:
            heard += len(await accepted.receive())
        await accepted.send(b"still here")
        assert await stream.receive() == b"still here"
        await accepted.aclose()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("seconds", [0.2, pytest.param(30, marks=[pytest.mark.slow, pytest.mark.timeout(120)])])
def test_a_handler_that_blocks_its_loop_loses_no_stream(tailnet: Tailnet, backend: str, seconds: float) -> None:
    async def main() -> None:
        async with tsnet.AsyncServer("a", **options(tailnet)) as a, tsnet.AsyncServer("b", **options(tailnet)) as b:
            await block(a, b, lambda: time.sleep(seconds))

    anyio.run(main, backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_half_a_minute_of_it_in_virtual_time(backend: str) -> None:
    async def main() -> None:
        async with VirtualTailnet() as virtual, virtual.server("a") as a, virtual.server("b") as b:
            await block(a, b, lambda: virtual.sleep(30.0))
            assert virtual.world.clock() > 1030.0

    anyio.run(main, backend=backend)


# --- any task, any thread, any loop -----------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_up_in_one_task_and_close_in_another(tailnet: Tailnet, backend: str) -> None:
    async def main() -> None:
        node = tsnet.AsyncServer("a", **options(tailnet))
        async with anyio.create_task_group() as group:
            group.start_soon(node.up)
        assert node.status().state == "running"
        async with anyio.create_task_group() as group:
            group.start_soon(node.close)
        assert node.status().state == "closed"

    anyio.run(main, backend=backend)


@pytest.mark.parametrize(("first", "second"), [("asyncio", "trio"), ("trio", "asyncio"), ("asyncio", "asyncio")])
def test_up_in_one_loop_and_close_in_another(tailnet: Tailnet, first: str, second: str) -> None:
    node = tsnet.AsyncServer("a", **options(tailnet))
    anyio.run(node.up, backend=first)
    with tsnet.Server("b", **options(tailnet)) as other:
        assert other.ping(node.name).seconds < 5  # it runs though no loop does

    def close() -> None:
        anyio.run(node.close, backend=second)

    thread = threading.Thread(target=close)
    thread.start()
    thread.join(10)
    assert node.status().state == "closed"


def test_a_stream_may_move_to_another_loop(tailnet: Tailnet) -> None:
    with tsnet.Server("a", **options(tailnet)) as a, a.listen(9) as listener:
        node = tsnet.AsyncServer("b", **options(tailnet))
        stream = anyio.run(node.dial, a.name, 9, backend="trio")
        accepted, _ = listener.accept()
        accepted.sendall(b"hello")
        assert anyio.run(stream.receive, backend="asyncio") == b"hello"
        accepted.close()
        anyio.run(node.close)


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_thread_of_its_own(tailnet: Tailnet, backend: str) -> None:
    async def main() -> None:
        before = set(threading.enumerate())
        node = tsnet.AsyncServer("a", **options(tailnet, own_thread=False))
        async with node, tsnet.AsyncServer("b", **options(tailnet, own_thread=False)) as other:
            new = [thread.name for thread in threading.enumerate() if thread not in before]
            assert "tsnet" not in new  # a worker may just be at it, of these nodes or of the test before
            assert (await other.ping("a")).seconds < 5
            await block(node, other, lambda: None)

    anyio.run(main, backend=backend)


def test_a_node_without_a_thread_outlives_its_loop(tailnet: Tailnet) -> None:
    node = tsnet.AsyncServer("a", **options(tailnet, own_thread=False))
    anyio.run(node.up)
    anyio.run(node.close, backend="trio")
    assert node.status().state == "closed"


def test_a_pytest_asyncio_fixture(tailnet: Tailnet, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        textwrap.dedent(
            """
            import pytest_asyncio, pytest, tsnet
            from tsnet.edge.io.store import MemoryStore

            @pytest_asyncio.fixture(loop_scope="module", scope="module")
            async def node():
                async with tsnet.AsyncServer("fixture", state=MemoryStore(), ephemeral=True) as node:
                    yield node

            @pytest.mark.asyncio
            async def test_it(node):
                assert (await node.ping(node.name)).seconds < 5
            """
        )
    )
    environ = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "TS_CONTROL_URL": tailnet.control_url,
        "TS_AUTHKEY": tailnet.auth_key,
    }
    command = [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, str(tmp_path)]
    run = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr


def test_a_notebook(tailnet: Tailnet, tmp_path: Path) -> None:
    """Each cell is a task of its own, in a loop that was there before."""
    for needed in ("ipykernel", "nbclient"):
        pytest.importorskip(needed)
    nbformat = pytest.importorskip("nbformat")
    cells = [
        "import tsnet\nfrom tsnet.edge.io.store import MemoryStore",
        f"node = tsnet.AsyncServer('cell', state=MemoryStore(), ephemeral=True, control_url={tailnet.control_url!r},"
        f" auth_key={tailnet.auth_key!r})\nawait node.up()",
        "print((await node.ping(node.name)).kind)",
        "await node.close()\nprint(node.status().state)",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    (tmp_path / "notebook.ipynb").write_text(nbformat.writes(notebook))
    program = f"""
        import json, nbformat, nbclient
        notebook = nbformat.read({str(tmp_path / "notebook.ipynb")!r}, 4)
        nbclient.NotebookClient(notebook, timeout=30, kernel_name="python3").execute()
        print(json.dumps([[output.get("text") for output in cell.outputs] for cell in notebook.cells]))
    """
    run = python(tailnet, program)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == [[], [], ["icmp\n"], ["closed\n"]]


# --- the end of a process ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["", "raise SystemExit(0)", "node.dial_packet('elsewhere', 9)"])
def test_a_script_that_ends_without_close_does_not_hang_is_silent_and_logs_out(tailnet: Tailnet, ending: str) -> None:
    program = f"""
        import tsnet
        from tsnet.edge.io.store import MemoryStore
        node = tsnet.Server("forgetful", state=MemoryStore(), ephemeral=True)
        node.up()
        listener = node.listen(80)
        print(node.name)
        {ending}
    """
    begun = time.monotonic()
    run = python(tailnet, program)
    assert time.monotonic() - begun < 10
    assert run.stdout == "forgetful\n"
    if "elsewhere" in ending:
        assert run.stderr.splitlines()[-1].startswith("tsnet.errors.NotOnTailnet")
    else:
        assert (run.returncode, run.stderr) == (0, "")
    assert "forgetful" not in tailnet.nodes()


def test_the_end_is_bounded_when_nothing_answers(tmp_path: Path) -> None:
    """Control vanishes under a node that wants to log out."""
    program = """
        import tsnet, time
        from tsnet.edge.io.store import MemoryStore
        from tsnet.testing.tailnet import Tailnet
        tailnet = Tailnet()
        tailnet.start()
        node = tsnet.Server("a", control_url=tailnet.control_url, auth_key=tailnet.auth_key, state=MemoryStore(),
                            ephemeral=True)
        node.up()
        tailnet.close()
    """
    begun = time.monotonic()
    run = python(None, program)
    assert run.returncode == 0
    assert "Traceback" not in run.stderr
    assert time.monotonic() - begun < 10


# --- fork -------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_after_fork_the_child_sends_not_one_datagram_and_the_parent_goes_on() -> None:
    program = """
        import os, socket, threading, time, tsnet, warnings
        from tsnet.edge.io.store import MemoryStore
        warnings.simplefilter("ignore", DeprecationWarning)     # 3.12: fork with threads
        node, peer = (tsnet.Server(name, state=MemoryStore(), ephemeral=True) for name in "ab")
        node.up(); peer.up()
        listener = node.listen(80)
        sock = peer.dial("a", 80)
        accepted, _ = listener.accept()
        packets = []
        accepted.sendall(b"before")
        assert sock.recv(10) == b"before"
        time.sleep(0.2)                                        # the last acknowledgement is out
        begun = time.time()
        child = os.fork()
        if child == 0:
            names = []
            for use in (peer.up, lambda: peer.dial("a", 80), lambda: peer.ping("a"), lambda: next(peer.events())):
                try:
                    use()
                except tsnet.NotUp:
                    names.append("NotUp")
            peer.close()                                       # never fails, says nothing
            time.sleep(0.3)                                    # time in which a thread would have sent
            print(begun, time.time(), flush=True)
            sock.sendall(b"into the pair")                     # its other end is the parent's
            kinds = []
            for name in os.listdir("/proc/self/fd"):
                try:
                    kinds.append(socket.socket(fileno=os.dup(int(name))).family.name)
                except OSError:
                    pass
            left = [kind for kind in kinds if kind != "AF_UNIX"]
            print(names, left, threading.active_count(), flush=True)
            with tsnet.Server("c", state=MemoryStore(), ephemeral=True) as own:      # a node of its own is welcome
                print(own.ping("a").kind, flush=True)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert accepted.recv(20) == b"into the pair"
        accepted.sendall(b"after")
        assert sock.recv(10) == b"after"
        peer.ping("a")
        with peer.dial("a", 80) as again:
            listener.accept()[0].sendall(b"anew")
            assert again.recv(10) == b"anew"
        print("parent")
    """
    relayed: list[float] = []

    def count(_source: object, _target: object, packets: list[bytes]) -> list[bytes]:
        relayed.append(time.time())
        return packets

    with Tailnet(mangle=count) as counted:
        run = python(counted, program)
    assert (run.returncode, run.stderr) == (0, "")
    window, answers, ping, parent = run.stdout.splitlines()
    begun, ended = map(float, window.split())
    assert not [when for when in relayed if begun <= when <= ended]
    assert (answers, ping, parent) == ("['NotUp', 'NotUp', 'NotUp', 'NotUp'] [] 1", "icmp", "parent")


# --- nothing left behind ----------------------------------------------------------------------------------------


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def resident() -> int:
    """Bytes of memory in use."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def settled(count: Callable[[], int], expected: int) -> int:
    """A thread that has said goodbye, a connection that lingers at the embedded relay, need a moment to be gone."""
    end = time.monotonic() + 5
    while count() > expected and time.monotonic() < end:
        threading.Event().wait(0.001)
    return count()


def cycles(tailnet: Tailnet, count: int) -> list[int]:
    """Start and stop a node; the memory after each hundred."""
    memory = []
    for number in range(1, count + 1):
        with tsnet.Server("cycle", **options(tailnet)) as node:
            assert node.addresses
        if not number % 100:
            gc.collect()
            memory.append(resident())
    return memory


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="descriptors are counted in /proc")
@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=[pytest.mark.slow, pytest.mark.timeout(300)])])
def test_start_and_stop_leave_nothing_behind(tailnet: Tailnet, count: int) -> None:
    threads, open_files = threading.active_count(), descriptors()
    memory = cycles(tailnet, count)
    assert settled(threading.active_count, threads) <= threads  # one of before may have ended meanwhile
    assert settled(descriptors, open_files) <= open_files
    assert memory[-1] - memory[0] < 5 * 1024 * 1024
    assert "cycle" not in tailnet.nodes()


@pytest.mark.parametrize("own_thread", [True, False])
def test_no_task_is_left_behind(tailnet: Tailnet, own_thread: bool) -> None:
    import asyncio

    async def main() -> None:
        for _ in range(5):
            async with tsnet.AsyncServer("task", **options(tailnet, own_thread=own_thread)) as node:
                assert node.addresses
        await asyncio.sleep(0)  # the driver's last step
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def test_the_thread_ends_with_the_last_node() -> None:
    before = threading.active_count()
    with Tailnet():
        assert default_host()._thread is not None
    assert settled(threading.active_count, before) == before


def test_threads_that_start_and_stop_nodes_at_once(tailnet: Tailnet) -> None:
    failures: list[BaseException] = []

    def use(name: str) -> None:
        try:
            for _ in range(3):
                with tsnet.Server(name, **options(tailnet)) as node:
                    assert node.ping(node.name).seconds < 5
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=use, args=(f"t{number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not failures


# --- the price of an import, and of joining ---------------------------------------------------------------------


def seconds_of(command: list[str], environ: dict[str, str]) -> float:
    begun = time.perf_counter()
    subprocess.run(command, env=environ, check=True, capture_output=True)
    return time.perf_counter() - begun


def median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def test_import_tsnet_is_cheap() -> None:
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    bare, imported = [], []
    for _ in range(7):
        bare.append(seconds_of([sys.executable, "-c", "pass"], environ))
        imported.append(seconds_of([sys.executable, "-c", "import tsnet"], environ))
    assert median(imported) - median(bare) < 0.1


def test_import_tsnet_brings_no_heavy_library() -> None:
    run = python(None, "import tsnet, sys; print(*sys.modules)")
    assert not {"httpx", "h2", "trio", "numpy", "scapy", "nacl"} & set(run.stdout.split())


@pytest.mark.parametrize("name", ["Server", "AsyncServer"])
def test_a_server_brings_no_node_before_one_begins(name: str) -> None:
    """Its protocols and their libraries take longer to import than all the rest."""
    loaded = set(python(None, f"import tsnet, sys; tsnet.{name}('idle'); print(*sys.modules)").stdout.split())
    rooms = {"tsnet.netmap", "tsnet.control", "tsnet.derp", "tsnet.wireguard", "tsnet.disco", "tsnet.http1"}
    assert not rooms & loaded
    assert not {"netstack.stack", "netstack.tcp", "tsnet.engine.node"} & loaded
    assert not {"cryptography", "h11", "ssl", "anyio", "asyncio"} & loaded


def test_a_node_brings_only_what_it_uses(tailnet: Tailnet) -> None:
    program = """
        import sys, tsnet
        from tsnet.edge.io.store import MemoryStore
        with tsnet.Server("lean", state=MemoryStore(), ephemeral=True) as node:
            with node.listen(80), node.dial("lean", 80):
                print(*sys.modules)
    """
    loaded = set(python(tailnet, program).stdout.split())
    assert not {"httpx", "anyio", "trio", "numpy", "scapy", "uvicorn", "waitress", "asyncio"} & loaded


FIRST_BYTE = """
    import time
    import tsnet
    from tsnet.edge.io.store import MemoryStore
    def join():
        node = tsnet.Server("joiner", state=MemoryStore(), ephemeral=True)
        with node.dial("server", 80) as sock:
            assert sock.recv(1)
        node.close()
"""


@contextlib.contextmanager
def first_byte_server(tailnet: Tailnet) -> Iterator[tsnet.Server]:
    """A node that says one byte to whoever comes."""
    with tsnet.Server("server", **options(tailnet)) as server, server.listen(80) as listener:

        def serve() -> None:
            while True:
                try:
                    sock, _ = listener.accept()
                except OSError:
                    return
                with sock:
                    sock.sendall(b"!")

        thread = threading.Thread(target=serve)
        thread.start()
        server.reachable()
        yield server
        listener.close()
        thread.join()


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As pip leaves a package: with its bytecode."""
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path))
    python(None, "import tsnet; tsnet.Server; import tsnet.sockets.attach")


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.usefixtures("installed")
def test_from_the_start_of_a_process_to_the_first_byte(tailnet: Tailnet) -> None:
    """Tailnet and the other node are up already, in this process; the relay speaks TLS."""
    program = textwrap.dedent(FIRST_BYTE) + "join(); import os; print(time.time(), flush=True); os._exit(0)"
    with first_byte_server(tailnet):
        values = []
        for _ in range(20):
            begun = time.time()
            values.append(float(python(tailnet, program).stdout) - begun)
    assert median(values) < 0.3, values


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.usefixtures("installed")
def test_another_node_in_a_warm_process_to_the_first_byte(tailnet: Tailnet) -> None:
    program = textwrap.dedent(FIRST_BYTE) + textwrap.dedent(
        """
        join()
        values = []
        for _ in range(20):
            begun = time.perf_counter()
            node = tsnet.Server("joiner", state=MemoryStore(), ephemeral=True)
            with node.dial("server", 80) as sock:
                assert sock.recv(1)
            values.append(time.perf_counter() - begun)
            node.close()
        print(sorted(values)[10])
        """
    )
    with first_byte_server(tailnet):
        assert float(python(tailnet, program).stdout) < 0.12
