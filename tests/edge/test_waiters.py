from __future__ import annotations

from tsnet.edge.waiters import Waiters


def test_a_waiter_is_woken_once() -> None:
    waiters, woken = Waiters(), []
    assert waiters.wait_to_read(lambda: woken.append("read"), lambda: False)
    assert waiters.wait_to_write(lambda: woken.append("write"), lambda: False)
    assert waiters.writer_waits
    waiters.wake_all()
    waiters.wake_all()
    assert woken == ["read", "write"]
    assert not waiters.writer_waits


def test_who_need_not_wait_is_not_woken() -> None:
    waiters, woken = Waiters(), []
    assert not waiters.wait_to_read(lambda: woken.append("read"), lambda: True)
    assert not waiters.wait_to_write(lambda: woken.append("write"), lambda: True)
    waiters.wake_all()
    assert woken == []


def test_news_between_the_look_and_the_wait_are_not_lost() -> None:
    """The wake is there before the last look: whoever brings news after that look finds it."""
    waiters, woken = Waiters(), []

    def look() -> bool:
        waiters.wake_reader()  # the other side, at the worst moment
        return False

    assert waiters.wait_to_read(lambda: woken.append("read"), look)
    assert woken == ["read"]


def test_the_last_to_wait_is_woken() -> None:
    waiters, woken = Waiters(), []
    waiters.wait_to_read(lambda: woken.append("gone"), lambda: False)
    waiters.wait_to_read(lambda: woken.append("here"), lambda: False)
    waiters.wake_reader()
    assert woken == ["here"]


def test_forgotten_waiters_are_not_woken() -> None:
    waiters, woken = Waiters(), []
    waiters.wait_to_read(lambda: woken.append("read"), lambda: False)
    waiters.forget()
    waiters.wake_all()
    assert woken == []
