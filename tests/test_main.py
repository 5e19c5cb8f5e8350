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
