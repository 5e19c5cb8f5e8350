"""Preferences: what may change while a node runs, and whose word counts.

| preference   | environment   | default                         | control is told |
|--------------|---------------|---------------------------------|-----------------|
| `hostname`   | `TS_HOSTNAME` | the script's stem, else "tsnet" | Hostname        |
| `shields_up` | -             | False                           | ShieldsUp       |

    set in this process  >  argument  >  variable  >  saved by an earlier `set`  >  default

A new preference is a field of `Prefs`, with its check and its name at control, and a line of `PrefChanges`. What
applies it is its own room's; the constructor has an option of the same name.

Source: Go ipn/prefs.go, ipn/ipnlocal/local.go applyPrefsToHostinfoLocked. Go has no variable for shields up.
Not here: what freezes when a server is made (`config`), the saved bytes (`engine.saved`), what a change does
(`engine.preferences`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any, NamedTuple, TypedDict, cast

import attrs

from tsnet.base.hostnames import sanitize_hostname
from tsnet.config import check_type
from tsnet.errors import ConfigError

LAUNCHERS = frozenset(
    [
        "python",
        "python3",
        "-c",
        "-m",
        "pytest",
        "gunicorn",
        "uvicorn",
        "waitress-serve",
        "flask",
        "hypercorn",
        "ipython",
        "ipython3",
        "ipykernel_launcher",
        "jupyter",
        "colab_kernel_launcher",
        "__main__",
    ]
)
_TRAITS = "tsnet"


class Traits(NamedTuple):
    """What is particular about one preference.

    check: its value, made of what an application or a saved state says; raises ConfigError. told_as: the field of
    tailcfg.Hostinfo that tells control of it, "" for what does not concern control. variable: of the environment.
    """

    check: Callable[[str, object], Any]
    told_as: str = ""
    variable: str = ""


def _traits(check: Callable[[str, object], Any], *, told_as: str = "", variable: str = "") -> dict[str, Traits]:
    return {_TRAITS: Traits(check, told_as, variable)}


def _name(option: str, value: object) -> str:
    """A DNS label, the closest one to that name."""
    check_type(option, value, (str,), "a name")
    label = sanitize_hostname(str(value))
    if not label:
        raise ConfigError(f"no DNS label can be made of the hostname {value!r}: use letters, digits and hyphens")
    return label


def _switch(option: str, value: object) -> bool:
    check_type(option, value, (bool,), "True or False")
    return value is True


@attrs.frozen
class Prefs:
    """What may change while a node runs.

    hostname: the name that this node asks control for; `Server.name` is what it was granted.
    shields_up: nobody can open a connection to this node, send it a datagram that it has not asked for, or ping it.
    """

    hostname: str = attrs.field(metadata=_traits(_name, told_as="Hostname", variable="TS_HOSTNAME"))
    shields_up: bool = attrs.field(default=False, metadata=_traits(_switch, told_as="ShieldsUp"))


class PrefChanges(TypedDict, total=False):
    """The options of `Server.set`: any of the fields of `Prefs`."""

    hostname: str
    shields_up: bool


TRAITS: Mapping[str, Traits] = {field.name: field.metadata[_TRAITS] for field in attrs.fields(Prefs)}


@attrs.frozen
class Choices:
    """Who has said what, the weakest first.

    defaults: what holds if nobody says anything. saved: what earlier processes have set, with what a later version of
    this library may have saved beside it. asked: arguments and variables. changed: what this process has set.
    asked_hostname: the name that somebody has chosen, if it is no DNS label.
    """

    defaults: Prefs
    saved: Mapping[str, Any] = attrs.field(factory=dict)
    asked: PrefChanges = attrs.field(factory=lambda: PrefChanges())
    changed: PrefChanges = attrs.field(factory=lambda: PrefChanges())
    asked_hostname: str = ""

    @property
    def prefs(self) -> Prefs:
        """The preferences in force."""
        said = {**self.saved, **self.asked, **self.changed}
        return attrs.evolve(self.defaults, **{name: said[name] for name in TRAITS if name in said})

    @property
    def kept(self) -> Mapping[str, Any]:
        """What is to be saved. An argument holds for the process that gives it, and is not."""
        return {**self.saved, **self.changed}

    def change(self, changes: PrefChanges) -> Choices:
        """With what `set` changes."""
        return attrs.evolve(self, changed={**self.changed, **changes})


def choose(*, environ: Mapping[str, str], script: str = "", **arguments: object) -> Choices:
    """What arguments and variables say, None and "" being nothing. Raises ConfigError, as `checked` does.

    script: `sys.argv[0]`, for the default hostname.
    """
    said: dict[str, object] = {}
    for name, traits in TRAITS.items():
        value = arguments.pop(name, None)
        if value is None or value == "":
            value = environ.get(traits.variable) or None
        if value is not None:
            said[name] = value
    asked = checked({**said, **arguments})
    hostname, label = str(said.get("hostname", "")), asked.get("hostname", "")
    return Choices(
        Prefs(script_name(script)), asked=asked, asked_hostname="" if hostname.lower() == label else hostname
    )


def checked(changes: Mapping[str, object]) -> PrefChanges:
    """The changes with sensible values. Raises ConfigError for a value without sense, TypeError for an unknown name."""
    for name in changes:
        if name not in TRAITS:
            raise TypeError(f"there is no preference {name!r}, but {', '.join(TRAITS)}")
    return cast(PrefChanges, {name: TRAITS[name].check(name, value) for name, value in changes.items()})


def hostinfo_of(prefs: Prefs) -> dict[str, Any]:
    """What control is told of them: tailcfg.Hostinfo by JSON names, without what is empty, as Go tells it."""
    told = {traits.told_as: getattr(prefs, name) for name, traits in TRAITS.items() if traits.told_as}
    return {name: value for name, value in told.items() if value}


def script_name(script: str) -> str:
    """The script's stem as a host name. It is "tsnet" for a launcher, whose name says nothing about the application."""
    path = PurePath(script)
    stem = path.stem
    if stem == "__main__":
        stem = path.parent.name
    name = sanitize_hostname(stem)
    return "tsnet" if not name or stem.lower() in LAUNCHERS or name.startswith("python") else name
