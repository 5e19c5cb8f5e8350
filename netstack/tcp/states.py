"""The states of a connection and the events that change them.

                 SYN sent        SYN received
    CLOSED ----> SYN_SENT ----> ESTABLISHED <---- SYN_RECEIVED <---- LISTEN
                                     |
       our FIN queued (CLOSE)        |       their FIN arrived (FIN)
       FIN_WAIT_1 <------------------+--------------------> CLOSE_WAIT
        |  ACK_OF_FIN   | FIN                                  | CLOSE
       FIN_WAIT_2     CLOSING                               LAST_ACK
        | FIN           | ACK_OF_FIN                           | ACK_OF_FIN
        +--> TIME_WAIT <+                                    CLOSED

A state is a small integer: it is compared for every segment. In LISTEN is a `TcpListener`, never a control block;
one in TIME_WAIT only keeps what is unread, a `TimeWait` record answers in its place. A CLOSE during the handshake
counts when that is over: the SYN has to be acknowledged first.

Source: RFC 9293 §3.3.2, figure 5.
"""

from __future__ import annotations

from typing import Final

CLOSED: Final = 0
LISTEN: Final = 1
SYN_SENT: Final = 2
SYN_RECEIVED: Final = 3
ESTABLISHED: Final = 4
FIN_WAIT_1: Final = 5
FIN_WAIT_2: Final = 6
CLOSE_WAIT: Final = 7
CLOSING: Final = 8
LAST_ACK: Final = 9
TIME_WAIT: Final = 10

NAMES: Final = (
    "CLOSED",
    "LISTEN",
    "SYN_SENT",
    "SYN_RECEIVED",
    "ESTABLISHED",
    "FIN_WAIT_1",
    "FIN_WAIT_2",
    "CLOSE_WAIT",
    "CLOSING",
    "LAST_ACK",
    "TIME_WAIT",
)

CLOSE: Final = "CLOSE"
FIN: Final = "FIN"
ACK_OF_FIN: Final = "ACK_OF_FIN"

CLOSING_HANDSHAKE: Final[dict[int, dict[str, int]]] = {
    ESTABLISHED: {CLOSE: FIN_WAIT_1, FIN: CLOSE_WAIT},
    FIN_WAIT_1: {FIN: CLOSING, ACK_OF_FIN: FIN_WAIT_2},
    FIN_WAIT_2: {FIN: TIME_WAIT},
    CLOSE_WAIT: {CLOSE: LAST_ACK},
    CLOSING: {ACK_OF_FIN: TIME_WAIT},
    LAST_ACK: {ACK_OF_FIN: CLOSED},
}

SYNCHRONIZED: Final = frozenset((ESTABLISHED, FIN_WAIT_1, FIN_WAIT_2, CLOSE_WAIT, CLOSING, LAST_ACK))
"""Both ends know both sequence numbers."""

RECEIVING: Final = frozenset((ESTABLISHED, FIN_WAIT_1, FIN_WAIT_2))
"""The peer may still send data."""

SENDING: Final = frozenset((ESTABLISHED, CLOSE_WAIT))
"""The application may still write."""
