"""The budget of what peers make a process open: it follows the limit, is shared, and wakes who waits."""

from __future__ import annotations

import errno
import os
import threading

import pytest

from tsnet.edge.io.descriptors import BUDGET, PLENTY, WAKES, Descriptors, is_out, told_when_out
from tsnet.errors import OutOfDescriptors


@pytest.mark.parametrize(
    ("limit", "total"), [(64, 32), (128, 64), (256, 128), (512, 256), (1024, 768), (65_536, 65_280), (1 << 40, PLENTY)]
)
def test_half_of_a_small_limit_is_left_to_the_node_and_the_application(limit: int, total: int) -> None:
    assert Descriptors(lambda: limit).total == total


def test_a_limit_that_is_raised_counts_at_once() -> None:
    limit = [8]
    budget = Descriptors(lambda: limit[0])
    assert [bool(budget.borrow(f"peer {number}")) for number in range(5)] == [True] * 4 + [False]
    assert budget.is_full
    limit[0] = 10
    assert not budget.is_full
    assert [bool(budget.borrow(f"other {number}")) for number in range(2)] == [True, False]


def test_one_peer_has_two_thirds_and_another_one_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    budget = Descriptors(lambda: 36)
    assert [bool(budget.borrow("greedy", 2)) for _ in range(9)] == [True] * 6 + [False] * 3
    assert budget.borrow("innocent", 2)
    assert budget.taken == 14
    texts = [record.getMessage() for record in caplog.records]
    assert len(texts) == 1
    assert "ulimit -n, now 36" in texts[0]


def test_who_waits_is_called_once_when_something_is_given_back() -> None:
    budget, woken = Descriptors(lambda: 4), list[int]()
    wakes = [lambda number=number: woken.append(number) for number in range(WAKES + 2)]
    one, two = budget.borrow("a"), budget.borrow("b")
    assert one is not None
    assert two is not None
    for wake in wakes:
        budget.when_free(wake)
        budget.when_free(wake)
    budget.forget(wakes[0])
    budget.forget(wakes[0])
    one.give_back()
    assert woken == list(range(1, WAKES + 1))
    one.give_back()
    two.give_back(used=False)
    assert woken == list(range(1, WAKES + 1))
    assert budget.taken == 0


def test_any_thread_may_take_and_give_back() -> None:
    budget = Descriptors(lambda: 2000)

    def use(peer: str) -> None:
        for _ in range(300):
            if (lease := budget.borrow(peer, 2)) is not None:
                lease.give_back()

    threads = [threading.Thread(target=use, args=(f"peer {number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert budget.taken == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_begins_anew() -> None:
    lease = BUDGET.borrow("peer", 2)
    assert lease is not None
    try:
        child = os.fork()
        if not child:
            before = BUDGET.taken
            lease.give_back()  # as what the parent had opened is closed here
            os._exit(before or BUDGET.taken)
        assert os.waitpid(child, 0)[1] == 0
    finally:
        lease.give_back()


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_what_the_kernel_says_becomes_an_error_that_says_what_to_do(number: int) -> None:
    assert is_out(OSError(number, "x"))
    with pytest.raises(OutOfDescriptors, match=r"for a socket: .*ulimit -n") as caught, told_when_out("a socket"):
        raise OSError(number, "x")
    assert caught.value.errno == number


def test_other_errors_stay_what_they_are() -> None:
    assert not is_out(RuntimeError())
    with pytest.raises(ConnectionRefusedError), told_when_out("a socket"):
        raise ConnectionRefusedError(errno.ECONNREFUSED, "x")
    with pytest.raises(OutOfDescriptors, match="already said"), told_when_out("a socket"):
        raise OutOfDescriptors("already said")
