"""One view for other threads: whole whenever it is taken, and the same for good."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from itertools import pairwise
from pathlib import Path

import attrs
import pytest

from tests.engine.alone import NOW, A, B, bare, running
from tests.engine.pair import netmap, node
from tsnet.control.client import facts as told
from tsnet.engine.node import Node as RunningNode
from tsnet.engine.view import NodeView
from tsnet.netmap.changes import Changes
from tsnet.netmap.filterrules import NOTHING_ALLOWED
from tsnet.netmap.model import NetMap

ROOT = Path(__file__).parent.parent.parent
PAST_GIL = "import sys; assert not sys._is_gil_enabled()"


def test_there_is_none_before_the_first_netmap() -> None:
    assert bare().view is None


def test_the_view_is_of_one_netmap() -> None:
    some = running()
    view = some.view
    assert view is not None
    assert view.netmap is some.netmap
    assert view.names.resolve("b") == B.ips
    assert view.whois.node(B.ips[0]) is view.netmap.peers[2]


def test_who_has_taken_a_view_keeps_it() -> None:
    some = running()
    before = some.view
    assert before is not None
    some.word.tell(told.NetMapChanged(netmap(A, node(2, "renamed"))), NOW)
    assert before.names.resolve("b") == B.ips
    assert some.view is not None
    assert (some.view.names.resolve("b"), some.view.names.resolve("renamed")) == ((), B.ips)


def test_health_and_home_are_part_of_it() -> None:
    some = running()
    before = some.view
    assert before is not None
    some.word.tell(told.ControlHealth(("clock",)), NOW)
    assert some.take_facts()
    assert some.view == attrs.evolve(before, health=("clock",))
    assert some.view.names is before.names
    assert some.take_facts() == []


def test_a_view_made_after_changes_says_what_a_first_one_says() -> None:
    maps = [netmap(A, B), netmap(A, node(3, "b")), netmap(A, node(3, "c"), B)]
    view = NodeView.first(maps[0], NOTHING_ALLOWED)
    for before, after in pairwise(maps):
        view = view.after(Changes.between(before, after), NOTHING_ALLOWED)
    for name in ("b", "c"):
        assert view.names.resolve(name) == NodeView.first(maps[-1], NOTHING_ALLOWED).names.resolve(name)


# --- readers in other threads -----------------------------------------------------------------------------------


def generation(number: int) -> NetMap:
    """A netmap in which everything tells the number: the name of the peer, its address, its user, our domain."""
    peer = node(2, f"peer{number}", user=number)
    address = node(3 + number % 200, "x").addresses
    return attrs.evolve(netmap(A, attrs.evolve(peer, addresses=address, allowed_ips=address)), domain=str(number))


def mixture(view: NodeView) -> str:
    """What does not fit together in the view, if anything."""
    number = view.netmap.domain
    peer = view.netmap.peers[2]
    if peer.name != f"peer{number}.tailnet.test":
        return f"the peers of {peer.name} with the domain {number}"
    if view.names.resolve(f"peer{number}") != peer.ips:
        return f"names of another netmap than {number}"
    if view.whois.node(peer.ips[0]) is not peer or view.whois.node(peer.key) is not peer:
        return f"identities of another netmap than {number}"
    return ""


def read_while_it_changes(node: RunningNode, changes: int, readers: int) -> tuple[set[str], int]:
    """Change the netmap so often, with readers beside it: what they found wrong, and how many views they took."""
    wrong: set[str] = set()
    looks: list[int] = []
    over = threading.Event()

    def read() -> None:
        count = 0
        while not over.is_set():
            view = node.view
            if view is not None:
                wrong.add(mixture(view))
                count += 1
        looks.append(count)

    threads = [threading.Thread(target=read) for _ in range(readers)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    try:
        for reader in threads:
            reader.start()
        for number in range(changes):
            node.word.tell(told.NetMapChanged(generation(number)), NOW)
            node.take_facts()
    finally:
        over.set()
        for reader in threads:
            reader.join()
        sys.setswitchinterval(before)
    return wrong - {""}, sum(looks)


def check_readers(changes: int, readers: int) -> None:
    wrong, looks = read_while_it_changes(bare(), changes, readers)
    assert wrong == set()
    assert looks > changes / 100


def test_a_reader_never_sees_a_mixture() -> None:
    check_readers(150, readers=2)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_reader_never_sees_a_mixture_in_ten_thousand_changes() -> None:
    check_readers(10_000, readers=1)


def free_threaded() -> str | None:
    """A CPython without the global lock that has what the library needs, if there is one here."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [shutil.which("python3.14t"), shutil.which("python3.13t"), *map(str, pyenv.glob("*t/bin/python3"))]
    needs = f"{PAST_GIL}; import attrs, cryptography, nacl, h2, anyio; {PAST_GIL}"
    for python in filter(None, found):
        if subprocess.run([python, "-c", needs], capture_output=True, check=False).returncode == 0:
            return python
    return None


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_reader_without_the_global_lock_never_sees_one_either() -> None:
    python = free_threaded()
    if python is None:
        pytest.skip("no free-threaded CPython with the library's dependencies is installed here")
    program = "from tests.engine.test_view import check_readers; check_readers(10_000, readers=1)"
    subprocess.run([python, "-c", program], cwd=ROOT, check=True)
