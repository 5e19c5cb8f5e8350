from __future__ import annotations

from tsnet.derp.facts import Disconnected
from tsnet.engine.troubles import LASTING, Troubles, name_of

BAD = "certificate: expired"


def failed(region: int, reason: str) -> Disconnected:
    return Disconnected(region, reason, f"derp{region}.test")


def test_all_is_well_at_first() -> None:
    troubles = Troubles()
    assert not troubles
    assert (troubles.text(1), troubles.worst, troubles.messages) == ("", "", [])
    troubles.mended(1)
    troubles.keep(())


def test_a_fault_that_somebody_must_mend_is_told_at_once_and_once() -> None:
    troubles = Troubles()
    text = "relay region 1 (derp1.test) cannot be reached: certificate: expired"
    for attempt in range(100):
        assert troubles.failed(failed(1, BAD), float(attempt)) is (attempt == 0)
        assert troubles.messages == [text]
    assert troubles.text(1) == troubles.worst == text
    assert troubles.failed(failed(1, "certificate: wrong pin"), 101.0)
    assert troubles.messages == [text.replace("expired", "wrong pin")]


def test_what_may_pass_is_told_to_those_who_ask_and_to_all_once_it_lasts() -> None:
    troubles = Troubles()
    assert troubles.failed(failed(1, "reset"), 0.0)
    assert not troubles.failed(failed(1, "refused"), LASTING - 0.1)
    assert troubles.messages == []
    assert troubles.text(1) == "relay region 1 (derp1.test) cannot be reached: refused"
    assert not troubles.failed(failed(1, "timeout"), LASTING)
    assert troubles.messages == ["relay region 1 (derp1.test) cannot be reached: reset"]
    assert troubles.text(1).endswith("timeout")


def test_a_network_that_fails_in_turns_is_told_once() -> None:
    troubles = Troubles()
    news = [troubles.failed(failed(1, ("refused", "timeout")[number % 2]), 5.0 * number) for number in range(100)]
    assert sum(news) == 1
    assert len(troubles.messages) == 1


def test_from_one_kind_to_the_other_is_news() -> None:
    troubles = Troubles()
    assert troubles.failed(failed(1, "refused"), 0.0)
    assert troubles.failed(failed(1, BAD), 1.0)
    assert troubles.messages == [troubles.text(1)]
    assert troubles.failed(failed(1, "refused"), 2.0)
    assert troubles.messages == [troubles.text(1)]


def test_a_relay_that_is_up_again_has_no_trouble_and_no_past() -> None:
    troubles = Troubles()
    troubles.failed(failed(1, BAD), 0.0)
    troubles.mended(1)
    assert not troubles
    assert troubles.failed(failed(1, "reset"), 100.0)
    assert troubles.messages == []


def test_only_those_that_matter_are_kept() -> None:
    troubles = Troubles()
    for region in (3, 1, 2):
        troubles.failed(failed(region, BAD if region == 2 else "refused"), 0.0)
        troubles.failed(failed(region, BAD if region == 2 else "refused"), LASTING)
    assert [message[:14] for message in troubles.messages] == ["relay region 1", "relay region 2", "relay region 3"]
    assert troubles.worst == troubles.text(2)
    troubles.keep({3})
    assert troubles.messages == [troubles.text(3)]


def test_a_region_that_was_never_dialled_has_no_host() -> None:
    assert name_of(7, "") == "relay region 7"
    assert name_of(7, "derp.test") == "relay region 7 (derp.test)"
