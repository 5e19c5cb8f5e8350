"""A tailnet node inside your process: listen and dial on Tailscale or Headscale, no daemon, no root, no compiler.

    with tsnet.Server("hello") as node:
        node.serve_wsgi(app)

`Server` blocks, `AsyncServer` is for asyncio and trio; their methods have the same names. Every public name is imported
when it is first used, so that `import tsnet` is cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0.dev0"

_WHERE = {
    "AsyncServer": "tsnet.async_server",
    "Server": "tsnet.server",
    "Explanation": "tsnet.engine.explanation",
    "ExplanationStep": "tsnet.engine.explanation",
    "Listener": "tsnet.streams",
    "NetcheckReport": "tsnet.netreport",
    "PacketConn": "tsnet.streams",
    "Stream": "tsnet.streams",
    "StreamAttribute": "tsnet.streams",
    "Peer": "tsnet.netmap.whois",
    "PeerPath": "tsnet.engine.peerpath",
    "PeerStatus": "tsnet.status",
    "PingResult": "tsnet.edge.run.dialing",
    "PrefChanges": "tsnet.prefs",
    "Prefs": "tsnet.prefs",
    "RegionLatency": "tsnet.netreport",
    "Status": "tsnet.status",
    "DirectoryStore": "tsnet.edge.io.directory",
    "EncryptedStore": "tsnet.edge.io.encrypted",
    "KeyringStore": "tsnet.edge.io.keyringstore",
    "MemoryStore": "tsnet.edge.io.store",
    "Store": "tsnet.edge.io.store",
    "copy_state": "tsnet.edge.io.copying",
    "import_go_state": "tsnet.edge.io.goimport",
    "current_peer": "tsnet.adapters.identity",
    **dict.fromkeys(
        [
            "AddressInUse",
            "AddressNotAvailable",
            "AuthKeyRejected",
            "CaptivePortal",
            "ConfigError",
            "ControlCertificateError",
            "ControlKeyChanged",
            "ControlTimeout",
            "ControlUnreachable",
            "CredentialRejected",
            "DeniedByPolicy",
            "DialRefused",
            "DialTimeout",
            "Error",
            "HostUnreachable",
            "IdTokenRefused",
            "IdTokenRejected",
            "KeyExpired",
            "LocalError",
            "MessageTooLong",
            "OutOfDescriptors",
            "NeedsApproval",
            "NeedsLogin",
            "NoIdToken",
            "NodeRemoved",
            "NotAControlServer",
            "NotOnTailnet",
            "NotUp",
            "ProxyRefused",
            "RemoteError",
            "SetTimeout",
            "StateError",
            "StateInUse",
            "StateLocked",
            "StreamReset",
            "TooManyRequests",
            "UpTimeout",
            "WrongStateKey",
        ],
        "tsnet.errors",
    ),
}

__all__ = [*_WHERE, "__version__"]

if TYPE_CHECKING:
    from tsnet.adapters.identity import current_peer as current_peer
    from tsnet.async_server import AsyncServer as AsyncServer
    from tsnet.edge.io.copying import copy_state as copy_state
    from tsnet.edge.io.directory import DirectoryStore as DirectoryStore
    from tsnet.edge.io.encrypted import EncryptedStore as EncryptedStore
    from tsnet.edge.io.goimport import import_go_state as import_go_state
    from tsnet.edge.io.keyringstore import KeyringStore as KeyringStore
    from tsnet.edge.io.store import MemoryStore as MemoryStore
    from tsnet.edge.io.store import Store as Store
    from tsnet.edge.run.dialing import PingResult as PingResult
    from tsnet.engine.explanation import Explanation as Explanation
    from tsnet.engine.explanation import ExplanationStep as ExplanationStep
    from tsnet.engine.peerpath import PeerPath as PeerPath
    from tsnet.errors import AddressInUse as AddressInUse
    from tsnet.errors import AddressNotAvailable as AddressNotAvailable
    from tsnet.errors import AuthKeyRejected as AuthKeyRejected
    from tsnet.errors import CaptivePortal as CaptivePortal
    from tsnet.errors import ConfigError as ConfigError
    from tsnet.errors import ControlCertificateError as ControlCertificateError
    from tsnet.errors import ControlKeyChanged as ControlKeyChanged
    from tsnet.errors import ControlTimeout as ControlTimeout
    from tsnet.errors import ControlUnreachable as ControlUnreachable
    from tsnet.errors import CredentialRejected as CredentialRejected
    from tsnet.errors import DeniedByPolicy as DeniedByPolicy
    from tsnet.errors import DialRefused as DialRefused
    from tsnet.errors import DialTimeout as DialTimeout
    from tsnet.errors import Error as Error
    from tsnet.errors import HostUnreachable as HostUnreachable
    from tsnet.errors import IdTokenRefused as IdTokenRefused
    from tsnet.errors import IdTokenRejected as IdTokenRejected
    from tsnet.errors import KeyExpired as KeyExpired
    from tsnet.errors import LocalError as LocalError
    from tsnet.errors import MessageTooLong as MessageTooLong
    from tsnet.errors import NeedsApproval as NeedsApproval
    from tsnet.errors import NeedsLogin as NeedsLogin
    from tsnet.errors import NodeRemoved as NodeRemoved
    from tsnet.errors import NoIdToken as NoIdToken
    from tsnet.errors import NotAControlServer as NotAControlServer
    from tsnet.errors import NotOnTailnet as NotOnTailnet
    from tsnet.errors import NotUp as NotUp
    from tsnet.errors import OutOfDescriptors as OutOfDescriptors
    from tsnet.errors import ProxyRefused as ProxyRefused
    from tsnet.errors import RemoteError as RemoteError
    from tsnet.errors import SetTimeout as SetTimeout
    from tsnet.errors import StateError as StateError
    from tsnet.errors import StateInUse as StateInUse
    from tsnet.errors import StateLocked as StateLocked
    from tsnet.errors import StreamReset as StreamReset
    from tsnet.errors import TooManyRequests as TooManyRequests
    from tsnet.errors import UpTimeout as UpTimeout
    from tsnet.errors import WrongStateKey as WrongStateKey
    from tsnet.netmap.whois import Peer as Peer
    from tsnet.netreport import NetcheckReport as NetcheckReport
    from tsnet.netreport import RegionLatency as RegionLatency
    from tsnet.prefs import PrefChanges as PrefChanges
    from tsnet.prefs import Prefs as Prefs
    from tsnet.server import Server as Server
    from tsnet.status import PeerStatus as PeerStatus
    from tsnet.status import Status as Status
    from tsnet.streams import Listener as Listener
    from tsnet.streams import PacketConn as PacketConn
    from tsnet.streams import Stream as Stream
    from tsnet.streams import StreamAttribute as StreamAttribute


def __getattr__(name: str) -> Any:
    where = _WHERE.get(name)
    if where is None:
        raise AttributeError(f"module 'tsnet' has no attribute {name!r}")
    value = getattr(importlib.import_module(where), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
