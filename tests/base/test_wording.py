from __future__ import annotations

import copy
import pickle

from tsnet.base.wording import Wording, api, worded
from tsnet.errors import AddressInUse, ConfigError

TEXT = Wording("visit it, or pass ", api("auth_key="), api("on_auth_url=", before=", or ", after=" to wait"), ".")
WORDS = {"auth_key=": "--auth-key", "on_auth_url=": None}


def test_python_reads_its_own_names() -> None:
    assert TEXT == "visit it, or pass auth_key=, or on_auth_url= to wait."
    assert f"{TEXT}" == TEXT.worded({}) == str(TEXT)


def test_a_face_reads_its_own_and_nothing_of_what_it_has_not() -> None:
    assert TEXT.worded(WORDS) == "visit it, or pass --auth-key."
    assert worded(TEXT, WORDS) == TEXT.worded(WORDS)
    assert worded("auth_key=", WORDS) == "auth_key="  # a text of somebody else


def test_a_wording_within_another_keeps_its_names() -> None:
    assert Wording("no: ", TEXT).worded(WORDS) == "no: visit it, or pass --auth-key."
    assert ("no: " + TEXT).worded(WORDS) == "no: visit it, or pass --auth-key."
    assert (TEXT + " " + TEXT).worded(WORDS) == "visit it, or pass --auth-key. visit it, or pass --auth-key."


def test_braces_of_strangers_mean_nothing() -> None:
    assert Wording("{0} {x}", api("state=")).worded({"state=": "{y}"}) == "{0} {x}{y}"


def test_errors_carry_it() -> None:
    assert ConfigError(TEXT).args[0].worded(WORDS) == TEXT.worded(WORDS)
    assert worded(AddressInUse(TEXT).strerror or "", WORDS) == TEXT.worded(WORDS)


def test_it_is_copied_and_pickled_whole() -> None:
    for copied in (copy.copy(TEXT), copy.deepcopy(TEXT), pickle.loads(pickle.dumps(TEXT))):
        assert copied == TEXT
        assert copied.worded(WORDS) == TEXT.worded(WORDS)
