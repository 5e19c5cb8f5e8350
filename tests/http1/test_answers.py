from __future__ import annotations

from tsnet.base.malformed import MalformedError
from tsnet.http1.answers import Answer, Failed, Reason, Unusable


def test_an_answer_shows_nothing_that_may_be_secret() -> None:
    answer = Answer(1, 200, "https://h/?token=hunter2", {"set-cookie": "hunter2"}, b"hunter2")
    assert repr(answer) == "Answer(ticket=1, status=200)"


def test_a_reason_is_a_word_for_a_log() -> None:
    assert f"{Failed(1, Reason.BODY_TOO_LARGE).reason}" == "body too large"


def test_what_cannot_be_used_is_malformed_to_others() -> None:
    unusable = Unusable(Reason.FLOOD, "why")
    assert isinstance(unusable, MalformedError)
    assert (unusable.reason, str(unusable)) == (Reason.FLOOD, "why")
