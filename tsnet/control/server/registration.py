"""What control answers to /machine/register, as one decision table.

| the node key is  | and the request                          | answer                                     |
|------------------|------------------------------------------|--------------------------------------------|
| another machine's |                                         | Error                                      |
| known            | has an Expiry in the past                | logged out: expired, or gone if ephemeral  |
| known, expired   |                                          | NodeKeyExpired: ask with a new key         |
| known            |                                          | welcome; a spent auth key does not matter  |
| new              | brings a good auth key                   | welcome                                    |
| new              | brings a bad auth key                    | Error                                      |
| new              | waits at an AuthURL: approved, rejected  | welcome, Error                             |
| new              | waits at an AuthURL: undecided           | nothing yet                                |
| new              | otherwise                                | AuthURL                                    |

Requested tags that the owner may not give make an Error of any welcome. If the machine has a node of the same owner
already, a new key is a rotation: the node keeps its id and its addresses. With another owner it becomes another node.
A new node of a tailnet that wants approval is welcome, but not authorized, unless its auth key is preauthorized; with
such a key a node that waits gets its approval, too.

Source: Go tailcfg.RegisterRequest, control/controlclient/direct.go doLogin; Headscale's order of the checks.
Not here: the state (`tailnet`), how the request gets here (`server`).
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from tsnet.base.keys import MachineKey
from tsnet.control.gojson import texts
from tsnet.control.messages import RegisterRequest, RegisterResponse
from tsnet.control.server.members import Member
from tsnet.control.server.tailnet import AuthKey, PendingLogin, Refusal, TailnetState
from tsnet.netmap.whois import TAGGED_DEVICES

MAX_HOSTNAME = 255
"""Characters, of a name that is not yet a label."""


@attrs.frozen
class _Grant:
    """The owner of a new node key, and the auth key or login that allows it."""

    user: int
    tags: tuple[str, ...]
    is_ephemeral: bool
    is_preauthorized: bool
    by: AuthKey | PendingLogin


def register(
    tailnet: TailnetState,
    machine: MachineKey,
    request: RegisterRequest,
    auth_url: Callable[[str], str],
    unix_now: float,
) -> RegisterResponse | None:
    """The answer; None if there is none yet: then ask again when the tailnet has changed.

    auth_url: makes the URL of the page that a person visits, from the id of a login.
    """
    try:
        return _decide(tailnet, machine, request, auth_url, unix_now)
    except Refusal as refusal:
        return RegisterResponse(error=str(refusal))


def _decide(
    tailnet: TailnetState,
    machine: MachineKey,
    request: RegisterRequest,
    auth_url: Callable[[str], str],
    unix_now: float,
) -> RegisterResponse | None:
    member = tailnet.find(request.node_key)
    if member is not None and member.machine != machine:
        raise Refusal("this node key belongs to another machine")
    if request.expiry is not None and request.expiry <= unix_now:
        return _log_out(tailnet, member, unix_now)
    if member is not None:
        return _welcome_back(tailnet, member, request, unix_now)
    if request.auth_key:
        grant = _by_key(tailnet, request, unix_now)
    else:
        login = _login_of(tailnet, machine, request, unix_now)
        if login is None or (login.user is None and not login.refused):
            if login is not None and request.followup:
                return None
            login = login or tailnet.begin_login(machine, request.node_key, _hostname(request), unix_now)
            return RegisterResponse(auth_url=auth_url(login.auth_id))
        grant = _by_person(tailnet, login, request)
    return _welcome(tailnet, _join(tailnet, machine, request, grant, unix_now))


def _log_out(tailnet: TailnetState, member: Member | None, unix_now: float) -> RegisterResponse:
    if member is None:
        return RegisterResponse(node_key_expired=True)
    response = attrs.evolve(_welcome(tailnet, member), node_key_expired=True)
    if member.is_ephemeral:
        tailnet.delete(member)
    else:
        tailnet.expire(member, unix_now)
    return response


def _welcome_back(tailnet: TailnetState, member: Member, request: RegisterRequest, unix_now: float) -> RegisterResponse:
    if member.is_expired(unix_now):
        return RegisterResponse(node_key_expired=True)
    wanted = _wanted_tags(request)
    _check_tags(tailnet, member.user, member.tags, wanted)
    if set(wanted) - set(member.tags):
        tailnet.change(member, tags=wanted, user=TAGGED_DEVICES.id)
    tailnet.refresh(member, request.hostinfo, request.version)
    if request.expiry is not None and (member.key_expiry is None or request.expiry < member.key_expiry):
        tailnet.change(member, key_expiry=request.expiry)  # a node may bring its expiry forward, but not put it off
    return _welcome(tailnet, member)


def _by_key(tailnet: TailnetState, request: RegisterRequest, unix_now: float) -> _Grant:
    key = tailnet.redeem(request.auth_key, unix_now)
    wanted = _wanted_tags(request)
    _check_tags(tailnet, key.user, key.tags, wanted)
    return _Grant(key.user, wanted or key.tags, key.is_ephemeral or request.ephemeral, key.is_preauthorized, key)


def _by_person(tailnet: TailnetState, login: PendingLogin, request: RegisterRequest) -> _Grant:
    if login.refused or login.user is None:
        raise Refusal(login.refused)
    wanted = _wanted_tags(request)
    _check_tags(tailnet, login.user, (), wanted)
    return _Grant(login.user, wanted, request.ephemeral, False, login)


def _login_of(
    tailnet: TailnetState, machine: MachineKey, request: RegisterRequest, unix_now: float
) -> PendingLogin | None:
    """The login that this key began: the one that the request names; if it names none, the one of the last answer."""

    def is_its_own(login: PendingLogin) -> bool:
        return (login.machine, login.key) == (machine, request.node_key)

    if not request.followup:
        return next(filter(is_its_own, tailnet.logins.values()), None)
    # Those who are held all have named one, and are looked at whenever anything changes: so this walks no table.
    named = tailnet.logins.get(request.followup.rstrip("/").rpartition("/")[2])
    return named if named is not None and is_its_own(named) else None


def _join(
    tailnet: TailnetState, machine: MachineKey, request: RegisterRequest, grant: _Grant, unix_now: float
) -> Member:
    owner = TAGGED_DEVICES.id if grant.tags else grant.user
    previous = tailnet.find(request.old_node_key)
    if previous is None or previous.machine != machine or previous.user != owner:
        previous = tailnet.of_machine(machine, owner)
    fields = {
        "tags": grant.tags,
        "is_ephemeral": grant.is_ephemeral,
        "capability_version": request.version,
        "key_expiry": request.expiry,
    }
    if previous is not None:
        tailnet.rekey(previous, request.node_key)
        tailnet.refresh(previous, request.hostinfo, request.version)
        tailnet.change(previous, **fields)
        if grant.is_preauthorized:
            tailnet.authorize(previous)
    else:
        fields["is_authorized"] = grant.is_preauthorized or not tailnet.wants_approval
        previous = tailnet.admit(machine, request.node_key, owner, request.hostinfo, unix_now, **fields)
    if isinstance(grant.by, AuthKey):
        tailnet.use(grant.by)
    else:
        tailnet.logins.pop(grant.by.auth_id, None)
    return previous


def _welcome(tailnet: TailnetState, member: Member) -> RegisterResponse:
    return RegisterResponse(user=tailnet.users[member.user], machine_authorized=member.is_authorized)


def _check_tags(tailnet: TailnetState, user: int, own: tuple[str, ...], wanted: tuple[str, ...]) -> None:
    login = tailnet.users[user].login_name
    refused = [tag for tag in wanted if tag not in own and not tailnet.policy.may_tag(login, tag)]
    if refused:
        raise Refusal(f"requested tags [{' '.join(refused)}] are invalid or not permitted")


def _wanted_tags(request: RegisterRequest) -> tuple[str, ...]:
    return texts(request.hostinfo.get("RequestTags"))


def _hostname(request: RegisterRequest) -> str:
    """What the person who lets the node in is shown. Anybody can ask, so it is short."""
    name = request.hostinfo.get("Hostname")
    return name[:MAX_HOSTNAME] if isinstance(name, str) else ""
