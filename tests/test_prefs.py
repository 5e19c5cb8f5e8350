"""Preferences: whose word counts, which values make sense, and that a preference is the same thing everywhere."""

from __future__ import annotations

import inspect
import itertools
import typing

import attrs
import pytest

import tsnet
from tsnet.cli.words import WORDS
from tsnet.errors import ConfigError
from tsnet.prefs import TRAITS, Choices, PrefChanges, Prefs, checked, choose, hostinfo_of, script_name

ON: PrefChanges = {"shields_up": True}


def named(hostname: str | None = None, environ: dict[str, str] | None = None, script: str = "") -> Choices:
    return choose(environ=environ or {}, script=script, hostname=hostname)


# --- whose word counts ------------------------------------------------------------------------------------------

SOURCES = ("set", "argument", "variable", "saved")
CASES = [case for size in range(5) for case in itertools.combinations(SOURCES, size)]


@pytest.mark.parametrize("says", CASES, ids=lambda says: "+".join(says) or "nobody")
def test_the_first_that_says_something_is_believed(says: tuple[str, ...]) -> None:
    """Each source gives its own name; the table of the module in all its combinations."""
    choices = named(
        "argument" if "argument" in says else None,
        {"TS_HOSTNAME": "variable"} if "variable" in says else {},
        script="default.py",
    )
    choices = attrs.evolve(choices, saved={"hostname": "saved"} if "saved" in says else {})
    if "set" in says:
        choices = choices.change({"hostname": "set"})
    assert choices.prefs.hostname == next(iter(says), "default")


@pytest.mark.parametrize("argument", [None, False, True])
@pytest.mark.parametrize("saved", [None, False, True])
def test_an_argument_that_says_no_beats_a_saved_yes(argument: bool | None, saved: bool | None) -> None:
    choices = choose(environ={}, shields_up=argument)
    choices = attrs.evolve(choices, saved={} if saved is None else {"shields_up": saved})
    assert choices.prefs.shields_up is (argument if argument is not None else saved or False)


def test_an_empty_argument_or_variable_says_nothing() -> None:
    assert named("", {"TS_HOSTNAME": ""}, "shop.py").prefs == Prefs("shop")


def test_only_what_set_changes_is_saved() -> None:
    asked = choose(environ={"TS_HOSTNAME": "env"}, shields_up=True)
    assert asked.kept == {}
    once = asked.change({"hostname": "b"})
    assert (once.kept, once.prefs) == ({"hostname": "b"}, Prefs("b", shields_up=True))
    again = attrs.evolve(once, saved={"hostname": "b", "later": [1]}).change({"shields_up": False})
    assert again.kept == {"hostname": "b", "later": [1], "shields_up": False}
    assert again.prefs == Prefs("b")


# --- the name ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "name"),
    [
        ("/srv/shop.py", "shop"),
        ("My_App v2.py", "my-app-v2"),
        ("/srv/shop/__main__.py", "shop"),
        ("/usr/bin/python3.12", "tsnet"),
        ("/usr/bin/python", "tsnet"),
        ("/usr/bin/gunicorn", "tsnet"),
        ("/x/ipykernel_launcher.py", "tsnet"),
        ("-c", "tsnet"),
        ("", "tsnet"),
        ("___.py", "tsnet"),
        ("a" * 100 + ".py", "a" * 63),
    ],
)
def test_the_default_name_is_the_scripts_never_the_launchers(script: str, name: str) -> None:
    assert named(script=script).prefs.hostname == script_name(script) == name


@pytest.mark.parametrize("name", ["Shop", "a", "a-1", "9", "x" * 63])
def test_names(name: str) -> None:
    assert named(name).prefs.hostname == name.lower()


@pytest.mark.parametrize(
    ("name", "label"),
    [("My_App", "my-app"), ("x86_64-linux", "x86-64-linux"), ("runner-" + "x" * 61, "runner-" + "x" * 56)],
)
def test_a_name_that_is_no_label_becomes_one(name: str, label: str) -> None:
    for cleaned in (named(name), named(None, {"TS_HOSTNAME": name})):
        assert (cleaned.prefs.hostname, cleaned.asked_hostname) == (label, name)
    assert checked({"hostname": name}) == {"hostname": label}


def test_a_name_that_is_a_label_is_asked_for_as_it_is() -> None:
    assert named("Shop").asked_hostname == ""
    assert named(script="My_App.py").asked_hostname == ""  # nobody has chosen that name


# --- values without sense ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ä", "___", ".", "-"])
def test_no_names(name: str) -> None:
    for ask in (lambda: named(name), lambda: checked({"hostname": name})):
        with pytest.raises(ConfigError, match="DNS label"):
            ask()


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("hostname", None, "hostname= takes a name, not NoneType"),
        ("hostname", 5, "hostname= takes a name, not int"),
        ("hostname", "", "no DNS label"),
        ("shields_up", None, "shields_up= takes True or False, not NoneType"),
        ("shields_up", 1, "shields_up= takes True or False, not int"),
        ("shields_up", "yes", "shields_up= takes True or False, not str"),
    ],
)
def test_a_change_without_sense(name: str, value: object, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        checked({name: value})


def test_an_unknown_preference_is_a_wrong_keyword() -> None:
    with pytest.raises(TypeError, match="no preference 'hostnam', but hostname, shields_up"):
        checked({"hostname": "a", "hostnam": "b"})
    with pytest.raises(TypeError, match="colour"):
        choose(environ={}, colour="blue")


# --- what control is told ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prefs", "hostinfo"),
    [(Prefs("a"), {"Hostname": "a"}), (Prefs("a", shields_up=True), {"Hostname": "a", "ShieldsUp": True})],
)
def test_control_is_told_as_go_tells_it(prefs: Prefs, hostinfo: dict[str, object]) -> None:
    assert hostinfo_of(prefs) == hostinfo


# --- one preference, everywhere ---------------------------------------------------------------------------------


def test_a_preference_is_the_same_wherever_it_is_named() -> None:
    """Its field, the keyword of `set`, the option of the constructor, the command's word for it."""
    types = typing.get_type_hints(Prefs)
    assert typing.get_type_hints(PrefChanges) == types
    assert list(TRAITS) == list(types)
    for kind, name in itertools.product((tsnet.Server, tsnet.AsyncServer), TRAITS):
        option = inspect.signature(kind).parameters[name]
        assert option.default is None, "an option that is not given must not beat what is saved"
        assert f"{name}=" in WORDS


def test_preferences_do_not_change_but_by_set() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Prefs("a").hostname = "b"  # type: ignore[misc]
