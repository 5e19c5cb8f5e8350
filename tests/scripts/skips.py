"""Scripts that are about something that netstack is not for, known by what they use, never by their names.

reason_to_skip(text) -> the feature, None to run the script
"""

from __future__ import annotations

import re

_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)

FEATURES: tuple[tuple[str, str], ...] = (
    (r"\bFO(?:EXP)?\b|FASTOPEN|tcp_fastopen|fastopen_key", "TCP Fast Open"),
    (r"ZEROCOPY", "zero-copy sending"),
    (r"\bepoll_", "epoll"),
    (r"MSG_EOR", "MSG_EOR"),
    (r"TCP_INQ|TCP_CM_INQ", "TCP_INQ"),
    (r"\bsplice\(|/splice\w*|tcp_splice", "splice"),
    (r"\bmd5\b|TCP_MD5SIG", "TCP-MD5 and TCP-AO"),
    (r"\bpsp\b|\bpsp_", "PSP"),
    (r"TIMESTAMPING|SCM_TIMESTAMP|SO_TIMESTAMP", "time stamps of the socket layer"),
    (r"tcp_mtu_probing", "probing for a larger path MTU (P2)"),
    (r"NOTSENT_LOWAT|tcp_notsent_lowat", "TCP_NOTSENT_LOWAT (P2)"),
    (r"\[(?:ect0|ect1|ce)\]|[<>]\s*S[.P]*E|\bECN\b|tcp_ecn=[1-9]", "ECN (P2)"),
    (r"\bMSG_OOB\b|SO_OOBINLINE", "urgent data as a mark"),
    (r"TCP_REPAIR", "TCP_REPAIR"),
    (r"SO_ATTACH_\w+|SO_BINDTODEVICE|SO_INCOMING_CPU", "sockets of the kernel"),
    (r"\bsctp\b|IPPROTO_SCTP", "SCTP"),
    (r"\bGREv?0?\b\s|\bmpls\b", "encapsulation"),
    (r"\b(?:read|write|send|recv|sendmsg|recvmsg|sendto)\(\s*\d+\s*,\s*NULL", "bad pointers"),
    (r"CC_INFO|\bbbr_|\bdctcp_|congestion_control=(?!cubic|reno)\w+", "another congestion control"),
)
"""A pattern over the text without its comments, and what it is a sign of."""


def reason_to_skip(text: str) -> str | None:
    bare = _COMMENT.sub("", text)
    for pattern, feature in FEATURES:
        if re.search(pattern, bare):
            return feature
    return None
