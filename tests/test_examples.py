"""Each example runs on the embedded tailnet, as a reader would run it, and stays under 40 lines."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.netstack import tun

EXAMPLES = Path(__file__).parent.parent / "examples"
PROGRAMS = sorted(path for path in EXAMPLES.iterdir() if path.suffix in (".py", ".ipynb"))

ECHOES = {"echo_tcp.py": "hello over TCP\n", "echo_udp.py": "hello\nover\nUDP\n"}
EXPECTED = {
    "flask_app.py": r"serving on http://flask-app/\nHello you@tailnet\.test, you are on visitor\.\n",
    "fastapi_app.py": r"serving on http://fastapi-app/\n\{'hello': 'you@tailnet\.test', 'from': 'visitor'\}\n",
    "ci_job.py": r"passed\n",
    "ci_without_a_key.py": r"joined as ci-job with tag:ci\n",
    "own_tailnet.py": r"(?s)one\.tailnet\.test .*two of ann@example\.com says hello\nthe packet filter holds: \w+\n",
    "bot.py": r"seen so far: \['all is well'\]\n",
    "somewhere.py": r"",
    "netstack_pair.py": (
        r"1,000,000 bytes, whole: True, in \d+ s that nobody waited for\n"
        r"\d\d+ packets were lost, [\d,]+ bytes sent again\n"
    ),
}
WITHOUT_END = {"netstack_tun.py"}


def run(name: str, tmp_path: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """In a process without a tailnet in its environment, and with a home that is empty."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("TS_", "TSNET_", "XDG_"))}
    return subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / name), *arguments],
        env={**kept, "PYTHONPATH": str(EXAMPLES.parent), "HOME": str(tmp_path), **environ},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.name)
def test_short_enough_to_read_at_once(path: Path) -> None:
    if path.suffix == ".ipynb":
        cells = json.loads(path.read_text())["cells"]
        lines = [line for cell in cells if cell["cell_type"] == "code" for line in cell["source"].splitlines()]
    else:
        lines = path.read_text().splitlines()
    assert len(lines) < 40


def test_none_is_forgotten() -> None:
    assert {path.name for path in PROGRAMS} == {*ECHOES, *EXPECTED, *WITHOUT_END, "notebook.ipynb"}


@pytest.mark.parametrize("name", EXPECTED)
def test_it_runs(name: str, tmp_path: Path) -> None:
    if name == "bot.py" and shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed (Debian: apt install redis-server)")
    done = run(name, tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(EXPECTED[name], done.stdout), done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("name", ECHOES)
def test_it_runs_on_both_event_loops(name: str, backend: str, tmp_path: Path) -> None:
    done = run(name, tmp_path, backend)
    assert (done.returncode, done.stdout, done.stderr) == (0, ECHOES[name], "")


def test_the_environment_chooses_another_tailnet(tailnet, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    done = run(
        "echo_tcp.py", tmp_path, TS_CONTROL_URL=tailnet.control_url, TS_AUTHKEY=tailnet.auth_key, XDG_STATE_HOME=""
    )
    assert done.stdout == "hello over TCP\n", done.stderr
    assert sorted(tailnet.nodes()) == ["echo-client", "echo-server"]  # not ephemeral: they would come back


@pytest.mark.filterwarnings("default")  # the kernel's client is not ours
def test_the_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    for key in [key for key in os.environ if key.startswith(("TS_", "TSNET_"))]:
        monkeypatch.delenv(key)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLES.parent))
    notebook = nbformat.read(EXAMPLES / "notebook.ipynb", as_version=4)
    client = nbclient.NotebookClient(notebook, timeout=40, resources={"metadata": {"path": str(EXAMPLES)}})
    client.execute()
    said = "".join(output["text"] for cell in notebook.cells for output in cell.get("outputs", []) if "text" in output)
    assert said == "notebook http://notebook/\nhello notebook\n"


IN_A_NAMESPACE = """
import socket, subprocess, sys
with subprocess.Popen([sys.executable, "-W", "error", sys.argv[1]], stdout=subprocess.PIPE, text=True) as example:
    try:
        print(example.stdout.readline(), end="")
        for text in (b"hello", bytes(1_000_000)):
            with socket.create_connection(("10.7.0.2", 7), timeout=10) as sock, sock.makefile("rb") as file:
                sock.sendall(text)
                sock.shutdown(socket.SHUT_WR)
                print(file.read() == text)
    finally:
        example.terminate()
"""


@pytest.mark.interop
@pytest.mark.skipif(tun.why_not() is not None, reason=str(tun.why_not()))
def test_a_stack_on_a_tun_device(tmp_path: Path) -> None:
    """In a network namespace that ends with it."""
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", IN_A_NAMESPACE, str(EXAMPLES / "netstack_tun.py")],
        env={**os.environ, "PYTHONPATH": str(EXAMPLES.parent), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "10.7.0.2 answers\nTrue\nTrue\n"
