"""Nothing that users rely on goes away: the public API of today holds every line that was ever promised."""

from __future__ import annotations

from tests.public_api import PROMISED, lines


def test_every_promised_name_parameter_and_option_is_still_there() -> None:
    promised = PROMISED.read_text(encoding="utf-8").splitlines()
    assert len(promised) > 500
    assert not set(promised) - set(lines()), "this is promised to users and may not go or change"


def test_everything_public_is_promised() -> None:
    promised = PROMISED.read_text(encoding="utf-8").splitlines()
    assert not set(lines()) - set(promised), "python -m tests.public_api > tests/public_api.txt, and commit it"
