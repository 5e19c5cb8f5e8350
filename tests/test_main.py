from __future__ import annotations

import subprocess
import sys

import tsnet


def test_python_m_tsnet_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "tsnet", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"tsnet {tsnet.__version__}\n"


def test_importing_it_runs_nothing() -> None:
    code = "import sys, tsnet.__main__; print(sorted({'anyio', 'httpx', 'nacl', 'asyncio'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_an_interrupt_while_it_is_imported_prints_no_traceback() -> None:
    code = """
import builtins, runpy
real = builtins.__import__
def interrupted(name, *rest, **more):
    if name == "tsnet.cli":
        raise KeyboardInterrupt
    return real(name, *rest, **more)
builtins.__import__ = interrupted
runpy.run_module("tsnet", run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
